"""Bytes of TeX files to text: Unicode where it is, else what the paper declares, else CP1252; never a lost paper.

Used by `members.py`. In this order: a byte order mark (UTF-8, 16, 32); UTF-16 without one, told by its zeros;
valid UTF-8; UTF-8 with a few foreign bytes, which alone are read as CP1252; the encoding that the file declares
(`inputenc`, CJK), else another file of the paper; CP1252, and Latin-1 for the five bytes that CP1252 leaves out.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Mapping

# inputenc's names, and those of CJK environments, in Python's words.
_ENCODINGS = {
    "latin1": "cp1252", "latin2": "iso8859-2", "latin3": "iso8859-3", "latin4": "iso8859-4", "latin5": "iso8859-9",
    "latin9": "iso8859-15", "latin10": "iso8859-16", "ansinew": "cp1252", "cp1252": "cp1252", "cp1250": "cp1250",
    "cp1251": "cp1251", "cp1257": "cp1257", "cp437": "cp437", "cp850": "cp850", "cp852": "cp852", "cp855": "cp855",
    "cp865": "cp865", "cp866": "cp866", "koi8-r": "koi8-r", "koi8-u": "koi8-u", "iso88595": "iso8859-5",
    "applemac": "mac-roman", "macce": "mac-latin2", "maccyr": "mac-cyrillic", "gbk": "gbk", "gb": "gb18030",
    "big5": "big5", "bg5": "big5", "sjis": "shift-jis", "jis": "iso2022-jp", "ks": "euc-kr", "euc-jp": "euc-jp",
}  # fmt: skip
_DECLARED = re.compile(
    rb"\[\s*([\w-]+)\s*\]\s*\{\s*inputenc\s*\}|\\inputencoding\s*\{\s*([\w-]+)\s*\}"
    rb"|\\begin\s*\{CJK\*?\}\s*(?:\[[^\]]*\]\s*)?\{\s*([\w-]+)\s*\}"
)


def decode_all(raw: Mapping[str, bytes], counters: Counter[str]) -> dict[str, str]:
    """Every file's text; a file that is not UTF-8 takes the encoding that it, or else another file, declares."""
    texts, undecided = {}, []
    for path, content in raw.items():
        text = _decode_unicode(content)
        if text is None and (text := _mostly_utf8(content)) is not None:
            counters["decoded_as_mixed"] += 1
        if text is None:
            undecided.append(path)
            text = ""
        texts[path] = text
    if undecided:
        shared = next(filter(None, map(_declared_encoding, raw.values())), None)
        for path in undecided:
            encoding = _declared_encoding(raw[path]) or shared
            texts[path] = _decode_bytes(raw[path], encoding)
            counters["decoded_as_declared" if encoding else "decoded_as_cp1252"] += 1
    return {path: _normalise_lines(text) for path, text in texts.items()}


def _decode_unicode(content: bytes) -> str | None:
    if content.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return content.decode("utf-32", "replace")
    if encoding := utf16_of(content):
        return content.decode(encoding, "replace").removeprefix("\ufeff")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


_MULTIBYTE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


def _mostly_utf8(content: bytes) -> str | None:
    """UTF-8 into which a few bytes of CP1252 have strayed; None where such bytes are no exception.

    In CP1252 a valid sequence of two bytes is a capital with an accent before a sign, which no language writes.
    """
    valid = len(_MULTIBYTE.findall(content))
    if not valid:
        return None
    text = content.decode("utf-8", "cp1252_bytes")
    strays = len(_MULTIBYTE.sub(b"", content).translate(None, bytes(range(128))))
    return text if strays * 4 <= valid else None


def _cp1252_bytes(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    byte = error.object[error.start : error.start + 1]
    return byte.decode("cp1252", "replace").replace("\ufffd", byte.decode("latin-1")), error.start + 1


codecs.register_error("cp1252_bytes", _cp1252_bytes)


def utf16_of(content: bytes) -> str | None:
    """The kind of UTF-16 that a file is in, or None."""
    if content.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if content.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    sample = content[:400]
    if len(sample) >= 16 and sample.count(0) > 0.4 * len(sample):  # TeX is mostly ASCII: every other byte is zero
        if not sample[0::2].strip(b"\0"):
            return "utf-16-be"
        if sample[1::2].count(0) > 0.9 * len(sample[1::2]):
            return "utf-16-le"
        if sample[0::2].count(0) > 0.9 * len(sample[0::2]):
            return "utf-16-be"
    return None


def _declared_encoding(content: bytes) -> str | None:
    for match in _DECLARED.finditer(content):
        name = next(filter(None, match.groups())).decode("ascii", "replace").lower()
        if name in _ENCODINGS:
            return _ENCODINGS[name]
    return None


def _decode_bytes(content: bytes, encoding: str | None) -> str:
    for candidate in filter(None, (encoding, "cp1252")):
        try:
            return content.decode(candidate)
        except UnicodeDecodeError:
            continue
    return content.decode("latin-1")  # every byte means something there


def _normalise_lines(text: str) -> str:
    if "\r" not in text:
        return text
    # "\r\r\n" is what two conversions to DOS leave.
    return text.replace("\r\r\n", "\n").replace("\r\n", "\n").replace("\r", "\n")
