import numpy as np
import pytest

from training.data import PackedSequences, hash_key, permute


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
