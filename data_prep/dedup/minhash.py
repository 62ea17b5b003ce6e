"""What texts are compared by: a digest for exact duplicates, MinHash signatures for near ones, and the hashes of words
and n-grams under them, vectorized over bytes. Imported, not run.

A word is a maximal run of ASCII letters and digits, lower case, and of the bytes of any other character; all else
separates. What a paper is compared by are the hashes of its word 5-grams.

**Signature.** One-permutation hashing: the hash of each 5-gram falls into one of 128 bins by its upper bits, and the
smallest of each bin is kept (Li, Owen, Zhang: One Permutation Hashing, 2012). An empty bin borrows from another one,
chosen by a fixed random sequence of its own (Shrivastava: Optimal Densification for Fast and Accurate Minwise Hashing,
2017). As with k permutations, the share of equal entries of two signatures estimates the Jaccard similarity of the sets
without bias, with a variance of J(1 - J)/128 at the most; it costs one hash for each 5-gram in place of 128.
"""

from __future__ import annotations

import functools
import hashlib
import re
import string
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SHINGLE_WORDS = 5
PERMUTATIONS = 128
BIN_BITS = 7
# A text of fewer 5-grams has too little to be compared by; only exact duplicates of it are found.
MIN_SHINGLES = 30
# Bytes hashed at a time, so that the work stays in the processor's cache.
CHUNK = 1 << 17
# A word is told apart by its first bytes and its length: longer ones are data.
MAX_WORD = 64

DIGEST_BYTES = 16
IGNORED_ASCII = (string.punctuation + string.whitespace).encode() + bytes(range(32)) + b"\x7f"
IGNORED = re.compile(r"[\W_]+")
_LETTERS = (string.ascii_lowercase + string.digits).encode()
# Separators become zeros; letters are folded before, but for ASCII texts, which this table folds.
_TABLE = bytes(c if c in _LETTERS or c >= 0x80 else (c + 32 if 65 <= c <= 90 else 0) for c in range(256))


def text_digest(text: str) -> bytes:
    """16 bytes of BLAKE2b of the letters and digits of `text`, compatibility forms unified (NFKC), case folded."""
    if text.isascii():  # the same result as below, ten times faster
        letters = text.lower().encode().translate(None, IGNORED_ASCII)
    else:
        # Case folding can leave what NFKC would compose, hence the order: fold, then normalize.
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        for character in set(folded):
            if ord(character) > 127 and IGNORED.fullmatch(character):
                folded = folded.replace(character, "")
        letters = folded.encode("utf-8", "replace").translate(None, IGNORED_ASCII)
    return hashlib.blake2b(letters, digest_size=DIGEST_BYTES).digest()


def word_hashes(text: str) -> np.ndarray:
    """Hashes of the words of `text` in their order: uint64 [words], the same wherever in a text a word stands."""
    import numpy as np

    if not text.isascii():
        text = text.lower()
    data = text.encode("utf-8", "replace").translate(_TABLE)
    hashes, position = [], 0
    while position < len(data):
        end = position + CHUNK
        if end < len(data):
            end = data.rfind(b"\0", position, end) + 1 or end  # between words; within one that is longer than a chunk
        hashes.append(_hash_words(data[position:end]))
        position = end
    return np.concatenate(hashes) if hashes else np.empty(0, dtype=np.uint64)


def _hash_words(data: bytes) -> np.ndarray:
    import numpy as np

    # Zeros around, so that 8 bytes can be read from any place, and words have both ends.
    padded = b"\0" + data + bytes(MAX_WORD)
    inside = (np.frombuffer(padded, dtype=np.uint8) != 0).view(np.int8)
    edges = np.flatnonzero(np.diff(inside))
    starts, lengths = edges[::2] + 1, edges[1::2] - edges[::2]
    # Unaligned words of 8 bytes at every offset of the data, without copying it.
    all_bits = np.uint64(2**64 - 1)
    eights: np.ndarray = np.ndarray((len(padded) - 7,), dtype="<u8", buffer=padded, strides=(1,))
    hashes = np.zeros(len(starts), dtype=np.uint64)
    chosen: slice | np.ndarray = slice(None)
    at, left = starts, lengths
    for _ in range(MAX_WORD // 8):
        bits = np.minimum(left, 8).astype(np.uint64) << np.uint64(3)
        piece = eights[at] & (all_bits >> (np.uint64(64) - bits))
        hashes[chosen] = mix(hashes[chosen] ^ piece)
        longer = left > 8
        if not longer.any():
            break
        chosen = np.flatnonzero(longer) if isinstance(chosen, slice) else chosen[longer]
        at, left = at[longer] + 8, left[longer] - 8
    return hashes + lengths.astype(np.uint64)


def mix(values: np.ndarray) -> np.ndarray:
    """The finalizer of SplitMix64 (Steele, Lea, Flood 2014): a bijection of uint64 in which every bit matters."""
    import numpy as np

    values = values + np.uint64(0x9E3779B97F4A7C15)
    values ^= values >> np.uint64(30)
    values *= np.uint64(0xBF58476D1CE4E5B9)
    values ^= values >> np.uint64(27)
    values *= np.uint64(0x94D049BB133111EB)
    values ^= values >> np.uint64(31)
    return values


def ngram_hashes(words: np.ndarray, n: int) -> np.ndarray:
    """Hashes of the n-grams of `words` (uint64) by position: uint64 [max(0, words - n + 1)]."""
    import numpy as np

    count = len(words) - n + 1
    if count <= 0:
        return np.empty(0, dtype=np.uint64)
    hashes = words[:count].copy()
    for k in range(1, n):
        hashes *= np.uint64(0xD1342543DE82EF95)  # odd, so that no word is lost; its order in the n-gram matters
        hashes += words[k : k + count]
    return mix(hashes)


def signature(words: np.ndarray) -> np.ndarray:
    """MinHash signature of a text's `word_hashes`: uint32 [PERMUTATIONS], zeros where it has too few 5-grams."""
    import numpy as np

    shingles = ngram_hashes(words, SHINGLE_WORDS)
    if len(shingles) < MIN_SHINGLES:
        return np.zeros(PERMUTATIONS, dtype=np.uint32)
    shingles.sort()
    edges, sequences = _tables()
    first = np.searchsorted(shingles, edges)
    empty = np.flatnonzero(first == np.append(first[1:], len(shingles)))
    values = shingles[np.minimum(first, len(shingles) - 1)]
    if len(empty):
        filled = np.ones(PERMUTATIONS, dtype=bool)
        filled[empty] = False
        # For each empty bin the first filled one of its own sequence, which names every bin once.
        order = sequences[empty]
        values[empty] = values[order[np.arange(len(empty)), filled[order].argmax(axis=1)]]
    # Not the bits of the bin; zero is kept for "no signature".
    return (values >> np.uint64(64 - BIN_BITS - 32)).astype(np.uint32) | np.uint32(1)


def has_signature(signatures: np.ndarray) -> np.ndarray:
    """Mask [documents] of the signatures [documents, PERMUTATIONS] of texts that are long enough for one."""
    return signatures[:, 0] != 0


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Lower edges of the bins uint64 [128], and for each bin an order of all bins [128, 128]."""
    import numpy as np

    bins = np.arange(PERMUTATIONS, dtype=np.uint64)
    keys = mix(mix(bins)[:, None] ^ bins[None, :])
    return bins << np.uint64(64 - BIN_BITS), np.argsort(keys, axis=1, kind="stable")
