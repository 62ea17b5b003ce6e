import pytest
import torch
import torch.nn.functional as F

from tests.helpers.training.kernels import TORCH_LOSS
from training import loss as loss_module
from training.loss import KERNELS, mean_loss, token_losses

KINDS = ["chunked", "full", TORCH_LOSS]
# Largest relative error of the loss, and of both gradients, against fp64 of the same numbers: a few roundings.
TOLERANCES = {torch.float32: (1e-6, 1e-5), torch.bfloat16: (1e-4, 2**-8), torch.float16: (1e-5, 2**-10)}
# What DeepSpeed multiplies the loss by: one over the micro-batches of a step, times in fp16 its loss scale.
UPSTREAM = {torch.float32: (1 / 7,), torch.bfloat16: (1 / 7,), torch.float16: (2.0**16, 2.0**16 / 32)}


def rows(dtype, tokens=23, hidden=16, vocabulary=50):
    generator = torch.Generator().manual_seed(0)
    made = (torch.randn(size, hidden, generator=generator, dtype=torch.float64) for size in (tokens, vocabulary))
    states, head = (tensor.to(dtype).requires_grad_() for tensor in made)
    return states, head, torch.randint(0, vocabulary, (tokens,), generator=generator)


def exact(states, head, targets):
    """Loss and gradients in fp64 of the same numbers."""
    wide = [tensor.detach().double().requires_grad_() for tensor in (states, head)]
    loss = F.cross_entropy(wide[0] @ wide[1].T, targets)
    return [loss.detach(), *torch.autograd.grad(loss, wide)]


@pytest.mark.parametrize("kernel", KINDS)
@pytest.mark.parametrize("chunk", [1, 5, 23, 4096])
def test_loss_and_gradients_are_the_exact_ones(monkeypatch, kernel, chunk):
    monkeypatch.setattr(loss_module, "LOSS_CHUNK_TOKENS", chunk)
    states, head, targets = rows(torch.float32)
    loss = mean_loss(kernel, states, head, targets)
    assert loss.dtype == torch.float32 and loss.shape == ()
    # A factor from upstream, as accumulation over micro-batches and loss scaling put there.
    found = [loss.detach(), *torch.autograd.grad(3 * loss, (states, head))]
    for got, want, factor in zip(found, exact(states, head, targets), (1, 3, 3), strict=True):
        torch.testing.assert_close(got.double(), factor * want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kernel", KINDS)
def test_in_bfloat16_the_error_is_that_of_its_rounding(kernel):
    states, head, targets = rows(torch.bfloat16, tokens=300, hidden=64, vocabulary=500)
    loss = mean_loss(kernel, states, head, targets)
    found = [loss.detach(), *torch.autograd.grad(loss, (states, head))]
    for got, want in zip(found, exact(states, head, targets), strict=True):
        assert (got.double() - want).norm() < 0.02 * want.norm()


def many_small_gradients(dtype):
    """2,048 tokens and 8,000 entries about as probable, three quarters of them no target."""
    states, head, targets = rows(dtype, tokens=2048, hidden=8, vocabulary=8000)
    return states, (head.detach() * 0.1).requires_grad_(), targets % 2000


def errors(kernel, given, upstream):
    """Relative errors of the loss, of both gradients, and of the head's at entries that are no target."""
    _, head, targets = given
    loss = mean_loss(kernel, *given)
    assert loss.dtype == torch.float32
    gradients, wanted = torch.autograd.grad(upstream * loss, given[:2]), exact(*given)
    found = [loss.detach(), *(gradient.double() / upstream for gradient in gradients)]
    rare = torch.ones(len(head), dtype=torch.bool, device=head.device)
    rare[targets] = False
    pairs = [*zip(found, wanted, strict=True), (found[2][rare], wanted[2][rare])]
    return [((got.double() - want).norm() / want.norm()).item() for got, want in pairs]


@pytest.mark.parametrize("kernel", KINDS)
@pytest.mark.parametrize(("dtype", "upstream"), [(dtype, value) for dtype in UPSTREAM for value in UPSTREAM[dtype]])
def test_small_gradients_are_as_exact_as_their_precision(kernel, dtype, upstream):
    value, *gradients = errors(kernel, many_small_gradients(dtype), upstream)
    assert value < TOLERANCES[dtype][0] and max(gradients) < TOLERANCES[dtype][1], (value, gradients)


def test_gradients_that_fp16_cannot_hold_are_infinite():
    """DeepSpeed looks for them, skips the step and lowers its loss scale."""
    given = rows(torch.float16)
    gradients = torch.autograd.grad(2.0**30 * mean_loss("chunked", *given), given[:2])
    assert all(gradient.isinf().any() for gradient in gradients)


def test_gradients_of_the_sum_that_are_beyond_fp16_are_those_of_the_mean_all_the_same():
    """A head of large weights: before they are divided by the number of tokens, fp16 would not hold them."""
    states, head, targets = rows(torch.float16)
    given = states, (head.detach() * 8).requires_grad_(), targets
    value, *gradients = errors("chunked", given, 1.0)
    assert value < 1e-4 and max(gradients) < 2**-9


def test_a_second_backward_pass_is_an_error():
    states, head, targets = rows(torch.float32)
    loss = mean_loss("chunked", states, head, targets)
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_losses_of_tokens_average_to_the_mean(monkeypatch):
    monkeypatch.setattr(loss_module, "LOSS_CHUNK_TOKENS", 5)
    states, head, targets = rows(torch.float32)
    each = token_losses(states, head, targets)
    assert each.shape == targets.shape and not each.requires_grad
    torch.testing.assert_close(each.mean(), mean_loss("full", states, head, targets).detach())


def test_without_gradients_none_are_made():
    states, head, targets = rows(torch.float32)
    with torch.no_grad():
        loss = mean_loss("chunked", states, head, targets)
    torch.testing.assert_close(loss, mean_loss("full", states, head, targets).detach())


@pytest.mark.gpu
@pytest.mark.parametrize("kernel", sorted(KERNELS))
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_on_a_gpu(kernel, dtype):
    if kernel == "liger":
        pytest.importorskip("liger_kernel")
    if kernel == "torch" and not hasattr(F, "linear_cross_entropy"):
        pytest.skip(f"torch {torch.__version__} has no linear_cross_entropy")
    made = rows(dtype, tokens=5000, hidden=256, vocabulary=32000)
    states, head = (tensor.detach().cuda().requires_grad_() for tensor in made[:2])
    given = (states, head, made[2].cuda())
    for upstream in UPSTREAM[dtype]:
        assert max(errors(kernel, given, upstream)[:3]) < 0.02
