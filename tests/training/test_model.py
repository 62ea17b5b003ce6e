from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from common.errors import UserError
from common.settings.load import load_settings
from tests.helpers.training import liger_stand_in
from tests.helpers.training.kernels import TORCH_LOSS
from training.kernels import Kernels, resolve_kernels
from training.model import NextTokenLoss, build_model, document_mask, document_positions, use_liger

TINY = [
    *("vocab_size=64", "hidden_size=32", "intermediate_size=48", "num_hidden_layers=2", "num_attention_heads=2"),
    *("num_key_value_heads=2", "max_position_embeddings=64", "train.seq_len=32", "dtype=float32"),
]
SEED = torch.Generator().manual_seed(1)


def test_the_reference_model_has_its_number_of_parameters():
    with torch.device("meta"):
        model = build_model(load_settings())
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_633_781_760


@pytest.mark.parametrize("kernel", ["chunked", "full", TORCH_LOSS])
def test_loss_equals_that_of_transformers(kernel):
    module = NextTokenLoss(build_model(load_settings(overrides=TINY)), Kernels(loss=kernel)).train()
    tokens = torch.randint(0, 64, (3, 33), generator=SEED)
    # transformers shifts the labels itself
    torch.testing.assert_close(module(tokens), module.model(input_ids=tokens, labels=tokens).loss)
    torch.testing.assert_close(module.token_losses(tokens).mean(), module(tokens))


def gradients(tokens, *overrides, checkpointed=0, kernels=None):
    module = NextTokenLoss(build_model(load_settings(overrides=[*TINY, *overrides]), kernels, checkpointed), kernels)
    torch.manual_seed(3)  # of dropout
    loss = module.train()(tokens)
    loss.backward()
    return [loss.detach(), *(parameter.grad for parameter in module.parameters())]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_checkpointed_layers_change_nothing(dtype, dropout):
    tokens = torch.randint(0, 64, (2, 17), generator=SEED)
    flags = (f"dtype={dtype}", f"attention_dropout={dropout}", "num_hidden_layers=3")
    plain = gradients(tokens, *flags)
    for count in (1, 2, 3):
        again = gradients(tokens, *flags, checkpointed=count)
        assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_each_checkpointed_layer_is_made_again(monkeypatch):
    model: Any = build_model(load_settings(overrides=[*TINY, "num_hidden_layers=4"]), checkpointed=2).train()
    calls = [0] * 4
    for index, layer in enumerate(model.model.layers):
        layer.mlp.register_forward_pre_hook(lambda *_, index=index: calls.__setitem__(index, calls[index] + 1))
    NextTokenLoss(model)(torch.randint(0, 64, (1, 9), generator=SEED)).backward()
    assert calls == [2, 1, 2, 1]


@pytest.mark.parametrize(
    "override", ["hidden_act=foo", 'rope_parameters={"rope_type":"foo"}', 'rope_parameters={"rope_theta":"x"}']
)
def test_model_keys_that_transformers_refuses_are_one_line(override):
    with pytest.raises(UserError, match="make no model"):
        build_model(load_settings(overrides=[*TINY, override]))


DOCUMENTS = torch.tensor([[5, 6, 7, 2, 8, 9, 2, 2, 11, 12, 13]])


def test_positions_begin_anew_with_each_document():
    assert document_positions(DOCUMENTS, 2).tolist() == [[0, 1, 2, 3, 0, 1, 2, 0, 0, 1, 2]]
    two = torch.cat([DOCUMENTS, DOCUMENTS.flip(1)])
    assert document_positions(two, 2)[1].tolist() == [0, 1, 2, 3, 0, 0, 1, 2, 0, 1, 2]


def test_attention_stays_in_the_document_and_in_the_past():
    mask = document_mask(document_positions(DOCUMENTS, 2))[0, 0]
    number = [0, 0, 0, 0, 1, 1, 1, 2, 3, 3, 3]
    expected = [[number[key] == number[query] and key <= query for key in range(11)] for query in range(11)]
    assert mask.tolist() == expected


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_with_document_masking_a_document_is_read_as_if_it_stood_alone(attention):
    kernels = Kernels(attention=attention)
    model = build_model(load_settings(overrides=TINY), kernels)
    packed = NextTokenLoss(model, kernels, eos_token_id=2).token_losses(DOCUMENTS)[0]
    alone = NextTokenLoss(model, kernels)
    for start, stop in ((0, 4), (4, 7), (8, 11)):
        # What comes after its end is predicted from it too, as in the packed row.
        after = min(stop + 1, DOCUMENTS.shape[1])
        expected = alone.token_losses(DOCUMENTS[:, start:after])[0]
        torch.testing.assert_close(packed[start : after - 1], expected)
    plain = alone.token_losses(DOCUMENTS)[0]
    assert not torch.allclose(packed[4:], plain[4:], atol=1e-4)
    torch.testing.assert_close(packed[:4], plain[:4])


