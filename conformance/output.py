"""Standard output of a process that must go on when nobody takes it any more.

mitmproxy ends as soon as it cannot write a line of its log: the reader of a pipe has gone, the disk is full. A proxy
that others talk through must not.
"""

from __future__ import annotations

import io
import os
from typing import TextIO


class Lasting(io.TextIOBase):
    """Writes line by line to where another stream writes; lines that cannot be written are left out.

    Once a line can be written again, how many were left out comes before it.
    """

    def __init__(self, stream: TextIO) -> None:
        stream.flush()
        self._stream = stream
        self._line = ""
        self._lost = 0

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """That of the other stream."""
        return self._stream.encoding

    def fileno(self) -> int:
        """That of the other stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the other stream is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Take the text; whole lines are written. Raises nothing."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._put(line)
        return len(text)

    def _put(self, line: str) -> None:
        said = f"[{self._lost} lines of this log could not be written]\n" if self._lost else ""
        octets = f"{said}{line}\n".encode(self.encoding, "backslashreplace")
        try:
            while octets:
                octets = octets[os.write(self.fileno(), octets) :]
        except OSError:
            self._lost += 1
        else:
            self._lost = 0
