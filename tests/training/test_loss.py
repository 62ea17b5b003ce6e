import pytest
import torch
import torch.nn.functional as F

from training import loss as loss_module
from training.loss import KERNELS, mean_loss, token_losses

KINDS = ["chunked", "full", "torch"]


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
def test_on_a_gpu(kernel):
    if kernel == "liger":
        pytest.importorskip("liger_kernel")
    if kernel == "torch" and not hasattr(F, "linear_cross_entropy"):
        pytest.skip(f"torch {torch.__version__} has no linear_cross_entropy")
    made = rows(torch.bfloat16, tokens=5000, hidden=256, vocabulary=32000)
    states, head = (tensor.detach().cuda().requires_grad_() for tensor in made[:2])
    loss = mean_loss(kernel, states, head, made[2].cuda())
    found = [loss.detach(), *torch.autograd.grad(loss, (states, head))]
    for got, want in zip(found, exact(states, head, made[2].cuda()), strict=True):
        assert (got.double() - want).norm() < 0.02 * want.norm()
