import pytest

from settings import load_settings
from training import planner


def meta_parameters(model_settings):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**{k: v for k, v in model_settings.items() if k != "dtype"}))
    return sum(p.numel() for p in model.parameters())


def test_reference_model_has_its_published_size():
    settings = load_settings()
    parameters = planner.count_parameters(settings.model)
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
    assert planner.count_parameters(settings.model).total == meta_parameters(settings.model_dict())


def test_figures_of_the_design():
    settings = load_settings()
    assert planner.tokens_per_step(settings.train, 2) == 1_572_864
    assert planner.state_bytes(settings.model, 2) / 2**30 == pytest.approx(16.7, abs=0.05)
    assert planner.state_bytes(settings.model, 1) / 2**30 == pytest.approx(30.4, abs=0.05)
    tokens = planner.tokens_per_step(settings.train, 2) * settings.train.max_steps
    assert tokens == pytest.approx(52.18e9, rel=1e-4)
    assert planner.flops_per_token(settings.model, 768) * tokens == pytest.approx(4.7e20, rel=0.01)


def test_reference_run_fits_two_a100():
    settings = load_settings()
    assert planner.process_bytes(settings.model, settings.train, 2, cuda=True) < 79 * 2**30


def test_peak_flops_by_device_name():
    assert planner.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert planner.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert planner.peak_flops("CPU, 2 cores") is None
