"""Unix `compress` (.Z), in which arXiv keeps some archives and figures of the 1990s, and how it is unpacked.

Format (ncompress's compress(1); LZW after Welch, "A Technique for High-Performance Data Compression", 1984): the magic
bytes 1f 9d, a byte of flags (low five bits: most bits of a code; 0x80: code 256 clears the table), then codes of 9 bits
and more, lowest bit first. The width grows when the table is full for it; codes are written in groups of eight, and
what is left of a group is skipped when the width changes or the table is cleared.
"""

from __future__ import annotations

MAGIC = b"\x1f\x9d"
_CLEAR = 256


def decompress(data: bytes, limit: int) -> bytes:
    """The content of a .Z file. A table entry is a place in the output, so memory is that of the output alone.

    Raises:
        ValueError: not a .Z file, or a corrupt one.
        OverflowError: more than `limit` bytes come out.
    """
    if data[:2] != MAGIC or len(data) < 3:
        raise ValueError("no .Z header")
    most_bits, clears = data[2] & 0x1F, bool(data[2] & 0x80)
    if not 9 <= most_bits <= 16:
        raise ValueError(f"codes of up to {most_bits} bits")
    most_bits = max(10, most_bits)  # compress -b 9 writes 10 all the same
    out = bytearray()
    first = _CLEAR + 1 if clears else _CLEAR
    starts: list[int] = []  # of the entries from `first` on ...
    lengths: list[int] = []  # ... each one byte longer than the string before it
    width, mask = 9, 0x1FF
    position = group = 24  # in bits
    end = 8 * len(data)
    previous, previous_length = -1, 0
    while position + width <= end:
        byte = position >> 3
        code = (int.from_bytes(data[byte : byte + 4], "little") >> (position & 7)) & mask
        position += width
        if clears and code == _CLEAR:
            position = group = _next_group(position, group, width)
            starts.clear()
            lengths.clear()
            width, mask, previous = 9, 0x1FF, -1
            continue
        here = len(out)
        if code < 256:
            out.append(code)
        elif code - first < len(starts) and code >= first:
            start = starts[code - first]
            out += out[start : start + lengths[code - first]]
        elif code - first == len(starts) and previous >= 0:  # the entry that this very code makes
            out += out[previous : previous + previous_length]
            out.append(out[previous])
        else:
            raise ValueError(f"code {code} before its entry, at byte {byte}")
        if len(out) > limit:
            raise OverflowError(f"more than {limit} bytes")
        if previous >= 0 and first + len(starts) < 1 << most_bits:
            starts.append(previous)
            lengths.append(previous_length + 1)
        previous, previous_length = here, len(out) - here
        if first + len(starts) > mask and width < most_bits:
            position = group = _next_group(position, group, width)
            width += 1
            mask = (1 << width) - 1
    return bytes(out)


def _next_group(position: int, group: int, width: int) -> int:
    bits = 8 * width
    return group + -(-(position - group) // bits) * bits
