"""A file that is replaced as a whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path, like: Path | None = None) -> Iterator[tuple[Path, Callable[[], None]]]:
    """A new file to write to, and what puts it in the target's place in one step; else it is gone afterwards.

    It gets the permissions of ``like``, and is nobody else's to read until then. Without ``like`` it gets those
    of the target, or of any new file. Raises OSError.
    """
    target = target.resolve()  # a symbolic link stays one
    handle, name = tempfile.mkstemp(target.suffix, ".hoplint-", target.parent)
    os.close(handle)
    place = Path(name)
    source = like or (target if target.exists() else None)

    def keep() -> None:
        if source is not None:
            shutil.copymode(source, place)
        else:
            place.chmod(0o666 & ~_umask())
        place.replace(target)

    try:
        yield place, keep
    finally:
        place.unlink(missing_ok=True)


def _umask() -> int:
    # It can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
