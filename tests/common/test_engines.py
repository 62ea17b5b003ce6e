"""The same bytes from every engine, however often it is killed: many random moments, a cluster that loses a machine."""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from common import engines
from common.errors import UserError
from common.paths import ROOT
from tests.helpers.small_disk import on_a_small_disk
from tests.helpers.tiny_corpus import make_corpus
from tests.helpers.tiny_pipeline import arguments, outputs, run


def command(corpus, out, *more, **options):
    return [sys.executable, str(ROOT / "data_prep" / "prepare_dataset.py"), *arguments(corpus, out, *more, **options)]


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_fifty_random_moments(tmp_path):
    """kill -9 of the whole process group, then again with another number of workers, until fifty have been killed."""
    corpus = make_corpus(tmp_path / "raw", plain=120)
    started = time.monotonic()
    run(corpus, tmp_path / "straight", workers=1, shard_papers=4)
    whole = outputs(tmp_path / "straight")
    longest = 1.5 * (time.monotonic() - started) + 1.5  # a process of its own also has to start
    choose = random.Random(20)
    kills = finished = 0
    out = tmp_path / "killed"
    while kills < 50:
        flags = command(corpus, out, workers=choose.randint(1, 3), shard_papers=4)
        process = subprocess.Popen(flags, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
        try:
            _, errors = process.communicate(timeout=choose.uniform(0.3, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, errors.decode()
        assert outputs(out) == whole
        finished += 1
        shutil.rmtree(out)
    run(corpus, out, workers=2, shard_papers=4)
    assert outputs(out) == whole and not list(out.rglob("*.tmp*"))
    assert finished >= 1


def test_ray_flags_that_make_no_sense(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path / "raw", plain=3)
    with pytest.raises(UserError, match="--address names a Ray cluster"):
        run(corpus, tmp_path / "out", "--address", "auto")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match="pip install ray"):
        run(corpus, tmp_path / "out", "--engine", "ray")


def test_cores_and_description():
    assert engines.available_cores() >= 1
    assert "3 worker" in engines.Engine("local", 5).describe(3) and "auto" in engines.Engine("ray", 0, "auto").describe(
        3
    )


@pytest.fixture
def cluster():
    """A head without room for work and two machines with it, all of them here."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    yield cluster, nodes
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_ray_cluster_gives_the_same_bytes_though_a_machine_is_killed(tmp_path, cluster):
    machines, nodes = cluster
    corpus = make_corpus(tmp_path / "raw", plain=240)
    run(corpus, tmp_path / "local", workers=2, shard_papers=4)
    out = tmp_path / "ray"
    flags = command(corpus, out, "--engine", "ray", "--address", machines.address, shard_papers=4, workers=0)
    process = subprocess.Popen(flags, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    shards = out / "work" / "shards"
    while len(list(shards.glob("*.json"))) < 5:
        assert process.poll() is None, process.communicate()[0].decode()
        time.sleep(0.01)
    machines.remove_node(nodes[0], allow_graceful=False)
    before = len(list(shards.glob("*.json")))
    shown, _ = process.communicate(timeout=400)
    assert process.returncode == 0, shown.decode()
    assert before < 60, "the machine was killed after the work was done"
    assert outputs(out) == outputs(tmp_path / "local")
    assert not list(shards.glob("*.at"))


def dies_on_paper_3(job, progress):
    def watched(position, size):
        progress(position, size)
        if position == 3 and position not in job.fatal:
            os._exit(9)

    from tests.common.test_workers import write_positions

    write_positions(job, watched)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ray_gives_up_a_paper_that_kills_its_workers(tmp_path, cluster):
    from common.ray_workers import run_jobs
    from tests.common.test_workers import jobs

    done = {}
    run_jobs(
        jobs(tmp_path, 3),
        2,
        dies_on_paper_3,
        lambda shard, papers, size: done.update({shard: papers}),
        cluster[0].address,
    )
    assert done == {0: 4, 1: 4, 2: 4}
    for number in range(3):
        lines = (tmp_path / f"{number}.txt").read_text().splitlines()
        assert lines[:3] == ["fine"] * 3 and lines[3].startswith("the worker process died on this paper 2 times")


def test_no_such_cluster_is_told(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    corpus = make_corpus(tmp_path / "raw", plain=3)
    with pytest.raises(UserError, match=r"no cluster at 127\.0\.0\.1:1: .*ray start --head"):
        run(corpus, tmp_path / "out", "--engine", "ray", "--address", "127.0.0.1:1")


@pytest.mark.slow
def test_a_disk_that_is_full_at_every_size_loses_nothing(tmp_path):
    corpus = make_corpus(tmp_path / "corpus", plain=120)
    run(corpus, tmp_path / "whole")
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    line = shlex.join([sys.executable, "data_prep/prepare_dataset.py", *arguments(corpus, disk / "out", workers=2)])
    script = (
        f"for size in $(seq 40 60 4000); do mount -o remount,size=${{size}}k {disk}; {line}; status=$?; "
        f"echo $size status $status; if [ $status = 0 ]; then break; fi; done; cp -r {disk}/out {kept}"
    )
    result = on_a_small_disk(disk, "40k", script)
    failures = result.stdout.count("status 2")
    assert failures >= 5 and result.stdout.count("status") == failures + 1, result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    told = [text for text in result.stderr.splitlines() if text.startswith("error: ")]
    assert len(told) == failures and all("space" in text or "free" in text for text in told), told
    assert outputs(kept) == outputs(tmp_path / "whole")
