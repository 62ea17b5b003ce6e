"""The pass `unicode_text`: characters that are no text. Mixtures are cleaned of the same."""

from __future__ import annotations

import re
import unicodedata

# Never text, in the brackets of a regular expression. Private-use characters are this package's own.
_UNWANTED = {
    "control_characters": "\x00-\x08\x0b\x0e-\x1f\x7f-\x84\x86-\x9f",
    "invisible_characters": "\xad\u200b-\u200f\u202a-\u202e\u2060-\u206f",
    "byte_order_marks": "\ufeff",
    "lone_surrogates": "\ud800-\udfff",
    "private_use_characters": "\ue000-\uf8ff\U000f0000-\U0010ffff",
    "replacement_characters": "\ufff9-\uffff",
}
_ALL_UNWANTED = re.compile(f"[{''.join(_UNWANTED.values())}]")
_OTHER_LINE_ENDS = "\r\x0c\x85\u2028\u2029"
_LINE_ENDS = re.compile(f"\r\n|[{_OTHER_LINE_ENDS}]")
# U+2581 is SentencePiece's own mark for a blank.
_BLANKS = {"\u2581": "_", "\xa0": " "}
# One class: an alternation takes five times as long.
_UNUSUAL = re.compile(f"[{''.join(_UNWANTED.values())}{_OTHER_LINE_ENDS}{''.join(_BLANKS)}]")
_ASCII_WANTED = bytes([*b"\t\n", *range(0x20, 0x7F)])

# What the pass changes, each with how it is found.
CHANGES = {
    **{name: re.compile(f"[{characters}]") for name, characters in _UNWANTED.items()},
    "line_ends": _LINE_ENDS,
    "sentencepiece_blanks": re.compile("\u2581"),
    "no_break_spaces": re.compile("\xa0"),
}
DECOMPOSED = "decomposed_characters"


def unicode_text(text: str) -> str:
    """Control and private-use characters, byte order marks and lone surrogates out; NFC; U+2581 becomes `_`."""
    if _plain(text):
        return text
    if _UNUSUAL.search(text):
        text = _ALL_UNWANTED.sub("", _LINE_ENDS.sub("\n", text))
        for blank, instead in _BLANKS.items():
            text = text.replace(blank, instead)
    return unicodedata.normalize("NFC", text)


def changes_in(text: str) -> list[str]:
    """What `unicode_text` changes in a text: names of CHANGES, and DECOMPOSED where characters are not in NFC."""
    if _plain(text):
        return []
    found = [name for name, pattern in CHANGES.items() if pattern.search(text)] if _UNUSUAL.search(text) else []
    return found if unicodedata.is_normalized("NFC", text) else [*found, DECOMPOSED]


def _plain(text: str) -> bool:
    return text.isascii() and not text.encode().translate(None, _ASCII_WANTED)
