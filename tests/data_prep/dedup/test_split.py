"""Held out by hash: stable, near the fraction asked for, never empty in a pilot."""

from data_prep.dedup.split import cluster_hash, val_clusters

NAMES = [f"23{i // 1000:02d}.{i:05d}" for i in range(20_000)]


def test_the_fraction_is_about_right_and_the_order_does_not_matter():
    chosen = val_clusters(NAMES, 0.05, seed=0)
    assert 900 < len(chosen) < 1100
    assert val_clusters(reversed(NAMES), 0.05, seed=0) == chosen
    assert val_clusters(NAMES, 0.05, seed=1) != chosen


def test_a_paper_keeps_its_side_when_others_come():
    few = val_clusters(NAMES[:10_000], 0.05, seed=0)
    assert few == val_clusters(NAMES, 0.05, seed=0) & set(NAMES[:10_000])


def test_a_larger_fraction_holds_out_more_of_the_same():
    assert val_clusters(NAMES, 0.01, seed=0) < val_clusters(NAMES, 0.02, seed=0)


def test_a_pilot_has_a_validation_document():
    names = ["a", "b", "c"]
    assert val_clusters(names, 1e-9, seed=0) == {min(names, key=lambda name: cluster_hash(name, 0))}


def test_nothing_is_held_out_of_one_document_or_on_request():
    assert val_clusters(["a"], 1e-9, seed=0) == set()
    assert val_clusters(NAMES[:100], 0.0, seed=0) == set()
    assert val_clusters([], 0.5, seed=0) == set()
