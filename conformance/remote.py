"""Recordings that are not on this machine: whatever fsspec can open, s3:// and https:// among them.

They are read as they come, in ranges, never as a whole. What is shown of a URL has no credentials in it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any, BinaryIO

from conformance.secret import mask_text, printable

AHEAD = 4 * 2**20
"""Octets that are asked for at once; s3fs alone would take 50 MB."""
# A drive (C:\) is no scheme, and schemes may be chained: simplecache::s3://
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+(?:::[A-Za-z][A-Za-z0-9+.\-]+)*://")
_GLOB = re.compile(r"[*\[]")
"""Not the question mark: what comes behind it is a query, maybe a signature."""


class RemoteError(OSError):
    """What a URL names cannot be reached; one line, without credentials."""


def is_url(path: str) -> bool:
    """Whether it is a URL, and no path.

    >>> is_url("s3://bucket/run.flow"), is_url("recordings/run.flow"), is_url("C://run.flow")
    (True, False, False)
    """
    return _URL.match(path) is not None


def shown(url: str) -> str:
    """The URL without credentials.

    >>> shown("https://me:secret@host/run.flow?sig=abc&part=2")
    'https://***@host/run.flow?sig=***&part=2'
    """
    return mask_text(url.encode("utf-8", "surrogateescape")).decode("utf-8", "replace")


def find(url: str, suffixes: Sequence[str]) -> list[str]:
    """The files that a URL stands for: itself, what a glob matches, what lies in a folder with such suffixes.

    Sorted; none: nothing matches. Raises RemoteError.
    """
    with _Said(url):
        files, path = _file_system(url)
        if _GLOB.search(url):
            found = [one for one in files.glob(path) if files.isfile(one)]
        elif files.info(path)["type"] == "file":  # isfile would say no where nobody answers
            return [url]
        else:
            found = [one for one in files.find(path) if one.lower().endswith(tuple(suffixes))]
        return [str(files.unstrip_protocol(one)) for one in sorted(found)]


def opened(url: str) -> BinaryIO:
    """The file at a URL, for reading; whatever goes wrong is a RemoteError, also later."""
    with _Said(url):
        files, path = _file_system(url)
        return io.BufferedReader(_Octets(files.open(path, "rb", block_size=AHEAD), url), AHEAD)


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError:
        raise RemoteError("a URL needs fsspec: pip install 'hoplint[remote]'") from None
    files, path = url_to_fs(url)
    return files, str(path)


class _Said:
    """Errors of any kind, each store has its own, become a RemoteError."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, problem: BaseException | None, trace: object) -> None:
        if problem is None or isinstance(problem, RemoteError) or not isinstance(problem, Exception):
            return
        words = _words(problem)
        if isinstance(problem, FileNotFoundError):
            why = f" ({_words(problem.__cause__)})" if problem.__cause__ is not None else ""
            words = "no such file or folder" + why
        raise RemoteError(words) from None


def _words(problem: BaseException) -> str:
    return printable(shown(" ".join(str(problem).split()))) or type(problem).__name__


class _Octets(io.RawIOBase):
    """A file of fsspec as io knows files."""

    def __init__(self, file: Any, url: str) -> None:
        self._file, self._url = file, url

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _Said(self._url):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        with _Said(self._url):
            return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
