"""Digests that ignore case, space and punctuation; hashes of words and n-grams; signatures that estimate similarity."""

import random
import re

import numpy as np
import pytest

from data_prep.dedup import minhash
from data_prep.dedup.minhash import MAX_WORD, PERMUTATIONS, ngram_hashes, signature, text_digest, word_hashes


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Let $X$ be a Space.", "let x BE\n\na   space"),
        ("naïve — “théorie”", 'NAÏVE - "THÉORIE"'),
        ("ﬁnite", "finite"),  # a ligature
        ("e\u0301tale", "étale"),  # composed or not
        ("x_1", "x1"),
        ("Straße", "STRASSE"),
        ("a\x00b", "ab"),
    ],
)
def test_same_text(one, other):
    assert text_digest(one) == text_digest(other)


@pytest.mark.parametrize(("one", "other"), [("x1", "x2"), ("α", "β"), ("ab", "abc"), ("", "a")])
def test_other_text(one, other):
    assert text_digest(one) != text_digest(other)


def test_the_short_way_for_ascii_is_the_long_way():
    """Appending a character that the digest ignores, outside ASCII, takes the long way."""
    every = "".join(map(chr, range(128)))
    assert text_digest(every) == text_digest(every + "\u2014")


def test_words_are_runs_of_letters_and_digits_in_lower_case():
    text = "Let $x_{12}$ be\\frac{A}{b}—naïve ΩMEGA 3.5e7\x00end"
    plain = ["let", "x", "12", "be", "frac", "a", "b", "—naïve", "ωmega", "3", "5e7", "end"]
    assert word_hashes(text).tolist() == np.concatenate([word_hashes(word) for word in plain]).tolist()


def test_a_word_has_one_hash_wherever_it_stands_and_others_have_others():
    choose = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = {"".join(choose.choices(letters, k=choose.randint(1, 20))) for _ in range(20_000)} | set(letters)
    text = " ".join(words)
    hashes = word_hashes(text)
    assert len(hashes) == len(words) == len(set(hashes.tolist()))
    assert np.array_equal(word_hashes("..  " + text.upper() + "\n"), hashes)
    assert word_hashes("").tolist() == word_hashes(" \n$$").tolist() == []


def test_chunks_do_not_show(monkeypatch):
    text = " ".join(f"word{i}" * (1 + i % 9) for i in range(300))
    whole = word_hashes(text)
    monkeypatch.setattr(minhash, "CHUNK", 200)
    assert np.array_equal(word_hashes(text), whole)


def test_very_long_words_are_told_apart_by_their_beginning_and_length():
    long = "ab" * 5000
    first, second, third, fourth = (word_hashes(t) for t in (long, long + "c", "x" + long[1:], long[:MAX_WORD]))
    assert len({int(h[0]) for h in (first, second, third, fourth)}) == 4


def test_ngrams_by_position():
    words = word_hashes("a b c a b c d")
    found = ngram_hashes(words, 3)
    assert len(found) == 5 and found[0] == found[3] and len(set(found.tolist())) == 4
    assert ngram_hashes(words, 7).tolist() == [ngram_hashes(words, 7)[0]] and len(ngram_hashes(words, 8)) == 0
    assert ngram_hashes(word_hashes("a b"), 2) != ngram_hashes(word_hashes("b a"), 2)


def test_known_values():
    """Signatures lie on disks: another release must give the same ones."""
    text = " ".join(f"word{i % 700}" for i in range(1000))
    assert word_hashes("theorem")[0] == KNOWN_WORD
    assert int(signature(word_hashes(text)).astype(np.uint64).sum()) == KNOWN_SUM


KNOWN_WORD = 15861219107423057858
KNOWN_SUM = 108667665312


@pytest.mark.parametrize("count", [40, 100, 400, 5000])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.8, 0.95])
def test_equal_entries_estimate_the_similarity(count, shared):
    """Over many pairs of known similarity: without bias, and no wider than k permutations would be."""
    generator = np.random.default_rng(7)
    pairs = 300
    common = round(count * shared)
    # Of distinct 5-grams: the words of each text are new, so that the overlap is that of the positions.
    estimates, truth = [], []
    for _ in range(pairs):
        words = generator.integers(0, 2**64, size=2 * count, dtype=np.uint64)
        a, b = words[:count], np.concatenate([words[:common], words[count : 2 * count - common]])
        sets = [set(ngram_hashes(side, 5).tolist()) for side in (a, b)]
        truth.append(len(sets[0] & sets[1]) / len(sets[0] | sets[1]))
        estimates.append((signature(a) == signature(b)).mean())
    true = float(np.mean(truth))
    errors = np.array(estimates) - np.array(truth)
    deviation = np.sqrt(max(true * (1 - true), 1e-9) / PERMUTATIONS)
    assert abs(errors.mean()) < 4 * deviation / np.sqrt(pairs) + 0.002
    # Borrowed bins make short texts a little less sure (a third of the bins are empty at 128 5-grams).
    assert errors.std() < deviation * (1.8 if count < 400 else 1.2) + 1e-6


def test_texts_of_few_words_have_no_signature():
    words = word_hashes(" ".join(map(str, range(minhash.MIN_SHINGLES + minhash.SHINGLE_WORDS - 1))))
    assert signature(words).all()
    assert not signature(words[:-1]).any()
    assert not signature(word_hashes("")).any()


def test_no_pattern_of_words_is_slow_or_wrong():
    """Words cut by a regular expression, over strings of all kinds."""
    choose = random.Random(5)
    alphabet = "aZ09 .\n\\{}$αβ—漢 \u2028ß"
    for _ in range(300):
        text = "".join(choose.choices(alphabet, k=choose.randint(0, 60)))
        words = re.findall(r"(?:[A-Za-z0-9]|[^\x00-\x7f])+", text)
        assert len(word_hashes(text)) == len(words)