def test_an_exported_model_gives_the_same_logits_in_transformers(tmp_path):
    from transformers import AutoModelForCausalLM

    model: Any = build_model(load_settings(overrides=TINY), checkpointed=2).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.randint(0, 64, (2, 12), generator=SEED)
    with torch.no_grad():
        assert torch.equal(loaded(tokens).logits, model(tokens).logits)


@pytest.mark.slow
def test_compiled_layers_give_the_same_loss():
    kernels = resolve_kernels(load_settings(overrides=[*TINY, "train.compile=true"]), cuda=False)
    if not kernels.compile:
        pytest.skip(kernels.notes[0])
    tokens = torch.randint(0, 64, (2, 17), generator=SEED)
    for count in (0, 1):
        compiled, plain = gradients(tokens, checkpointed=count, kernels=kernels), gradients(tokens)
        for one, other in zip(compiled, plain, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_weights_depend_on_the_seed_alone():
    settings = load_settings(overrides=TINY)
    first, second = build_model(settings).state_dict(), build_model(settings).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(load_settings(overrides=[*TINY, "train.seed=1"])).state_dict()
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_dtype_is_that_of_the_configuration():
    settings = load_settings(overrides=[*TINY, "dtype=bfloat16"])
    assert {p.dtype for p in build_model(settings).parameters()} == {torch.bfloat16}


def places(learnt: torch.Tensor) -> torch.Tensor:
    """Of the targets that are, as MicroBatch has them; `learnt` bool [batch, length + 1]."""
    return learnt[:, 1:].flatten().nonzero()[:, 0]


@pytest.mark.parametrize("kernel", ["chunked", "full", TORCH_LOSS])
def test_complements_are_read_and_not_learnt(kernel):
    module = NextTokenLoss(build_model(load_settings(overrides=TINY)), Kernels(loss=kernel)).train()
    tokens = torch.randint(0, 64, (3, 33), generator=SEED)
    read_only = torch.rand(tokens.shape, generator=SEED) < 0.6
    loss = module(torch.where(read_only, ~tokens, tokens), places(~read_only), 0.5)
    each = module.token_losses(tokens)[~read_only[:, 1:]]
    torch.testing.assert_close(loss, 0.5 * each.mean())
    # Without a mark, and all of the weight: the loss of every token.
    torch.testing.assert_close(module(tokens, places(tokens >= 0)), module(tokens))


def test_windows_without_an_answer_give_gradients_of_zero():
    module = NextTokenLoss(build_model(load_settings(overrides=TINY))).train()
    loss = module(~torch.randint(0, 64, (2, 9), generator=SEED), torch.empty(0, dtype=torch.int64), 0.0)
    loss.backward()
    assert loss == 0.0 and all(
        parameter.grad is not None and not parameter.grad.any() for parameter in module.parameters()
    )


class Waits(TorchDispatchMode):
    """Notes each operation that, on a GPU, waits until the GPU has caught up."""

    def __init__(self):
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put", "index_put_") and any(
            tensor is not None and tensor.dtype in (torch.bool, torch.uint8) for tensor in args[1]
        )
        if by_mask or name in ("_local_scalar_dense", "nonzero", "masked_select", "equal", "unique_dim", "_unique2"):
            self.found.append(name)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("kernel", "checkpointed", "batch"),
    [
        *(("chunked", 2, batch) for batch in ("all", "documents", "one document", "answers", "no answers")),
        *(("full", 0, batch) for batch in ("all", "answers")),
        *(pytest.param("torch", 0, batch, marks=TORCH_LOSS.marks) for batch in ("all", "answers")),
    ],
)
def test_nothing_is_read_back_from_the_device(kernel, checkpointed, batch):
    """A GPU that is waited for in each forward pass stands still meanwhile."""
    kernels = Kernels(loss=kernel)
    settings = load_settings(overrides=[*TINY, "dtype=bfloat16"])
    eos = 2 if "document" in batch else None
    module = NextTokenLoss(build_model(settings, kernels, checkpointed), kernels, eos).train()
    tokens, learnt, weight = torch.randint(3, 64, (2, 33), generator=SEED), None, 1.0
    if "answers" in batch:
        tokens[:, 5 if batch == "answers" else 0 :] = ~tokens[:, 5 if batch == "answers" else 0 :]
        learnt, weight = places(tokens >= 0), 0.5
    with Waits() as waits:
        module(tokens, learnt, weight, batch == "documents").backward()
    assert waits.found == []


def test_attention_of_gpus_is_not_left_to_cudnn():
    torch.backends.cuda.enable_cudnn_sdp(True)
    build_model(load_settings(overrides=TINY))
    assert not torch.backends.cuda.cudnn_sdp_enabled()
    assert torch.backends.cuda.flash_sdp_enabled() and torch.backends.cuda.mem_efficient_sdp_enabled()


def test_an_export_names_no_attention_of_ours(tmp_path):
    model: Any = build_model(load_settings(overrides=TINY))
    model.save_pretrained(tmp_path)
    assert "sdpa" not in (tmp_path / "config.json").read_text()


