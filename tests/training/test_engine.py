import json
import os
import re
from types import SimpleNamespace

import pytest

from common.errors import UserError
from common.paths import ROOT
from common.settings.load import load_settings
from training.engine import resolve_deepspeed_config, single_process_environment, without_nvml

SHIPPED = ROOT / "ds_config.json"


def test_auto_is_resolved_from_config_json():
    config = resolve_deepspeed_config(SHIPPED, load_settings(), processes=2)
    assert config["train_batch_size"] == 2048
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == 32
    assert config["gradient_clipping"] == 1.0
    assert config["bf16"]["enabled"] is True and config["fp16"]["enabled"] is False
    assert config["zero_optimization"]["stage"] == 2
    assert "auto" not in json.dumps(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gradient_accumulation_steps": 8}, "'gradient_accumulation_steps' is 8, config.json makes it 32"),
        ({"bf16": {"enabled": False}}, "'bf16.enabled' is false, config.json makes it true"),
        ({"optimizer": {"type": "AdamW"}}, "'optimizer' is train.py's own"),
        ({"zero_optimization": {"stage": 3}}, "zero_optimization.stage is 3"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_deepspeed_config(path, load_settings(), processes=2)


def test_unreadable_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        resolve_deepspeed_config(tmp_path / "none.json", load_settings(), processes=2)


def test_launcher_variables_are_not_overwritten(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    for name in ("LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    single_process_environment()
    import os

    assert os.environ["RANK"] == "3" and os.environ["WORLD_SIZE"] == "1"


def test_deepspeed_still_has_the_table_that_switches_the_build_off():
    import deepspeed.ops

    assert "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__


@pytest.mark.parametrize("visible", ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "MIG-3eb87630-93d5-b2b6", "0"])
def test_deepspeed_asks_torch_how_much_memory_a_gpu_has_left(monkeypatch, visible):
    """By NVML it reads `visible` as numbers, and may be refused a look at the card that a MIG slice is of."""
    import pynvml
    import torch
    from deepspeed.accelerator import cuda_accelerator

    def refuse(_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NO_PERMISSION)

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    for name in ("nvmlInit", "nvmlDeviceGetHandleByIndex"):
        monkeypatch.setattr(pynvml, name, lambda *_: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetMemoryInfo", refuse)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=80))
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 30)
    monkeypatch.setattr(cuda_accelerator, "pynvml", None)
    accelerator = cuda_accelerator.CUDA_Accelerator()
    assert cuda_accelerator.pynvml is pynvml
    without_nvml()
    assert accelerator.available_memory(0) == 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"zero_optimisation": {"stage": 2}}, "unknown section 'zero_optimisation'; did you mean 'zero_optimization'?"),
        ({"checkpoint": {"load_universal": True}}, "'checkpoint' is train.py's own"),
        ({"bf16": True}, "'bf16' is true, expected an object"),
        ({"steps_per_print": 0}, "'steps_per_print' is 0, must be"),
        ({"zero_optimization": {"stage": 2, "reduce_bucket_size": "big"}}, 'reduce_bucket_size\' is "big"'),
    ],
)
def test_sections_that_deepspeed_would_take_in_silence_are_refused(tmp_path, change, message):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_deepspeed_config(path, load_settings(), processes=2)


def test_a_port_that_is_taken_is_named():
    import socket
    import subprocess
    import sys

    script = "from training.engine import start_process_group; start_process_group(False, 0, 1, 30)"
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = os.environ | {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}
        environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        command = [sys.executable, "-c", script]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert f"common.errors.UserError: port {port} is taken" in ended.stderr


def test_what_deepspeed_refuses_is_told_with_the_file(monkeypatch):
    import deepspeed

    from training.engine import build_engine
    from training.kernels import Kernels

    def refuse(**_):
        raise deepspeed.runtime.config.DeepSpeedConfigError("no such thing")

    monkeypatch.setattr(deepspeed, "initialize", refuse)
    tiny = ["hidden_size=8", "num_attention_heads=1", "num_key_value_heads=1", "vocab_size=64", "num_hidden_layers=1"]
    with pytest.raises(UserError, match=r"ds_config\.json: DeepSpeed refuses it: no such thing"):
        build_engine(load_settings(overrides=tiny), {}, False, Kernels(), 0)
