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
        ({"zero_optimization": {"stage": True}}, "zero_optimization.stage is true"),
        ({"zero_optimization": True}, "'zero_optimization' is true, expected an object"),
    ],
)
def test_contradictions_are_refused(tmp_path, change, message):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_deepspeed_config(path, load_settings(), processes=2)


ON_CPU = {"device": "cpu"}
TORCH_ADAM = {"zero_force_ds_cpu_optimizer": False}
FORCE = 'write "zero_force_ds_cpu_optimizer": false beside "zero_optimization"'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": ON_CPU}},
            f'to offload the optimizer (to "cpu"), {FORCE}',
        ),
        ({"zero_optimization": {"stage": 1, "cpu_offload": True}}, f'to offload the optimizer (to "cpu"), {FORCE}'),
        (
            {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "nvme", "nvme_path": "/nvme"}}},
            'torch\'s AdamW, which runs on the CPU as well; write "device": "cpu"',
        ),
        (
            {"zero_optimization": {"stage": 0, "offload_optimizer": ON_CPU}} | TORCH_ADAM,
            'to offload the optimizer (to "cpu"), set zero_optimization.stage to 1 or 2',
        ),
        ({"zero_optimization": {"stage": 2, "zenflow": {"topk_ratio": 0.1}}}, "'zero_optimization.zenflow' works with"),
        (
            {"bf16": {"bf16_master_weights_and_grads": True}},
            "'bf16.bf16_master_weights_and_grads' works with DeepSpeed's",
        ),
        (
            {"bf16": {"bf16_optimizer_states": True}},
            "'bf16.bf16_optimizer_states' works with DeepSpeed's own optimizers",
        ),
        (
            {"fp16": {"fp16_master_weights_and_grads": True}},
            "'fp16.fp16_master_weights_and_grads' works with DeepSpeed's",
        ),
        (
            {"zero_optimization": {"stage": 2, "compute_grad_norm": False}},
            "compute_grad_norm' is false, and train.py logs",
        ),
        (
            {"zero_optimization": {"stage": 1, "legacy_stage1": True}},
            "DeepSpeed has no 'zero_optimization.legacy_stage1'",
        ),
    ],
)
def test_what_deepspeed_refuses_with_advice_that_is_none_here_is_told_with_what_works(tmp_path, change, message):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    with pytest.raises(UserError, match=re.escape(message)):
        resolve_deepspeed_config(path, load_settings(), processes=2)


def test_without_zero_a_loss_scale_is_not_applied_and_fp16_is_refused(tmp_path):
    path = tmp_path / "ds.json"
    for zero in ({"stage": 0}, {}):
        path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | {"zero_optimization": zero}))
        with pytest.raises(UserError, match=r"stage is 0 and dtype is float16: .* set the stage to 1 or 2"):
            resolve_deepspeed_config(path, load_settings(overrides=["dtype=float16"]), processes=2)
        assert resolve_deepspeed_config(path, load_settings(), processes=2)["bf16"]["enabled"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"zero_optimization": {"stage": 2, "offload_optimizer": ON_CPU}} | TORCH_ADAM,
        {"zero_optimization": {"stage": 1, "cpu_offload": True}} | TORCH_ADAM,
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": None, "compute_grad_norm": True}},
        {"bf16": {"enabled": "auto", "bf16_master_weights_and_grads": False}},
    ],
)
def test_what_works_beside_torchs_adamw_is_let_through(tmp_path, change):
    path = tmp_path / "ds.json"
    path.write_text(json.dumps(json.loads(SHIPPED.read_text()) | change))
    assert resolve_deepspeed_config(path, load_settings(), processes=2)["bf16"]["enabled"] is True


