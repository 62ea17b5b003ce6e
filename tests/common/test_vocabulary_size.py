"""The power law through the two measured points."""

import pytest

from common.vocabulary_size import needed_bytes, supported_vocab_size


def test_goes_through_the_measured_points():
    assert supported_vocab_size(200_000_000) == 102_400
    assert supported_vocab_size(27_000_000) == 33_198 // 128 * 128


def test_is_a_multiple_of_128_never_below_512_and_grows():
    sizes = [supported_vocab_size(n) for n in (0, 1, 1000, 10**5, 10**6, 10**7, 10**9, 10**12)]
    assert sizes == sorted(sizes) and sizes[0] == 512
    assert all(size % 128 == 0 for size in sizes)


@pytest.mark.parametrize("size", [1, 512, 640, 1000, 8192, 32_000, 102_400, 1_000_000])
def test_needed_bytes_is_enough_and_no_more(size):
    needed = needed_bytes(size)
    assert supported_vocab_size(needed) >= size
    if size > 512:
        assert supported_vocab_size(needed - needed // 1000 - 1) < -(-size // 128) * 128


def test_refuses_what_makes_no_sense():
    with pytest.raises(ValueError, match="at least 0"):
        supported_vocab_size(-1)
    with pytest.raises(ValueError, match="at least 1"):
        needed_bytes(0)