@pytest.mark.parametrize("kernel", ["chunked", "full", TORCH_LOSS])
@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [(torch.float32, 1 / 7, 1e-5), (torch.bfloat16, 1 / 7, 2**-8), (torch.float16, 2.0**16 / 32, 2**-10)],
)
@pytest.mark.parametrize("answers", [3, 300])
def test_the_mean_over_answers_is_exact_in_each_precision(kernel, dtype, scale, tolerance, answers):
    """Few answers among rows of zeros, times a weight and what DeepSpeed multiplies the loss by."""
    module = NextTokenLoss(build_model(load_settings(overrides=[*TINY, "vocab_size=3000"])).to(dtype), Kernels(kernel))
    hidden, targets = torch.randn(answers, 32, generator=SEED).to(dtype), torch.randint(0, 500, (answers,))
    head = module.model.lm_head.weight
    loss = module._mean_over(hidden.requires_grad_(), targets)
    found = [loss.detach(), *torch.autograd.grad(loss * 0.3 * scale, (hidden, head))]
    wide = [tensor.detach().double().requires_grad_() for tensor in (hidden, head)]
    exact = torch.nn.functional.cross_entropy(wide[0] @ wide[1].T, targets)
    wanted = [exact.detach(), *torch.autograd.grad(exact * 0.3 * scale, wide)]
    # The rows of zeros make the mean's own error up to 256 / 3 times larger.
    assert abs(found[0] - wanted[0]) < 1e-3 * wanted[0]
    for got, want in zip(found[1:], wanted[1:], strict=True):
        assert (got.double() - want).norm() < tolerance * want.norm()


def test_liger_is_in_the_model_that_asks_for_it_and_in_no_other(monkeypatch, tmp_path):
    from transformers import AutoModelForCausalLM
    from transformers.models.llama import modeling_llama

    def loss_of(module):
        calls.clear()
        return module(tokens).item()

    calls = liger_stand_in.install(monkeypatch)
    settings, tokens = load_settings(overrides=TINY), torch.randint(0, 64, (2, 17), generator=SEED)
    earlier, names = NextTokenLoss(build_model(settings)), dict(vars(modeling_llama))
    expected = loss_of(earlier)
    ligers = NextTokenLoss(build_model(settings, Kernels(layers="liger")))
    assert vars(modeling_llama) == names
    assert loss_of(ligers) == pytest.approx(expected, rel=1e-5)
    assert calls == {"norm": 5, "mlp": 2, "rotary": 2}
    later = NextTokenLoss(build_model(settings))
    later.model.save_pretrained(tmp_path)
    loaded = NextTokenLoss(AutoModelForCausalLM.from_pretrained(tmp_path))  # as evaluations do
    for module in (earlier, later, loaded):
        assert loss_of(module) == expected and not calls


def test_liger_computes_no_other_activation_than_its_own(monkeypatch):
    calls = liger_stand_in.install(monkeypatch)
    settings, tokens = load_settings(overrides=[*TINY, "hidden_act=gelu"]), torch.randint(0, 64, (2, 17))
    expected = NextTokenLoss(build_model(settings))(tokens)
    torch.testing.assert_close(NextTokenLoss(build_model(settings, Kernels(layers="liger")))(tokens), expected)
    assert calls == {"norm": 5, "rotary": 2}


def test_what_liger_replaces_is_put_back_when_it_fails(monkeypatch):
    from transformers.models.llama import modeling_llama

    liger_stand_in.install(monkeypatch)
    names = dict(vars(modeling_llama))
    model: Any = build_model(load_settings(overrides=TINY))
    del model.model.layers[0].mlp
    with pytest.raises(AttributeError):
        use_liger(model)
    assert vars(modeling_llama) == names


def test_a_transformers_whose_attention_liger_does_not_fit_is_named(monkeypatch):
    from transformers.models.llama import modeling_llama

    liger_stand_in.install(monkeypatch)
    monkeypatch.setattr(modeling_llama.LlamaAttention, "forward", lambda *_, **__: None)
    with pytest.raises(UserError, match=r"apply_rotary_pos_emb.*layer_kernels=torch"):
        build_model(load_settings(overrides=TINY), Kernels(layers="liger"))


def test_the_installed_liger_changes_the_model_alone():
    pytest.importorskip("liger_kernel.transformers", reason="pip install liger-kernel")
    from transformers.models.llama import modeling_llama

    names = dict(vars(modeling_llama))
    model: Any = build_model(load_settings(overrides=TINY), Kernels(layers="liger"))
    assert vars(modeling_llama) == names
    layer = model.model.layers[0]
    rotary = layer.self_attn.forward.__func__.__globals__["apply_rotary_pos_emb"]
    for piece in (layer.mlp.forward.__func__, layer.input_layernorm.forward.__func__, rotary):
        assert piece.__module__.startswith("liger_kernel")
