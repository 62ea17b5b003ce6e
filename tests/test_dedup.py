"""Digests that ignore case, space and punctuation; clusters with one survivor."""

import random

import numpy as np
import pytest

from data_prep.dedup import exact_clusters, text_digest


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


def test_the_longest_survives_then_the_earliest():
    digests = b"".join(text_digest(text) for text in ("a", "b", "a", "c", "a", "b"))
    clusters = exact_clusters(digests, np.array([5, 3, 9, 1, 9, 3]))
    assert clusters.first.tolist() == [0, 1, 0, 3, 0, 1]
    assert clusters.survivor.tolist() == [2, 1, 2, 3, 2, 1]
    assert clusters.kept.tolist() == [False, True, True, True, False, False]


def test_no_documents():
    clusters = exact_clusters(b"", np.array([], dtype=np.int64))
    assert len(clusters.first) == len(clusters.kept) == 0


def test_against_a_plain_dictionary():
    choose = random.Random(0)
    texts = [str(choose.randint(0, 60)) for _ in range(300)]
    lengths = [choose.randint(1, 4) for _ in texts]
    clusters = exact_clusters(b"".join(map(text_digest, texts)), np.array(lengths))
    for i, text in enumerate(texts):
        members = [j for j, other in enumerate(texts) if other == text]
        assert clusters.first[i] == members[0]
        assert clusters.survivor[i] == min(members, key=lambda j: (-lengths[j], j))
