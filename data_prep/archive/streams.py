"""Compressed bytes read up to a limit, and the header of a tar."""

from __future__ import annotations

import io
import zlib

from data_prep.archive import unix_compress
from data_prep.screening.reasons import Rejected

CHUNK = 1 << 20


class Inflated(io.RawIOBase):
    """A gzip stream (several members allowed, trailing zeros ignored), decompressed up to a limit as it is read."""

    def __init__(self, data: bytes, limit: int, knob: str = "data.max_archive_bytes") -> None:
        self._data, self._offset = memoryview(data), 0
        self._limit, self._total, self._knob = limit, 0, knob
        self._inflate = zlib.decompressobj(wbits=31)
        self._pending = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        while True:
            if self._inflate.eof:
                rest = self._inflate.unused_data
                self._offset -= len(rest) + len(self._pending)
                self._pending = b""
                if bytes(self._data[self._offset : self._offset + 2]) != b"\x1f\x8b":
                    return 0  # what follows is padding
                self._inflate = zlib.decompressobj(wbits=31)
            feed = self._pending
            if not feed:
                feed = bytes(self._data[self._offset : self._offset + CHUNK // 4])
                self._offset += len(feed)
                if not feed:
                    raise Rejected("broken_archive", f"gzip stream ends after {self._total} bytes without its end mark")
            try:
                out = self._inflate.decompress(feed, len(buffer))
            except zlib.error as error:
                raise Rejected("broken_archive", f"corrupt gzip after {self._total} bytes: {error}") from None
            self._pending = self._inflate.unconsumed_tail
            if out:
                self._total += len(out)
                if self._total > self._limit:
                    raise Rejected("archive_too_large", f"decompressed over {self._knob} {self._limit}")
                buffer[: len(out)] = out
                return len(out)


def is_tar(head: bytes) -> bool:
    """Whether 512 bytes are a tar header with the right checksum, or the zeros that end a tar."""
    if len(head) < 512:
        return False
    if not head.strip(b"\0"):
        return True
    try:
        stored = int(head[148:156].strip(b" \0") or b"x", 8)
    except ValueError:
        return False
    return stored == sum(head) - sum(head[148:156]) + 8 * 32


def uncompress(data: bytes, limit: int, knob: str) -> bytes:
    try:
        return unix_compress.decompress(data, limit)
    except OverflowError:
        raise Rejected("archive_too_large", f"decompressed over {knob} {limit}") from None
    except ValueError as error:
        raise Rejected("broken_archive", f"corrupt .Z: {error}") from None
