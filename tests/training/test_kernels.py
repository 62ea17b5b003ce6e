import pytest

from common.settings.load import load_settings
from training import kernels
from training.kernels import Kernels, resolve_kernels


def resolved(*overrides, cuda=False, **model):
    knobs = [f"train.{override}" for override in overrides] + [f"{key}={value}" for key, value in model.items()]
    return resolve_kernels(load_settings(overrides=knobs), cuda)


@pytest.fixture
def liger(monkeypatch):
    """As if the package were there."""
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: name)


def test_on_the_cpu_auto_is_what_needs_nothing():
    found = resolved()
    assert found == Kernels(loss="chunked", layers="torch", attention="sdpa", fused_adamw=True, compile=False)
    assert found.notes == ()


def test_on_a_gpu_auto_takes_liger_where_it_is(liger):
    assert resolved(cuda=True).layers == "liger" and resolved(cuda=True).notes == ()
    assert resolved("loss_kernel=liger", cuda=True).loss == "liger"


def test_what_is_missing_gives_way_with_a_note(monkeypatch, liger):
    found = resolved("loss_kernel=liger", "layer_kernels=liger")
    assert (found.loss, found.layers) == ("chunked", "torch")
    assert [note.partition(":")[0] for note in found.notes] == ["train.loss_kernel", "train.layer_kernels"]
    monkeypatch.setattr(kernels.importlib.util, "find_spec", lambda name: None)
    found = resolved(cuda=True)
    assert found.layers == "torch" and "is not installed" in found.notes[0]


def test_without_a_compiler_layers_are_not_compiled(monkeypatch):
    monkeypatch.setattr(kernels.shutil, "which", lambda name: None)
    found = resolved("compile=true")
    assert not found.compile and "C++ compiler" in found.notes[0]
    assert resolved("compile=true", cuda=True).compile


def test_an_older_torch_has_no_loss_of_its_own(monkeypatch):
    import torch

    monkeypatch.setattr(torch.nn.functional, "linear_cross_entropy", None, raising=False)  # whatever is installed
    assert resolved("loss_kernel=torch", dtype="float32").loss == "torch"
    monkeypatch.delattr(torch.nn.functional, "linear_cross_entropy")
    found = resolved("loss_kernel=torch", dtype="float32")
    assert found.loss == "chunked" and "no linear_cross_entropy" in found.notes[0]


@pytest.mark.parametrize(
    ("loss", "dtype", "good"),
    [
        *(("torch", dtype, dtype == "float32") for dtype in ("float32", "bfloat16", "float16")),
        *(("liger", dtype, dtype != "float16") for dtype in ("float32", "bfloat16", "float16")),
        *((loss, "float16", True) for loss in ("chunked", "full")),
    ],
)
def test_a_loss_that_is_not_exact_in_a_precision_gives_way_with_a_note(monkeypatch, liger, loss, dtype, good):
    import torch

    monkeypatch.setattr(torch.nn.functional, "linear_cross_entropy", None, raising=False)
    found = resolved(f"loss_kernel={loss}", cuda=True, dtype=dtype)
    assert found.loss == (loss if good else "chunked")
    assert found.notes == () if good else f"dtype is {dtype}" in found.notes[0]


def test_an_activation_that_liger_lacks_is_noted(liger):
    assert resolved(cuda=True, hidden_act="swish").notes == ()
    found = resolved(cuda=True, hidden_act="gelu")
    assert found.layers == "liger" and "hidden_act is gelu" in found.notes[0]
    assert resolved("layer_kernels=torch", cuda=True, hidden_act="gelu").notes == ()


def test_the_other_knobs_are_passed_on():
    found = resolved("attention=eager", "fused_adamw=false", "loss_kernel=full")
    assert (found.attention, found.fused_adamw, found.loss) == ("eager", False, "full")
