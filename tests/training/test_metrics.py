import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from reports.numbers import amount
from training.metrics import (
    MetricsLog,
    StepClock,
    duration,
    gpu_utilization,
    note_once,
    plot_metrics,
    read_metrics,
    step_line,
)

STEP = {
    "step": 7,
    "loss": 3.25,
    "learning_rate": 1e-3,
    "grad_norm": 0.5,
    "tokens_per_second": 12345.6,
    "tokens_per_second_per_device": 12345.6,
    "gpu_utilization": None,
    "data_wait": 0.0021,
    "seconds_left": 3700.0,
    "mfu": None,
    "memory_bytes": 3 * 2**30,
    "tokens": 700,
}


def test_step_line_shows_mfu_only_where_it_is_known():
    assert step_line(STEP, 100) == (
        "step   7/100  loss 3.2500  lr 1.00e-03  grad_norm 0.50  12,346 tokens/s  memory 3.0 GiB  data wait 0.2%  "
        "700 tokens  left 1h 01m"
    )
    two = step_line(STEP | {"tokens_per_second_per_device": 6172.8, "gpu_utilization": 0.97, "tokens": 52.18e9}, 100)
    assert "12,346 tokens/s (6,173 a device)  gpu 97%" in two and "52.2B tokens" in two
    assert "mfu 51.2%" in step_line(STEP | {"mfu": 0.512}, 100)
    assert "loss -  lr 1.00e-03  grad_norm -  " in step_line(STEP | {"loss": None, "grad_norm": None}, 100)


@pytest.mark.parametrize(
    ("seconds", "text"), [(5.2, "5s"), (200, "3m 20s"), (7500, "2h 05m"), (273_600, "3d 4h"), (59.7, "1m 00s")]
)
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_resumed_run_drops_the_lines_after_its_checkpoint(tmp_path: Path):
    settings = load_settings(overrides=["train.wandb=disabled"])
    lines = [STEP | {"step": step} for step in range(1, 6)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 6, "lo')
    log = MetricsLog(tmp_path, settings, "run", step=3)
    log.write(STEP | {"step": 4, "loss": 1.0})
    log.close()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [(r["step"], r["loss"]) for r in records] == [(1, 3.25), (2, 3.25), (3, 3.25), (4, 1.0)]


def test_plot_of_a_run_and_of_an_empty_one(tmp_path: Path):
    validation = {"step": 7, "val_loss": 3.0, "val_bits_per_byte": 1.2, "val_perplexity": 20.0, "val_tokens": 10}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(STEP) + "\n" + json.dumps(validation) + "\n")
    assert plot_metrics(tmp_path).read_bytes().startswith(b"\x89PNG")
    nothing = {key: None if key.startswith("val") else value for key, value in validation.items()}
    lines = [STEP, STEP | {"step": 8, "loss": None, "grad_norm": None}, validation, nothing]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert plot_metrics(tmp_path).read_bytes().startswith(b"\x89PNG")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert plot_metrics(empty).stat().st_size > 1000


def test_a_broken_line_is_named(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps(STEP) + "\nbroken\n" + json.dumps(STEP) + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of JSON"):
        read_metrics(path)


@pytest.mark.parametrize("line", [b"5", b'{"loss": 1}', b'{"step": "x"}', b"null", b"\xff\xfe", b"\0\0"])
def test_a_line_that_is_no_record_is_named(tmp_path: Path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(json.dumps(STEP).encode() + b"\n" + line + b"\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a .*delete that line"):
        read_metrics(path)


def test_infinity_is_null(tmp_path: Path):
    log = MetricsLog(tmp_path, load_settings(overrides=["train.wandb=disabled"]), "run", step=0)
    log.write({"step": 1, "grad_norm": float("inf"), "loss": 2.0})
    log.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "grad_norm": null, "loss": 2.0}\n'


def test_going_back_drops_what_was_measured_and_keeps_what_happened(tmp_path: Path):
    log = MetricsLog(tmp_path, load_settings(overrides=["train.wandb=disabled"]), "run", step=0)
    for step in range(1, 6):
        log.write(STEP | {"step": step})
    log.event(5, "spike", "the loss went up", documents=["2301.00001"])
    log.back_to(3)
    log.write(STEP | {"step": 4, "loss": 1.0})
    log.close()
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["step"] for r in records] == [1, 2, 3, 5, 4] and records[3]["documents"] == ["2301.00001"]
    assert MetricsLog(tmp_path, load_settings(overrides=["train.wandb=disabled"]), "run", step=2).reached == 4


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (999, "999"), (12345, "12.3k"), (4.56e6, "4.56M"), (52.18e9, "52.2B"), (2e12, "2T")]
)
def test_amount(number, text):
    assert amount(number) == text


def test_the_clock_gives_all_time_to_a_phase(monkeypatch):
    times = iter([0.0, 1.0, 1.5, 4.0, 4.0])
    monkeypatch.setattr("training.metrics.time.perf_counter", lambda: next(times))
    clock = StepClock()
    for phase in ("data", "forward", "data"):
        clock.lap(phase)
    clock.steps += 1
    assert clock.take() == {"data": 3.5, "forward": 0.5} and clock.steps == 0 and not clock.take()


