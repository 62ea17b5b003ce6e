from typing import cast

import numpy as np
import pytest

from tokenizer.cache.token_file import READ_ONLY
from training.data import Loader, PackedSequences, hash_key, permute, step_seed


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000])
def test_permutation_is_a_bijection(size):
    for key in (0, 1, hash_key(5, 2)):
        assert sorted(permute(i, size, key) for i in range(size)) == list(range(size))


def test_permutation_mixes_and_depends_on_the_key():
    size = 4096
    first = np.array([permute(i, size, 1) for i in range(size)])
    assert (first != [permute(i, size, 2) for i in range(size)]).mean() > 0.99
    # Neighbours land far apart, as they would in a random order (mean distance size / 3).
    assert np.abs(np.diff(first)).mean() == pytest.approx(size / 3, rel=0.1)


def test_windows_cover_the_row_once_and_share_their_borders():
    tokens = np.arange(101, dtype=np.uint32)
    data = PackedSequences(tokens, seq_len=10, seed=0)
    assert data.size == 10
    assert np.concatenate([data.window(i)[:-1] for i in range(10)]).tolist() == list(range(100))
    assert all(data.window(i)[-1] == 10 * (i + 1) for i in range(10))


def test_an_epoch_reads_every_window_once_and_the_next_in_another_order():
    data = PackedSequences(np.arange(331, dtype=np.uint32), seq_len=10, seed=3)
    epochs = [[int(data.at(epoch * data.size + i)[0]) // 10 for i in range(data.size)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(data.size))
    assert epochs[0] != epochs[1]


@pytest.mark.parametrize(("processes", "accumulation"), [(1, 4), (2, 2), (4, 1)])
def test_a_step_reads_the_same_windows_on_any_number_of_processes(processes, accumulation):
    data = PackedSequences(np.arange(1001, dtype=np.uint32), seq_len=10, seed=0)
    micro, step = 3, 5
    per_step = micro * accumulation * processes
    read = [
        data.batch(step * per_step + micro * (m * processes + rank), micro)
        for m in range(accumulation)
        for rank in range(processes)
    ]
    assert np.array_equal(np.concatenate(read), data.batch(step * 12, 12))


@pytest.mark.parametrize("rank", [0, 1])
def test_the_loader_gives_a_process_its_micro_batches_in_order(rank):
    data = PackedSequences(np.arange(1001, dtype=np.uint32), seq_len=10, seed=0)
    loader = Loader(data, position=24, sequences_per_step=12, stride=6, offset=3 * rank, count=3, pin=False)
    for first in (24, 30, 36, 42, 48, 54, 60):
        assert np.array_equal(loader.next().tokens.numpy(), data.batch(first + 3 * rank, 3))
    loader.close()
    assert not loader.thread.is_alive()


def test_what_fails_in_the_loader_is_raised_where_the_batch_is_asked_for():
    class Gone:
        size = 10

        def answers(self, *_):
            return 1

        def batch(self, *_):
            raise OSError(5, "Input/output error")

    gone = cast(PackedSequences, Gone())
    loader = Loader(gone, position=0, sequences_per_step=1, stride=1, offset=0, count=1, pin=False)
    with pytest.raises(OSError, match="Input/output error"):
        loader.next()
    loader.close()


def test_a_step_has_random_numbers_of_its_own():
    seeds = {step_seed(seed, step, rank) for seed in (0, 1) for step in range(50) for rank in (0, 1)}
    assert len(seeds) == 200 and all(0 <= seed < 2**63 for seed in seeds)


def marked_row(seed=0, length=2001):
    """Ids that rise by one, about half of them marked as read only."""
    marks = np.random.default_rng(seed).random(length) < 0.5
    return np.arange(length, dtype=np.uint32) | np.where(marks, READ_ONLY, 0).astype(np.uint32), marks


def test_marks_are_complements_where_answers_count_and_gone_where_all_does():
    row, marks = marked_row()
    plain, answers = (PackedSequences(row, 10, 0, answers_only) for answers_only in (False, True))
    assert np.array_equal(plain.window(7), np.arange(70, 81))
    window = answers.window(7)
    assert np.array_equal(window < 0, marks[70:81]) and np.array_equal(
        np.where(window < 0, ~window, window), plain.window(7)
    )
    assert answers.answers(0, answers.size) == sum(
        np.count_nonzero(~marks[i * 10 + 1 : i * 10 + 11]) for i in range(200)
    )
    assert plain.answers(3, 5) == 50


@pytest.mark.parametrize("processes", [1, 2])
def test_weighted_means_of_micro_batches_make_the_mean_over_all_answers_of_a_step(processes):
    """Whatever the split into processes and micro-batches: here a target's loss is its id."""
    row, _ = marked_row()
    data, step, micro = PackedSequences(row, 10, 5, answers_only=True), 12, 3
    loaders = [
        Loader(data, 0, step, stride=micro * processes, offset=micro * rank, count=micro, pin=False)
        for rank in range(processes)
    ]
    for number in range(4):
        means = []
        for _ in range(step // micro // processes):
            for loader in loaders:
                batch = loader.next()
                targets = batch.tokens[:, 1:]
                means.append(targets[targets >= 0].double().mean().item() * batch.weight)
        targets = data.batch(number * step, step)[:, 1:]
        assert sum(means) / len(means) == pytest.approx(targets[targets >= 0].mean(), rel=1e-12)
    for loader in loaders:
        loader.close()


def test_a_step_without_an_answer_weighs_nothing():
    row = np.arange(101, dtype=np.uint32) | np.uint32(READ_ONLY)
    loader = Loader(PackedSequences(row, 10, 0, answers_only=True), 0, 2, stride=2, offset=0, count=2, pin=False)
    batch = loader.next()
    assert batch.weight == 0.0 and len(batch.learnt) == 0
    loader.close()


def test_a_batch_says_which_targets_are_learnt():
    row, _ = marked_row()
    data = PackedSequences(row, 10, 0, answers_only=True)
    loader = Loader(data, 0, 2, stride=2, offset=0, count=2, pin=False)
    batch = loader.next()
    targets = batch.tokens[:, 1:].flatten()
    assert targets[batch.learnt].tolist() == [token for token in targets.tolist() if token >= 0]
    loader.close()
    everything = Loader(PackedSequences(row, 10, 0), 0, 2, stride=2, offset=0, count=2, pin=False)
    assert everything.next().learnt is None
    everything.close()


@pytest.mark.parametrize("mark", [0, READ_ONLY])
def test_a_batch_says_whether_a_document_ends_within(mark):
    """At the last input, or as the last target, an end parts nothing."""
    for place, apart in ((0, True), (8, True), (9, False), (10, False), (25, True)):
        row = np.full(31, 7, dtype=np.uint32)
        row[place] = np.uint32(2 | mark)
        data = PackedSequences(row[:11] if place < 11 else row, 10, 0, answers_only=bool(mark))
        for eos, expected in ((2, apart), (None, False)):
            loader = Loader(
                data, 0, data.size, stride=data.size, offset=0, count=data.size, pin=False, eos_token_id=eos
            )
            assert loader.next().apart is expected
            loader.close()
