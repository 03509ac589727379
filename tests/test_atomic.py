import stat
from pathlib import Path

import pytest

from conformance.atomic import replacing


def test_it_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with replacing(target) as (place, _):
        place.write_text("half")
    assert target.read_text() == "old"
    with replacing(target) as (place, keep):
        place.write_text("new")
        keep()
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(("mode", "like"), [(0o600, True), (0o644, True), (0o640, False)])
def test_permissions_are_kept(tmp_path: Path, mode: int, like: bool) -> None:
    model = tmp_path / "model.flow"
    model.touch(mode)
    model.chmod(mode)
    target = tmp_path / "new.flow" if like else model
    with replacing(target, model if like else None) as (place, keep):
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        keep()
    assert stat.S_IMODE(target.stat().st_mode) == mode


def test_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "there" / "file")
    with replacing(link) as (place, keep):
        place.write_text("x")
        keep()
    assert link.is_symlink()
    assert (tmp_path / "there" / "file").read_text() == "x"
