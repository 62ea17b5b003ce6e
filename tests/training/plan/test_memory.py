import gc
import itertools
import json
import subprocess
import sys
from typing import Any

import pytest

from common.errors import UserError
from common.paths import ROOT
from common.settings.load import load_settings
from training import kernels
from training.plan import memory as memory_plan
from training.plan import speed as speed_plan
from training.plan.parameters import count_parameters

REFERENCE_CONFIG = {"zero_optimization": {"stage": 2, "overlap_comm": True, "reduce_bucket_size": 50_000_000}}
GIB = 2**30


@pytest.fixture(autouse=True)
def liger(request, monkeypatch):
    """Plans are those without liger-kernel, wherever the tests run; a test can install it. GPUs use what they have."""
    here = False

    def install():
        nonlocal here
        here = True

    if request.node.get_closest_marker("gpu") is None:
        monkeypatch.setattr(kernels, "liger_is_here", lambda: here)
    return install


def meta_parameters(model_settings):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in model_settings.items() if k != "dtype"}))
    return sum(p.numel() for p in model.parameters())


def test_reference_model_has_its_published_size():
    settings = load_settings()
    parameters = count_parameters(settings.model)
    assert parameters.total == 1_633_781_760 == meta_parameters(settings.model_dict())
    assert (parameters.embedding, parameters.head, parameters.per_layer) == (209_715_200, 209_715_200, 50_597_888)


@pytest.mark.parametrize(
    "overrides",
    [
        ["num_key_value_heads=4"],
        ["tie_word_embeddings=true"],
        ["attention_bias=true", "mlp_bias=true"],
        ["head_dim=64"],
    ],
)
def test_parameter_count_equals_transformers(overrides):
    settings = load_settings(overrides=["num_hidden_layers=2", "vocab_size=1000", *overrides])
    assert count_parameters(settings.model).total == meta_parameters(settings.model_dict())


def test_figures_of_the_design():
    settings = load_settings()
    assert speed_plan.tokens_per_step(settings.train, 2) == 1_572_864
    tokens = speed_plan.tokens_per_step(settings.train, 2) * settings.train.max_steps
    assert tokens == pytest.approx(52.18e9, rel=1e-4)
    flops = speed_plan.flops_per_token(settings.model, 768) * tokens
    assert flops == pytest.approx(4.7e20, rel=0.01)
    assert flops / (2 * 312e12 * 0.5) / 86400 == pytest.approx(17.4, abs=0.05)  # days on 2 x A100 at 50 % MFU


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_states_under_zero_2(processes):
    total = count_parameters(load_settings().model).total
    memory = memory_plan.process_memory(load_settings(), REFERENCE_CONFIG, processes, 24, cuda=True)
    assert memory.weights == 2 * total and memory.optimizer == 12 * total // processes
    # Gradients of former micro-batches and of the running one in bf16, and one parameter's whole.
    assert memory.gradients == 4 * total // processes + 2 * 209_715_200
    # DeepSpeed's own estimator counts 2 + 18 / processes bytes a parameter: 30.4 GiB on one, 16.7 on two.
    assert memory.states < (2 + 18 / processes) * total + 2 * 209_715_200


def test_the_reference_run_fits_two_a100_with_hardly_any_checkpointing_and_one_with_more():
    settings = load_settings()
    assert memory_plan.choose_checkpointing(settings, REFERENCE_CONFIG, 2, 79 * GIB, cuda=True) <= 1
    one = memory_plan.choose_checkpointing(settings, REFERENCE_CONFIG, 1, 79 * GIB, cuda=True)
    assert 1 < one < 24
    fewer = memory_plan.process_memory(settings, REFERENCE_CONFIG, 1, one - 1, cuda=True)
    assert memory_plan.fits(memory_plan.process_memory(settings, REFERENCE_CONFIG, 1, one, cuda=True), 79 * GIB)
    assert not memory_plan.fits(fewer, 79 * GIB)


