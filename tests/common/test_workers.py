"""Workers that die, fail or report: nothing hangs, nothing is lost, one paper is given up at the most."""

import os
import signal
from pathlib import Path

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from common.workers import run_jobs
from data_prep.pipeline.shards import ShardJob

PAPERS = 4


def jobs(folder: Path, count: int) -> list[ShardJob]:
    settings = load_settings().data
    return [ShardJob(i, folder, folder, settings, [], f"papers{i}", f"inputs{i}", "stage") for i in range(count)]


def write_positions(job, progress):
    """The work: a line for each paper that is not given up."""
    lines = []
    for position in range(PAPERS):
        progress(position, 10 * position)
        lines.append(job.fatal.get(position, "fine"))
    progress(PAPERS, 10 * PAPERS)
    (job.folder / f"{job.number}.txt").write_text("\n".join(lines))


def dies_always_on_paper_2_of_shard_1(job, progress):
    def watched(position, size):
        progress(position, size)
        if job.number == 1 and position == 2 and position not in job.fatal:
            os.kill(os.getpid(), signal.SIGKILL)

    write_positions(job, watched)


def dies_once(job, progress):
    mark = job.folder / "died"
    if job.number == 1 and not mark.exists():
        mark.touch()
        progress(1, 0)
        os._exit(139)
    write_positions(job, progress)


def dies_at_once(job, progress):
    os._exit(1)


def needs_the_user(job, progress):
    raise UserError("the disk is full")


def has_a_bug(job, progress):
    raise KeyError("a bug")


def run(folder, work, count=5, workers=2):
    state = {}
    run_jobs(iter(jobs(folder, count)), workers, work, lambda shard, *progress: state.update({shard: progress}))
    return state


@pytest.mark.parametrize("workers", [1, 3])
def test_every_shard_is_done(tmp_path, workers):
    state = run(tmp_path, write_positions, workers=workers)
    assert state == {i: (PAPERS, 10 * PAPERS) for i in range(5)}
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{i}.txt" for i in range(5)]


def test_a_paper_that_kills_its_worker_is_given_up(tmp_path):
    run(tmp_path, dies_always_on_paper_2_of_shard_1)
    texts = {path.stem: path.read_text().splitlines() for path in tmp_path.iterdir()}
    assert len(texts) == 5
    assert [line == "fine" for line in texts["1"]] == [True, True, False, True]
    assert "died" in texts["1"][2]
    assert all(texts[name] == ["fine"] * PAPERS for name in "0234")


def test_a_worker_that_dies_once_costs_nothing(tmp_path):
    run(tmp_path, dies_once)
    (tmp_path / "died").unlink()
    assert [path.read_text() for path in sorted(tmp_path.iterdir())] == ["\n".join(["fine"] * PAPERS)] * 5


def test_workers_that_cannot_work_stop_the_run(tmp_path):
    with pytest.raises(UserError, match="keep dying"):
        run(tmp_path, dies_at_once)


def test_a_workers_user_error_is_the_runs(tmp_path):
    with pytest.raises(UserError, match="the disk is full"):
        run(tmp_path, needs_the_user)


def test_a_bug_stops_the_run_with_its_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="KeyError: 'a bug'"):
        run(tmp_path, has_a_bug)
