"""Asked to stop in every way, through the real launcher, a run saves where it stands and goes on from there."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from common.errors import UserError
from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.launch import launch_command, launch_environment, losses, only_run, train
from training.metrics import read_metrics
from training.run_folder.folder import Run, hold_run, holder
from training.stopping import REASONS, StopRequest, launcher_watch, stop_run


class Launched:
    """`deepspeed train.py` in the background, once it has done some steps."""

    def __init__(self, world: Path, steps: int = 3):
        self.log = (world / "output.txt").open("w+")
        self.outer = psutil.Popen(
            launch_command(world / "config.json"),
            cwd=ROOT,
            env=launch_environment(),
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.wait_for(lambda: any(max(losses(run), default=0) >= steps for run in (world / "runs").glob("*")))
        started = [(process, " ".join(process.cmdline())) for process in self.outer.children(recursive=True)]
        self.inner = next(process for process, command in started if "deepspeed.launcher.launch" in command)
        self.ranks = [p for p, command in started if "train.py" in command and "deepspeed.launcher" not in command]
        self.ranks.sort(key=lambda process: process.pid)

    def wait_for(self, condition, seconds: float = 150.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline and self.outer.poll() is None, self.output()
            time.sleep(0.05)

    def wait_until_gone(self) -> None:
        _, alive = psutil.wait_procs([*self.ranks, self.inner], timeout=100)
        assert not alive, self.output()

    def output(self) -> str:
        self.log.flush()
        return Path(self.log.name).read_text()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.outer, self.inner, *self.ranks):
            if process.is_running():
                process.kill()
        self.outer.wait()
        self.log.close()


@pytest.fixture
def world(tmp_path):
    tiny_world.make_world(tmp_path, max_steps=100_000, save_every=50, val_every=100_000)
    return tmp_path


def ask(how: str, launched: Launched, run: Path) -> None:
    if how == "outer SIGTERM":
        os.kill(launched.outer.pid, signal.SIGTERM)
    elif how == "outer killed":
        os.kill(launched.outer.pid, signal.SIGKILL)
    elif how == "inner SIGTERM":
        os.kill(launched.inner.pid, signal.SIGTERM)
    elif how == "inner killed":
        os.kill(launched.inner.pid, signal.SIGKILL)
    elif how == "Ctrl-C":  # a terminal sends it to all of the foreground
        os.killpg(launched.outer.pid, signal.SIGINT)
    elif how == "SIGTERM of one process":
        os.kill(launched.ranks[1].pid, signal.SIGTERM)
    else:
        command = [sys.executable, "train.py", "--stop", str(run)]
        asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100)
        assert asked.returncode == 0, asked.stderr
        assert re.search(r"asked process \d+ to save and stop\n.*: stopped\n", asked.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("outer SIGTERM", "the launcher is gone"),
        ("outer killed", "the launcher is gone"),
        ("inner SIGTERM", "SIGTERM"),
        ("inner killed", "the launcher is gone"),
        ("Ctrl-C", "SIGTERM|Ctrl-C"),
        ("SIGTERM of one process", "SIGTERM"),
        ("--stop", "SIGTERM"),
    ],
)
def test_a_run_saves_stops_and_goes_on(world, how, reason):
    with Launched(world) as launched:
        run = only_run(world)
        ask(how, launched, run)
        launched.wait_until_gone()
        output = launched.output()
    assert re.search(rf"stopping: ({reason})", output), output
    assert "Traceback" not in output or how == "Ctrl-C"  # which the outer command does not expect
    (stopped,) = (r for r in read_metrics(run / "metrics.jsonl") if r.get("event") == "stopped")
    last = max(losses(run))
    assert stopped["step"] == last and (run / f"checkpoints/step-{last:08d}/state.json").exists()
    assert holder(run) is None

    ended = train(world / "config.json", "--resume", str(run), "--set", f"train.max_steps={last + 2}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"resumed at step {last}" in ended.stdout and "done again" not in ended.stdout
    assert re.search(rf"train.max_steps +100000 -> {last + 2}\n", ended.stdout)
    assert sorted(losses(run)) == list(range(1, last + 3))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_others_with_a_message(world):
    with Launched(world) as launched:
        os.kill(launched.ranks[1].pid, signal.SIGKILL)
        launched.wait_until_gone()
        output = launched.output()
    assert "another process is gone or does not answer" in output
    assert "error: " in output and "goes on from the last checkpoint" in output


@pytest.mark.slow
def test_a_process_that_hangs_ends_the_run_with_a_message(tmp_path):
    tiny_world.make_world(tmp_path, max_steps=100_000, save_every=100_000, val_every=100_000, hang_seconds=40)
    with Launched(tmp_path) as launched:
        os.kill(launched.ranks[1].pid, signal.SIGSTOP)
        launched.wait_until_gone()
        output = launched.output()
    assert re.search(r"process 0: no progress for \d+ s \(train.hang_seconds 40\) in: step \d+", output), output


def test_a_signal_is_noted_and_what_is_ignored_stays_so():
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        request = StopRequest()
        request.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        assert request.code == 0 and not request.launched
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert REASONS[request.code] == "SIGTERM"
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_process_that_no_launcher_started_watches_none():
    assert launcher_watch() is None


def test_what_cannot_be_stopped_is_said(tmp_path):
    with pytest.raises(UserError, match="no run that was started here"):
        stop_run(tmp_path)
    held = hold_run(Run(tmp_path / "run"))
    found = holder(tmp_path / "run")
    assert found and found[0] == os.getpid()
    held.close()
    with pytest.raises(UserError, match="no process is training this run"):
        stop_run(tmp_path / "run")


def test_a_run_of_another_machine_is_left_alone(tmp_path, monkeypatch):
    held = hold_run(Run(tmp_path))
    monkeypatch.setattr("training.stopping.socket.gethostname", lambda: "elsewhere")
    with pytest.raises(UserError, match="run the same command there"):
        stop_run(tmp_path)
    held.close()