@pytest.mark.parametrize(("wanted", "count"), [("none", 0), ("all", 24), ("7", 7), ("99", 24), ("auto", 24)])
def test_checkpointing_is_taken_as_configured(wanted, count):
    settings = load_settings(overrides=[f"train.gradient_checkpointing={wanted}"])
    assert memory_plan.choose_checkpointing(settings, REFERENCE_CONFIG, 2, 1 * GIB, cuda=True) == count


def test_checkpointed_layers_are_spread_evenly():
    assert memory_plan.checkpointed_layers(0, 6) == [] and memory_plan.checkpointed_layers(6, 6) == list(range(6))
    assert memory_plan.checkpointed_layers(2, 6) == [0, 3] and memory_plan.checkpointed_layers(3, 6) == [0, 2, 4]
    assert all(len(set(memory_plan.checkpointed_layers(count, 24))) == count for count in range(25))


def test_more_checkpointing_never_takes_more_memory():
    settings = load_settings()
    for cuda, stage in itertools.product((True, False), (0, 1, 2)):
        config = {"zero_optimization": {"stage": stage}}
        totals = [memory_plan.process_memory(settings, config, 2, count, cuda).activations for count in range(25)]
        assert totals == sorted(totals, reverse=True)


# hidden, FFN, layers, heads, keys and values, batch, length
SHAPES = [
    *((64, 160, 3, 4, 4, 2, 48), (48, 256, 2, 4, 2, 3, 64), (128, 128, 4, 8, 1, 1, 96), (96, 250, 2, 2, 2, 4, 33)),
    (32, 64, 2, 2, 1, 1, 512),  # long for its width: masks and probabilities weigh
]


def saved_bytes(settings, checkpointed):
    """Bytes that the forward pass of the layers leaves for the backward pass, counted by autograd's own hooks."""
    import torch

    from training.kernels import resolve_kernels
    from training.model import NextTokenLoss, build_model

    model: Any = build_model(settings, resolve_kernels(settings, cuda=False), checkpointed).train()
    eos = settings.model.eos_token_id if settings.train.document_masking else None
    module = NextTokenLoss(model, eos_token_id=eos)
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    seen, alive = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # so that no other tensor gets its address
        return tensor

    for index in memory_plan.checkpointed_layers(checkpointed, len(model.model.layers)):
        # What a checkpoint keeps is no saved tensor: what its layer is called with.
        def keep_inputs(_, positional, named):
            for value in torch.utils._pytree.tree_leaves((positional, named)):
                if isinstance(value, torch.Tensor):
                    keep(value)

        model.model.layers[index].register_forward_pre_hook(keep_inputs, with_kwargs=True)
    tokens = torch.randint(3, 64, (settings.train.micro_batch_size, settings.train.seq_len + 1))
    tokens[:, 11::17] = settings.model.eos_token_id
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden = module._hidden(tokens)
        torch.nn.functional.linear(hidden, model.lm_head.weight)  # the head's product keeps the hidden states
    return sum(seen.values())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("extra", ["", "train.document_masking=true", "train.attention=eager"])
def test_activations_are_those_that_autograd_keeps(shape, dtype, extra):
    hidden, wide, layers, heads, keys, batch, length = shape
    overrides = [
        *(f"hidden_size={hidden}", f"intermediate_size={wide}", f"num_hidden_layers={layers}", "vocab_size=64"),
        *(f"num_attention_heads={heads}", f"num_key_value_heads={keys}", f"train.seq_len={length}"),
        *(f"train.micro_batch_size={batch}", f"dtype={dtype}", *([extra] if extra else [])),
    ]
    settings = load_settings(overrides=overrides)
    for checkpointed in (0, 1, layers):
        counted = saved_bytes(settings, checkpointed)
        planned = memory_plan.process_memory(settings, REFERENCE_CONFIG, 1, checkpointed, cuda=False).activations
        assert planned == pytest.approx(counted, rel=0.05), checkpointed


