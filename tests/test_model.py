import pytest
import torch
import torch.nn.functional as F

from settings import load_settings
from training import model as model_module
from training.model import NextTokenLoss, build_model, next_token_loss

TINY = [
    *("vocab_size=64", "hidden_size=32", "intermediate_size=48", "num_hidden_layers=2", "num_attention_heads=2"),
    *("num_key_value_heads=2", "max_position_embeddings=64", "train.seq_len=32", "dtype=float32"),
]


@pytest.mark.parametrize("chunk", [1, 5, 4096])
def test_chunked_loss_and_its_gradients_equal_the_plain_ones(monkeypatch, chunk):
    monkeypatch.setattr(model_module, "LOSS_CHUNK_TOKENS", chunk)
    torch.manual_seed(0)
    hidden = torch.randn(2, 7, 16, requires_grad=True)
    head = torch.randn(50, 16, requires_grad=True)
    targets = torch.randint(0, 50, (2, 7))
    ours = next_token_loss(hidden, head, targets)
    plain = F.cross_entropy((hidden @ head.T).view(-1, 50), targets.view(-1), reduction="none").view(2, 7)
    torch.testing.assert_close(ours, plain)
    for got, want in zip(
        torch.autograd.grad(ours.mean(), (hidden, head)), torch.autograd.grad(plain.mean(), (hidden, head)), strict=True
    ):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("checkpointing", ["true", "false"])
def test_loss_equals_that_of_transformers(checkpointing):
    settings = load_settings(overrides=[*TINY, f"train.gradient_checkpointing={checkpointing}"])
    module = NextTokenLoss(build_model(settings)).train()
    tokens = torch.randint(0, 64, (3, 33), generator=torch.Generator().manual_seed(1))
    # transformers shifts the labels itself
    torch.testing.assert_close(module(tokens), module.model(input_ids=tokens, labels=tokens).loss)


def test_weights_depend_on_the_seed_alone():
    settings = load_settings(overrides=TINY)
    first, second = build_model(settings).state_dict(), build_model(settings).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(load_settings(overrides=[*TINY, "train.seed=1"])).state_dict()
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_dtype_is_that_of_the_configuration():
    settings = load_settings(overrides=[*TINY, "dtype=bfloat16"])
    assert {p.dtype for p in build_model(settings).parameters()} == {torch.bfloat16}
