"""Clusters of the same and of similar texts, one survivor each."""

import random

import numpy as np
import pytest

from data_prep.dedup.clusters import BANDS, ROWS, WINDOW, clusters_of, exact_groups, near_groups, similarity
from data_prep.dedup.minhash import PERMUTATIONS, signature, text_digest, word_hashes


def exact_clusters(texts, lengths):
    return clusters_of(exact_groups(b"".join(map(text_digest, texts))), np.array(lengths, dtype=np.int64))


def test_the_longest_survives_then_the_earliest():
    clusters = exact_clusters(["a", "b", "a", "c", "a", "b"], [5, 3, 9, 1, 9, 3])
    assert clusters.first.tolist() == [0, 1, 0, 3, 0, 1]
    assert clusters.survivor.tolist() == [2, 1, 2, 3, 2, 1]
    assert clusters.kept.tolist() == [False, True, True, True, False, False]


def test_no_documents():
    clusters = exact_clusters([], [])
    assert len(clusters.first) == len(clusters.kept) == 0
    none = np.empty((0, PERMUTATIONS), dtype=np.uint32)
    assert len(near_groups(none, np.empty(0, dtype=np.int64), 0.8)) == 0


def test_against_a_plain_dictionary():
    choose = random.Random(0)
    texts = [str(choose.randint(0, 60)) for _ in range(300)]
    lengths = [choose.randint(1, 4) for _ in texts]
    clusters = exact_clusters(texts, lengths)
    for i, text in enumerate(texts):
        members = [j for j, other in enumerate(texts) if other == text]
        assert clusters.first[i] == members[0]
        assert clusters.survivor[i] == min(members, key=lambda j: (-lengths[j], j))


def words(seed: int, count: int = 2000) -> list[str]:
    choose = random.Random(seed)
    return [f"w{choose.randrange(10**6)}" for _ in range(count)]


def signatures_of(texts: list[list[str]]) -> np.ndarray:
    return np.array([signature(word_hashes(" ".join(text))) for text in texts])


def groups_of(texts: list[list[str]], threshold: float = 0.8) -> list[int]:
    return near_groups(signatures_of(texts), np.arange(len(texts)), threshold).tolist()


def test_near_duplicates_are_joined_and_others_are_not():
    base = words(1)
    edited = [*base[:1000], "new", "words", *base[1000:]]
    half = base[:1000] + words(2, 1000)
    assert groups_of([words(3), base, half, edited, words(4)]) == [0, 1, 2, 1, 4]


def test_a_chain_is_one_cluster_and_exact_groups_are_joined_as_a_whole():
    base = words(5)
    one, two = words(6, 200) + base[200:], words(7, 200) + base[200:]
    assert groups_of([one, base, two], 0.75) == [0, 0, 0]
    signatures = signatures_of([words(8), base, base, one])
    # Document 0 is declared the same as document 2: whatever it says, its group is joined by its first one alone.
    assert near_groups(signatures, np.array([0, 1, 1, 3]), 0.75).tolist() == [0, 1, 1, 1]


def test_short_texts_are_left_to_the_digest():
    short = ["a", "few", "words"]
    assert groups_of([short, short]) == [0, 1]


@pytest.mark.parametrize("copies", [WINDOW - 1, WINDOW + 1, 5 * WINDOW])
def test_large_buckets_become_one_cluster(copies):
    base = words(9)
    texts = [[*base, f"{i}"] for i in range(copies)]
    assert set(groups_of(texts)) == {0}


def test_the_same_groups_as_from_all_pairs():
    choose = random.Random(3)
    bases = [words(seed, 300) for seed in range(12)]
    texts = []
    for _ in range(150):
        text = list(choose.choice(bases))
        for _ in range(choose.choice((0, 1, 3, 20, 60))):
            text[choose.randrange(len(text))] = f"x{choose.random()}"
        texts.append(text)
    signatures = signatures_of(texts)
    parent = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            bands = (signatures[i] == signatures[j]).reshape(BANDS, ROWS).all(axis=1).any()
            if bands and similarity(signatures, np.array([i]), np.array([j]))[0] >= 0.8:
                old, new = max(parent[i], parent[j]), min(parent[i], parent[j])
                parent = [new if p == old else p for p in parent]
    assert near_groups(signatures, np.arange(len(texts)), 0.8).tolist() == parent
    assert len(set(parent)) < 100


def test_random_permutation_of_documents_gives_the_same_clusters():
    texts = [words(seed // 3, 400)[: 400 - seed % 3] for seed in range(60)]
    order = list(range(60))
    random.Random(1).shuffle(order)

    def sets(groups, names):
        found: dict[int, set[int]] = {}
        for group, name in zip(groups, names, strict=True):
            found.setdefault(group, set()).add(name)
        return {frozenset(members) for members in found.values()}

    straight = sets(groups_of(texts), range(60))
    assert sets(groups_of([texts[i] for i in order]), order) == straight
    assert len(straight) == 20


def test_the_s_curve_is_that_of_theory():
    from benchmarks.data.near_duplicates import LEVELS, planted, theory

    signatures, pairs = planted(20_000)
    for threshold in (0.0, 0.8):  # as candidates, and as near-duplicates
        groups = near_groups(signatures, np.arange(len(signatures)), threshold)
        for level, (a, b) in zip(LEVELS, pairs, strict=True):
            found, expected = (groups[a] == groups[b]).mean(), theory(level, threshold)
            # Five standard errors, and what empty bins of a one-permutation signature add.
            assert abs(found - expected) <= 5 * (expected * (1 - expected) / len(a)) ** 0.5 + 0.03, (level, threshold)
