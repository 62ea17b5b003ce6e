"""The pass `unicode_text`: characters that are no text."""

from __future__ import annotations

import re
import unicodedata

# U+2581 is SentencePiece's own mark for a blank, private-use characters are this package's, the others are never text.
_UNWANTED = re.compile(
    "[\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ud800-\udfff"
    "\ue000-\uf8ff\ufeff\ufff9-\uffff\U000f0000-\U0010ffff]"
)
_LINE_ENDS = re.compile("\r\n|[\r\x0c\x85\u2028\u2029]")
_UNUSUAL = re.compile(f"{_UNWANTED.pattern}|{_LINE_ENDS.pattern}|[\u2581\xa0]")
_ASCII_WANTED = bytes([*b"\t\n", *range(0x20, 0x7F)])


def unicode_text(text: str) -> str:
    """Control and private-use characters, byte order marks and lone surrogates out; NFC; U+2581 becomes `_`."""
    if text.isascii() and not text.encode().translate(None, _ASCII_WANTED):
        return text
    if _UNUSUAL.search(text):
        text = _UNWANTED.sub("", _LINE_ENDS.sub("\n", text)).replace("\u2581", "_").replace("\xa0", " ")
    return unicodedata.normalize("NFC", text)