def test_brackets_without_end_are_refused(tmp_path):
    (tmp_path / "ds.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"ds\.json: cannot be read as JSON"):
        resolve_deepspeed_config(tmp_path / "ds.json", load_settings(), processes=2)


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


def test_a_dtype_that_the_device_does_not_compute_in_is_told_before_the_model_is_built(monkeypatch):
    from deepspeed.accelerator import get_accelerator

    from training.engine import build_engine
    from training.kernels import Kernels

    monkeypatch.setattr(get_accelerator(), "is_fp16_supported", lambda: False)
    monkeypatch.setattr(get_accelerator(), "is_bf16_supported", lambda: True)
    with pytest.raises(UserError, match=r"dtype is float16, in which this device .*set dtype to bfloat16 or float32"):
        build_engine(load_settings(overrides=["dtype=float16"]), {}, False, Kernels(), 0)


# The fp32 weights after two steps, by each optimizer that DeepSpeed has for a configuration and by torch alone.
STEPS = """
import json, os, sys
from pathlib import Path
import torch
from common.settings.load import load_settings
from training import engine as engines
from training.kernels import Kernels
from training.optim import decay_groups

torch.set_num_threads(1)
engines.single_process_environment()
engines.start_process_group(False, 0, 1, 60)
folder = Path(sys.argv[1])
CASES = json.loads(sys.argv[2])
TINY = ["hidden_size=16", "intermediate_size=32", "num_attention_heads=2", "num_key_value_heads=2", "vocab_size=64"]
TINY += ["num_hidden_layers=1", "train.micro_batch_size=2", "train.gradient_accumulation_steps=1", "train.seq_len=8"]
TINY += ["train.learning_rate=0.01", "train.weight_decay=0.5", "train.max_grad_norm=0"]
settings = load_settings(overrides=TINY)
stand_in = {"bf16": {"enabled": "auto"}, "zero_allow_untested_optimizer": True}

def build(case):
    (folder / "ds.json").write_text(json.dumps(stand_in | case))
    config = engines.resolve_deepspeed_config(folder / "ds.json", settings, 1)
    torch.manual_seed(0)
    return engines.build_engine(settings, config, False, Kernels(), 0)

def tokens(step):
    return torch.randint(64, (2, 9), generator=torch.Generator().manual_seed(step))

def train(engine, first, last):
    losses = []
    for step in range(first, last):
        loss = engine(tokens(step))
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
    return losses

def counts(engine):
    return sorted({float(state["step"]) for state in engine.optimizer.optimizer.state.values()})

def norm(parameters):
    return sum(p.detach().double().square().sum() for p in parameters).item()

def masters(engine):
    return [p for group in engine.optimizer.optimizer.param_groups for p in group["params"]]

def plain():
    engine = build(CASES[0])
    module = engine.module
    weights = list(module.parameters())
    fp32 = [w.detach().float().requires_grad_() for w in weights]
    train_ = settings.train
    betas = (train_.adam_beta1, train_.adam_beta2)
    groups = decay_groups(fp32, train_.weight_decay)
    optimizer = torch.optim.AdamW(groups, lr=train_.learning_rate, betas=betas, eps=train_.adam_eps)
    losses = []
    for step in range(2):
        loss = module(tokens(step))
        for high, grad in zip(fp32, torch.autograd.grad(loss, weights)):
            high.grad = grad.float()
        optimizer.step()
        with torch.no_grad():
            for low, high in zip(weights, fp32):
                low.copy_(high)
        losses.append(loss.item())
    return losses, norm(fp32)

found = {"plain": plain(), "cases": []}
for case in CASES:
    engine = build(case)
    losses = train(engine, 0, 2)
    found["cases"].append([counts(engine), losses, norm(masters(engine))])

# A checkpoint that was made with the step of zeros in it.
undo, engines.undo_step_of_zeros = engines.undo_step_of_zeros, lambda _: None
old = build(CASES[0])
train(old, 0, 2)
old.save_checkpoint(str(folder / "checkpoint"), tag="old", save_latest=False)
straight = train(old, 2, 4)
engines.undo_step_of_zeros = undo
resumed = build(CASES[0])
resumed.load_checkpoint(str(folder / "checkpoint"), tag="old")
found["resumed"] = [straight, train(resumed, 2, 4), counts(resumed)]
print(json.dumps(found))
engines.end_process_group()
"""
WHOLE, OFFLOADED = {"zero_optimization": {"stage": 0}}, {"offload_optimizer": ON_CPU}
OPTIMIZERS = [
    WHOLE,
    {"zero_optimization": {"stage": 1}},
    {"zero_optimization": {"stage": 2}},
    {"zero_optimization": {"stage": 1}, "data_types": {"grad_accum_dtype": "fp32"}},
    {"zero_optimization": {"stage": 2} | OFFLOADED} | TORCH_ADAM,
    {"zero_optimization": {"stage": 1} | OFFLOADED} | TORCH_ADAM,
]


@pytest.mark.slow
def test_the_first_step_is_adams_first_in_each_optimizer_of_deepspeed(tmp_path):
    """None begins with a step of its own, which would count in the bias correction and decay the weights once more."""
    import subprocess
    import sys

    command = [sys.executable, "-c", STEPS, str(tmp_path), json.dumps(OPTIMIZERS)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    losses, norm = found["plain"]
    for case, (counted, seen, weights) in zip(OPTIMIZERS, found["cases"], strict=True):
        assert counted == [2.0], case
        assert seen == losses, case
        assert weights == pytest.approx(norm, rel=1e-6), case
    straight, resumed, counted = found["resumed"]
    assert resumed == straight and counted == [5.0]  # as it was made, one ahead