@pytest.mark.parametrize(
    "overrides",
    [
        (),
        ("train.loss_kernel=full",),
        ("train.seq_len=4096", "train.micro_batch_size=6"),
        ("train.micro_batch_size=4",),  # fewer tokens than a chunk of the loss
        ("dtype=float32",),
        ("train.attention=eager", "train.seq_len=4096", "train.micro_batch_size=2"),
        ("num_key_value_heads=4", "hidden_size=1024", "intermediate_size=8192", "vocab_size=8192"),
    ],
)
@pytest.mark.parametrize("checkpointed", [0, 6, 24])
def test_the_peak_of_a_pass_is_that_of_the_reference_model_in_fake_tensors(overrides, checkpointed, monkeypatch):
    from tests.helpers.memory_count import count_pass

    settings = load_settings(overrides=list(overrides))
    planned = memory_plan.process_memory(settings, REFERENCE_CONFIG, 1, checkpointed, cuda=False)
    counted = count_pass(settings, checkpointed, monkeypatch)
    assert planned.activations + planned.logits + planned.layer == pytest.approx(counted, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("processes", "zero", "accumulation"),
    [
        (2, {"stage": 2, "overlap_comm": True}, 3),
        (1, {"stage": 2, "overlap_comm": True}, 1),
        (2, {"stage": 1}, 3),
        (2, {"stage": 0}, 3),
    ],
)
def test_states_and_steps_are_those_of_deepspeed(tmp_path, processes, zero, accumulation):
    """Live tensors of each process in a training step on the CPU; the model is small, its states are what counts."""
    overrides = [
        *("hidden_size=256", "intermediate_size=640", "num_hidden_layers=4", "num_attention_heads=4"),
        *("num_key_value_heads=4", "vocab_size=3000", "train.seq_len=8", "train.micro_batch_size=1"),
        f"train.gradient_accumulation_steps={accumulation}",
    ]
    settings = load_settings(overrides=overrides)
    config = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": 1.0,
        "bf16": {"enabled": True},
        "zero_optimization": zero | {"reduce_bucket_size": 200_000, "allgather_bucket_size": 200_000},
    }
    plan = {"overrides": overrides, "processes": processes, "deepspeed": config, "out": str(tmp_path / "found")}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    command = [sys.executable, "-m", "tests.helpers.memory_count", str(tmp_path / "plan.json")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    planned = memory_plan.process_memory(settings, config, processes, 0, cuda=False)
    for rank in range(processes):
        counted = json.loads((tmp_path / f"found.{rank}").read_text())
        assert planned.weights + planned.optimizer == pytest.approx(counted["states"], rel=0.01)
        highest = max(counted["backward"], counted["step"])
        assert planned.total - planned.runtime == pytest.approx(highest, rel=0.10)


@pytest.mark.gpu
@pytest.mark.parametrize(
    "overrides",
    [
        (
            *("hidden_size=512", "intermediate_size=1376", "num_hidden_layers=8", "vocab_size=32000"),
            *("num_attention_heads=8", "num_key_value_heads=8"),
        ),
        ("num_hidden_layers=12",),
    ],
)
@pytest.mark.parametrize("checkpointing", ["none", "all"])
def test_a_gpus_peak_is_the_planned_one(overrides, checkpointing):
    """The second of two optimizer steps of two micro-batches each, under DeepSpeed with the shipped ds_config.json."""
    import torch

    from training.engine import (
        build_engine,
        resolve_deepspeed_config,
        single_process_environment,
        start_process_group,
    )
    from training.kernels import resolve_kernels

    extra = [f"train.gradient_checkpointing={checkpointing}", "train.gradient_accumulation_steps=2"]
    settings = load_settings(overrides=[*overrides, *extra])
    config = resolve_deepspeed_config(ROOT / "ds_config.json", settings, processes=1)
    single_process_environment()
    start_process_group(True, 0, 1, 300)
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    count = memory_plan.choose_checkpointing(settings, config, 1, 0, cuda=True)
    planned = memory_plan.process_memory(settings, config, 1, count, cuda=True)
    engine = build_engine(settings, config, True, resolve_kernels(settings, cuda=True), count)
    tokens = torch.randint(3, 100, (settings.train.micro_batch_size, settings.train.seq_len + 1)).cuda()
    for step in range(2):
        if step == 1:
            torch.cuda.reset_peak_memory_stats()
        for _ in range(2):
            engine.backward(engine(tokens))
            engine.step()
    highest = torch.cuda.max_memory_allocated() - before
    engine.destroy()
    assert planned.total - planned.runtime == pytest.approx(highest, rel=0.10)


def test_the_loss_takes_less_where_logits_exist_in_parts():
    full = memory_plan.loss_bytes(load_settings(overrides=["train.loss_kernel=full"]), cuda=True)
    chunked = memory_plan.loss_bytes(load_settings(overrides=["train.loss_kernel=chunked"]), cuda=True)
    assert full == 32 * 768 * 102_400 * 12 and chunked < full / 5


def test_a_loss_that_gives_way_is_planned_as_what_is_used(liger):
    def planned(kernel, dtype, cuda=True):
        settings = load_settings(overrides=[f"train.loss_kernel={kernel}", f"dtype={dtype}"])
        return memory_plan.loss_bytes(settings, cuda)

    liger()
    assert planned("torch", "bfloat16") == planned("liger", "bfloat16", cuda=False) == planned("chunked", "bfloat16")
    assert planned("torch", "float16") == planned("liger", "float16") == planned("chunked", "float16")
    assert planned("liger", "bfloat16") < planned("chunked", "bfloat16")
    # Gradients of fp16 are fp32: of the hidden states, and each part of the head's.
    assert planned("chunked", "float16") - planned("chunked", "bfloat16") == 2 * (32 * 768 + 102_400) * 2048


def test_ligers_norms_and_mlp_keep_less(liger):
    def activations(activation):
        settings = load_settings(overrides=[f"hidden_act={activation}"])
        return memory_plan.process_memory(settings, REFERENCE_CONFIG, 1, 0, cuda=True).activations

    without = activations("silu"), activations("gelu")
    liger()
    assert without[0] == without[1] and activations("silu") < activations("gelu") < without[0]


def test_peak_flops_by_device_name():
    assert speed_plan.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert speed_plan.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert speed_plan.peak_flops("NVIDIA H200") == 989e12
    assert speed_plan.peak_flops("CPU, 2 cores") is None
    assert speed_plan.peak_flops("NVIDIA A100-SXM4-80GB MIG 1g.10gb") is None  # a seventh of the card


def test_mfu_is_what_the_model_needs_over_what_the_devices_give():
    model = load_settings().model
    speed = speed_plan.tokens_per_second(model, 768, 312e12, 0.5)
    assert speed_plan.mfu(model, 768, 2 * speed, "NVIDIA A100-SXM4-80GB", devices=2) == pytest.approx(0.5)
    assert speed_plan.mfu(model, 768, speed, "CPU, 2 cores") is None
    wide = load_settings(overrides=["dtype=float32"]).model
    assert speed_plan.mfu(wide, 768, speed, "NVIDIA A100-SXM4-80GB") is None


def test_disk_and_copies():
    settings = load_settings()
    total = count_parameters(settings.model).total
    assert memory_plan.checkpoint_bytes(settings.model) == 14 * total
    assert memory_plan.snapshot_bytes(settings, 2) == 2 * total + 6 * total
    assert memory_plan.checkpoints_kept(settings.train) == 3 + 6 + 1  # the last, every 5,000th of 33,176, a new one


def test_unknown_devices_are_no_error_here():
    with pytest.raises(UserError, match="A100"):
        from evaluation.plan_run import main

        main(["--gpu", "Abacus"])
