"""The .Z format; the packed bytes below were made by ncompress."""

import base64
import random

import pytest

from data_prep.archive.unix_compress import decompress

# b"abcab" * 900: strings that grow, entries used as they are made.
REPEATED = base64.b64decode(
    "H52QYcSMCRhwoJiCBAUmNIjwoEKHDB82nCixYsSLCzNC1EgR48aPHTlaFOkxJMiRJ0uiNMlypUuVMEnKTDmzZUyaOG3WfLnzps6c"
    "PIH6DPqzKNGjQ5P2XCqUqVGlTaM+dYqUKtSpUqtmvaoVq9euYLmKtUp2a9mvY82qRXs2bNu0bNe6lQt3bty7dvPW3fu2L12/ePn+"
    "HRwYsF7DggsTPrw4MWPFkB9LdkwZseXGlyNXxsxZc+bJnzd77gyatOjSo1OjXn26dejXpmGrdh279mzZrHHTvm07d+/dvnkLD04c"
    "uHHdyH8nH35cuXPmfgE="
)


def test_corrupt_input_is_an_error_or_bytes():
    chance = random.Random(0)
    outcomes = set()
    for _ in range(300):
        data = bytearray(REPEATED)
        data[chance.randrange(3, len(data))] = chance.randrange(256)
        try:
            decompress(bytes(data), 100_000)
            outcomes.add("bytes")
        except ValueError:
            outcomes.add("error")
    assert outcomes == {"bytes", "error"}


@pytest.mark.parametrize("data", [b"", b"\x1f\x9d", b"\x1f\x8b\x90x", b"\x1f\x9d\x08x", b"\x1f\x9d\x9fx"])
def test_no_header(data):
    with pytest.raises(ValueError):
        decompress(data, 100)


def test_limit():
    with pytest.raises(OverflowError, match="more than 10 bytes"):
        decompress(_packed("a" * 50), 10)


def _packed(text: str) -> bytes:
    """Codes of nine bits, a letter each: valid, if not short."""
    bits = sum(ord(letter) << 9 * place for place, letter in enumerate(text))
    return b"\x1f\x9d\x90" + bits.to_bytes(-(-9 * len(text) // 8), "little")


def test_strings_that_grow():
    assert decompress(REPEATED, 10_000) == b"abcab" * 900


def test_codes_of_letters():
    assert decompress(_packed("hello world"), 100) == b"hello world"
