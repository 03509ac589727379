import subprocess
import sys

from conformance import addon


def test_addons() -> None:
    found = addon.addons()
    assert "dedupe-headers" in found
    assert found["dedupe-headers"].path.name == "dedupe_headers.py"
    assert found["dedupe-headers"].summary == "Leave one line of each header that may appear once."
    for each in found.values():
        assert each.summary.endswith("."), each.name
        assert each.path.is_file()


def test_listing_does_not_import_mitmproxy() -> None:
    code = "import sys; from conformance.addon import addons, readme; addons(); readme(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "conformance.addon" in found.stdout.split()
    assert "mitmproxy" not in found.stdout.split()


def test_option_text() -> None:
    values = [None, 3, True, "x", ("a", "b"), {"a": 1, "b": 2}, {"a": ("x", "y=1"), "b": ()}]
    assert [addon.option_text(value) for value in values] == [
        [], ["3"], ["true"], ["x"], ["a", "b"], ["a=1", "b=2"], ["a=x", "a=y=1"],
    ]  # fmt: skip


def test_readme_is_not_stale() -> None:
    path = addon.addons()["suite"].path.with_name("README.md")
    assert path.read_text() == addon.readme(), (
        "write it anew: python -c 'import sys; from conformance.addon import readme; "
        "sys.stdout.write(readme())' > addons/README.md"
    )