class FailingWandb:
    """wandb as it is where it cannot be reached."""

    class errors:
        class Error(Exception):
            pass

    def __init__(self, fail_in):
        self.fail_in, self.started, self.logged = fail_in, [], []

    def init(self, **settings):
        self.started.append(settings)
        if settings["mode"] in self.fail_in:
            raise self.errors.Error("nobody is\nlogged in")
        return self

    starting_step = 0

    def define_metric(self, name, step_metric=None):
        pass

    def log(self, figures, step):
        self.logged.append(step)
        if step == 2:
            raise ConnectionError("gone")

    def finish(self):
        pass


@pytest.mark.parametrize(
    ("fail_in", "modes"), [((), ["online"]), (("online",), ["online", "offline"]), (("online", "offline"),) * 2]
)
def test_weights_and_biases_is_never_a_reason_to_stop(tmp_path, monkeypatch, capsys, fail_in, modes):
    monkeypatch.setitem(sys.modules, "wandb", fake := FailingWandb(fail_in))
    log = MetricsLog(tmp_path, load_settings(overrides=["train.wandb=online"]), "run", step=0)
    for step in (1, 2, 3):
        log.write(STEP | {"step": step})
    log.close()
    assert [start["mode"] for start in fake.started] == list(modes) and {s["id"] for s in fake.started} == {"run"}
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    told = capsys.readouterr().out
    assert ("nobody is logged in" in told) == bool(fail_in)
    assert fake.logged == ([] if len(fail_in) == 2 else [1, 2])
    assert ("gone; going on without it" in told) == bool(fake.logged)


class Full:
    """A file on a disk that takes some more bytes, and then none."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, data):
        if not self.room:
            raise OSError(28, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def close(self):
        self.file.close()


def test_lines_wait_for_room_on_a_full_disk(tmp_path, capsys):
    log = MetricsLog(tmp_path, load_settings(overrides=["train.wandb=disabled"]), "run", step=0)
    log.write(STEP | {"step": 1})
    real, log.file = log.file, cast(io.FileIO, Full(log.file, room=100))
    log.write(STEP | {"step": 2})
    log.write(STEP | {"step": 3})
    assert capsys.readouterr().out.count("No space left on device (errno 28); its lines are kept") == 1
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [1]
    assert (tmp_path / "metrics.jsonl").read_bytes().endswith(b"\n")  # no part of a line
    log.file = real
    log.write(STEP | {"step": 4})
    log.close()
    assert [r["step"] for r in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]


@pytest.fixture
def nvml(monkeypatch):
    """NVML's Python package with a GPU, whose answer the test chooses; all GPUs are visible."""
    import pynvml
    import torch

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "_HAS_PYNVML", True)
    monkeypatch.setattr(torch.cuda, "pynvml", pynvml, raising=False)
    for name in ("nvmlInit", "nvmlDeviceGetHandleByIndex"):
        monkeypatch.setattr(pynvml, name, lambda *_: None)
    note_once.cache_clear()
    return pynvml


@pytest.mark.parametrize(
    ("function", "code", "name"),
    [
        ("nvmlDeviceGetUtilizationRates", "NVML_ERROR_NOT_SUPPORTED", "NVMLError_NotSupported: Not Supported"),
        ("nvmlDeviceGetUtilizationRates", "NVML_ERROR_GPU_IS_LOST", "NVMLError_GpuIsLost: GPU is lost"),
        ("nvmlDeviceGetHandleByIndex", "NVML_ERROR_NO_PERMISSION", "NVMLError_NoPermission: Insufficient Permissions"),
        ("nvmlInit", "NVML_ERROR_LIB_RM_VERSION_MISMATCH", "NVMLError_LibRmVersionMismatch: RM has detected"),
        ("nvmlInit", "NVML_ERROR_LIBRARY_NOT_FOUND", "NVMLError_LibraryNotFound: NVML Shared Library Not Found"),
    ],
)
def test_what_nvml_refuses_costs_a_figure_and_is_said_once(nvml, monkeypatch, capsys, function, code, name):
    import torch

    def refuse(*_):
        raise nvml.NVMLError(getattr(nvml, code))

    monkeypatch.setattr(nvml, function, refuse)
    assert [gpu_utilization(torch.device("cuda", 0)) for _ in range(3)] == [None] * 3
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 1 and said[0].startswith(f"note: no GPU use in the step lines: {name}")


@pytest.mark.parametrize("visible", ["MIG-3eb87630-93d5-b2b6", "GPU-8932f937", ""])
def test_a_gpu_that_nvml_cannot_name_costs_a_figure(nvml, monkeypatch, capsys, visible):
    import torch

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(torch.cuda, "_raw_device_uuid_nvml", lambda: ["GPU-0", "GPU-1"])
    assert gpu_utilization(torch.device("cuda", 0)) is None
    assert capsys.readouterr().out.count("note: no GPU use in the step lines") == 1


def test_a_missing_nvml_package_is_named_with_its_cure(nvml, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(nvml, "nvmlDeviceGetUtilizationRates", lambda _: SimpleNamespace(gpu=97))
    assert gpu_utilization(torch.device("cuda", 0)) == 0.97 and not capsys.readouterr().out
    monkeypatch.setattr(torch.cuda, "_HAS_PYNVML", False)
    monkeypatch.setattr(torch.cuda, "_PYNVML_ERR", ImportError("No module named 'pynvml'"))
    assert gpu_utilization(torch.device("cuda", 0)) is None
    said = capsys.readouterr().out
    assert "nvidia-ml-py does not seem to be installed" in said and "pip install -r requirements.txt" in said
