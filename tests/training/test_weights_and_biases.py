"""What Weights & Biases gets of a run, from the real package, and what becomes of a run where it gets nothing."""

import builtins
import subprocess
import sys
from types import ModuleType

import pytest

from common.settings.load import load_settings
from tests.helpers.wandb_server import WandbServer
from training import metrics
from training.metrics import MetricsLog, read_metrics

VALIDATION = {"val_loss": 3.0}


@pytest.fixture
def server(monkeypatch, tmp_path):
    """W&B's server on this machine, and its package as a user has it who is logged in there."""
    import wandb

    environment = {"WANDB_API_KEY": "a" * 40, "WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}
    environment |= {name: str(tmp_path / "home") for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR")}
    with WandbServer() as server:
        for name, value in (environment | {"WANDB_BASE_URL": server.url}).items():
            monkeypatch.setenv(name, value)
        wandb.teardown()  # what another test has left knows another server
        yield server
        wandb.teardown()


def opened(folder, step: int, mode: str = "online") -> MetricsLog:
    return MetricsLog(folder, load_settings(overrides=[f"train.wandb={mode}"]), "run", step)


def test_all_figures_arrive_after_a_rewind_and_after_a_resume(server, tmp_path):
    log = opened(tmp_path, step=-1)
    log.write({"step": 0} | VALIDATION)
    for step in range(1, 6):
        log.write({"step": step, "loss": float(step)})
    log.event(5, "spike", "the loss went up")
    log.back_to(3)
    for step in (4, 5):
        log.write({"step": step, "loss": step + 0.5})
    log.write({"step": 5} | VALIDATION)
    log.close()
    log = opened(tmp_path, step=4)
    for step in (5, 6, 7):
        log.write({"step": step, "loss": step + 0.25})
    log.close()
    figures = [(0, None, 3.0), *((step, float(step), None) for step in range(1, 6)), (4, 4.5, None), (5, 5.5, 3.0)]
    assert server.rows("step", "loss", "val_loss") == [*figures, *((step, step + 0.25, None) for step in (5, 6, 7))]
    counts = [count for (count,) in server.rows("_step")]
    assert counts == sorted(set(counts)) and counts[:6] == [0, 1, 2, 3, 4, 5]
    # Charts go by the steps: figures of whatever name (2) have the one called "step" (1) as their axis (5, from 1 on).
    defined = server.config["_wandb"]["value"]["m"]
    assert [defined[each["5"] - 1]["1"] for each in defined if each.get("2") == "*"] == ["step"]


def test_a_run_of_before_the_steps_were_a_figure_keeps_its_axis(server, tmp_path):
    """Else charts by "step" would leave out all that it had logged."""
    import wandb

    settings = load_settings(overrides=["train.wandb=online"])
    run = wandb.init(project=settings.train.wandb_project, id="run", resume="allow", mode="online", dir=tmp_path)
    for step in (10, 20, 30):
        run.log({"loss": float(step)}, step=step)
    run.finish()
    for first in (20, 40):
        log = opened(tmp_path, step=first)
        for step in (first + 10, first + 20):
            log.write({"step": step, "loss": float(step)})
        log.close()
    assert server.rows("_step", "loss", "step") == [
        *((step, float(step), None) for step in (10, 20, 30)),
        *((step, loss, None) for step, loss in ((31, 30.0), (40, 40.0), (50, 50.0), (60, 60.0))),
    ]
    assert server.config["_wandb"]["value"].get("m", []) == []


def test_offline_parts_of_a_run_are_one_run_once_they_are_synced(server, tmp_path):
    for first in (0, 3):
        log = opened(tmp_path, step=first, mode="offline")
        for step in range(first + 1, first + 6):
            log.write({"step": step, "loss": step + first / 10})
        log.close()
    parts = sorted((tmp_path / "wandb").glob("offline-run-*"))
    command = [sys.executable, "-m", "wandb", "sync", *map(str, parts)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert server.rows("step", "loss") == [
        *((step, float(step)) for step in range(1, 6)),
        *((step, step + 0.3) for step in range(4, 9)),
    ]
    counts = [count for (count,) in server.rows("_step")]
    assert counts == sorted(set(counts))


def test_the_end_of_a_run_does_not_wait_for_a_server_that_is_gone(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(metrics, "WANDB_FINISH_SECONDS", 1)
    log = opened(tmp_path, step=0)
    server.broken = True
    log.write({"step": 1, "loss": 2.0})
    log.close()
    said = capsys.readouterr().out
    assert said.count("note: Weights & Biases: ") == 1
    assert f"wandb sync --include-online {tmp_path / 'wandb'}" in said
    server.broken = False


def test_a_project_that_the_package_refuses_does_not_end_the_run(server, tmp_path, capsys):
    settings = load_settings(overrides=["train.wandb=offline", "train.wandb_project=a/b"])
    log = MetricsLog(tmp_path, settings, "run", step=0)
    log.write({"step": 1, "loss": 2.0})
    log.close()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and "invalid project name" in said[0].lower() and "going on without it" in said[0]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ModuleNotFoundError("No module named 'wandb'"), "ModuleNotFoundError: No module named 'wandb'"),
        (TypeError("Descriptors cannot be created directly."), "TypeError: Descriptors cannot be created directly; "),
        (None, "ImportError: cannot import name 'init' from 'wandb'"),  # a folder of that name, as runs have one
    ],
)
@pytest.mark.parametrize("mode", ["offline", "online"])
def test_a_run_goes_on_where_the_package_is_missing_or_broken(tmp_path, monkeypatch, capsys, error, told, mode):
    real = builtins.__import__

    def broken(name, *rest):
        if name == "wandb" and error is not None:
            raise error
        return real(name, *rest)

    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))
    monkeypatch.setattr(builtins, "__import__", broken)
    log = opened(tmp_path, step=0, mode=mode)
    log.write({"step": 1, "loss": 2.0})
    log.close()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith(f"note: Weights & Biases: {told}")
    assert "pip install -r requirements.txt, or set train.wandb=disabled" in said[0]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


class Raising:
    """wandb with a method that fails, in whatever way."""

    starting_step = 0

    def __init__(self, method, error):
        self.method, self.error = method, error

    def call(self, method):
        if method == self.method:
            raise self.error
        return self

    def init(self, **_):
        return self.call("init")

    def define_metric(self, *_, **__):
        self.call("define_metric")

    def log(self, *_, **__):
        self.call("log")

    def finish(self):
        self.call("finish")


@pytest.mark.parametrize("method", ["init", "define_metric", "log", "finish"])
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(13, "Permission denied"), "[Errno 13] Permission denied"),
        (ConnectionResetError("Connection lost"), "Connection lost"),
        (RuntimeError(), "RuntimeError"),  # that of an abandoned mailbox has no text
    ],
)
def test_whatever_the_package_raises_ends_in_one_note(tmp_path, monkeypatch, capsys, method, error, told):
    monkeypatch.setitem(sys.modules, "wandb", Raising(method, error))
    log = opened(tmp_path, step=0)
    for step in (1, 2):
        log.write({"step": step, "loss": 2.0})
    log.close()
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith(f"note: Weights & Biases: {told}; ")
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 2
