import re

import pytest

from common.errors import UserError
from common.files import atomic_write
from common.settings.load import load_settings
from tests.helpers import tiny_world
from train import main
from training import kernels
from training.plan.nvidia_driver import Trouble
from training.run_folder import preflight
from training.run_folder.preflight import Check, Device, checklist, render

CPU = Device("cpu", "CPU, 2 cores", 8 << 30)
A100 = Device("cuda", "NVIDIA A100-SXM4-80GB", 80 << 30)


@pytest.fixture(autouse=True)
def without_liger(monkeypatch):
    """What fits where is told without liger-kernel, wherever the tests run."""
    monkeypatch.setattr(kernels, "liger_is_here", lambda: False)


def by_name(settings, device=CPU, processes=2):
    return {check.name: check for check in checklist(settings, device, processes, " --config x.json")}


def test_everything_missing_is_listed_with_its_command(tmp_path):
    config = tiny_world.make_world(tmp_path)
    settings = load_settings(config, [f"data.out={tmp_path / 'no'}", f"tokenizer.out={tmp_path / 'no'}"])
    checks = by_name(settings)
    assert checks["data"].todo == "python data_prep/prepare_dataset.py --config x.json"
    assert checks["tokenizer"].todo == "python tokenizer/train_tokenizer.py --config x.json"
    assert "train.py itself" in checks["token cache"].todo
    assert not checks["device"].todo and not checks["disk"].todo


def test_everything_there(tmp_path):
    checks = by_name(load_settings(tiny_world.make_world(tmp_path)))
    assert [check.todo for check in checks.values()] == [""] * 5
    assert re.fullmatch(
        r"will be made now: train [\d.]+ kB of text, about 0 s, [\d.]+ kB of disk; val .* of disk",
        checks["token cache"].state,
    )
    text = render(list(checks.values()))
    assert text.count("[ok]") == 5 and "!!" not in text


def test_a_tokenizer_of_another_size_is_named_with_both_sizes(tmp_path):
    config = tiny_world.make_world(tmp_path)
    check = by_name(load_settings(config, ["vocab_size=4096"]))["tokenizer"]
    assert "vocab_size is 4,096" in check.state and "--set vocab_size=" in check.todo


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": 3}'])
def test_a_broken_tokenizer_file_is_named(tmp_path, content):
    settings = load_settings(tiny_world.make_world(tmp_path))
    (tmp_path / "tokenizer/tokenizer.json").write_text(content)
    check = by_name(settings)["tokenizer"]
    assert "tokenizer.json cannot be read" in check.state and check.todo


def test_the_reference_model_fits_two_a100_and_no_small_machine():
    reference = load_settings()
    assert not by_name(reference, A100)["device"].todo
    check = by_name(reference, CPU)["device"]
    assert "1,633,781,760 parameters need about" in check.state and "8.0 GiB are there" in check.state
    assert "a smaller model" in check.todo


def test_a_smaller_micro_batch_is_proposed_where_it_helps():
    check = by_name(load_settings(), Device("cuda", "NVIDIA A40", 44 << 30))["device"]
    if not check.todo:
        check = by_name(load_settings(), Device("cuda", "NVIDIA A100-PCIE-40GB", 24 << 30))["device"]
    assert "--set train.micro_batch_size=" in check.todo
    batch = {key: int(value) for key, value in (s.split("=") for s in check.todo.split() if "=" in s)}
    assert batch["train.micro_batch_size"] * batch["train.gradient_accumulation_steps"] == 32 * 32


def test_the_batch_that_is_proposed_is_the_same():
    settings = load_settings(overrides=["train.micro_batch_size=75", "train.gradient_accumulation_steps=7"])
    check = by_name(settings, Device("cuda", "NVIDIA A30", 24 << 30))["device"]
    batch = {key: int(value) for key, value in re.findall(r"train\.(\w+)=(\d+)", check.todo)}
    assert batch["micro_batch_size"] < 75
    assert batch["micro_batch_size"] * batch["gradient_accumulation_steps"] == 75 * 7


def test_too_little_disk_is_named(tmp_path, monkeypatch):
    settings = load_settings(tiny_world.make_world(tmp_path))
    usage = preflight.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage._replace(free=1000))
    checks = by_name(settings)
    assert "make room" in checks["disk"].todo and "make room" in checks["token cache"].todo


def test_a_disk_that_holds_the_next_checkpoint_but_not_all_is_told(tmp_path, monkeypatch):
    settings = load_settings(tiny_world.make_world(tmp_path, keep_last=2))
    usage = preflight.shutil.disk_usage(tmp_path)
    free = 2 * preflight.memory_plan.checkpoint_bytes(settings.model)
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda _: usage._replace(free=free))
    check = by_name(settings)["disk"]
    assert not check.todo and "not enough for a run that begins" in check.state


def test_special_tokens_must_be_the_tokenizers(tmp_path):
    config = tiny_world.make_world(tmp_path)
    settings = load_settings(config, ["eos_token_id=1"])
    check = preflight._tokenizer(tmp_path / "tokenizer", settings, "")
    assert check.todo == "--set eos_token_id=2" and "</s> is token 2, eos_token_id is 1" in check.state


def test_a_split_is_accepted_in_every_form_but_not_in_two_or_in_part(tmp_path):
    settings = load_settings(tiny_world.make_world(tmp_path))
    plain = tmp_path / "data/train.jsonl"
    with atomic_write(tmp_path / "data/train-00000-of-00002.jsonl.zst") as file:
        file.write(plain.read_bytes())
    assert "in 2 forms, train.jsonl and" in by_name(settings)["data"].state and by_name(settings)["data"].todo
    plain.unlink()
    check = by_name(settings)["data"]
    assert "missing: train-00001-of-00002.jsonl.zst; put them back" in check.state and check.todo
    with atomic_write(tmp_path / "data/train-00001-of-00002.jsonl.zst") as file:
        file.write(b"\n")
    checks = by_name(settings)
    assert re.fullmatch(r"train [\d.]+ MB in 2 files compressed, val [\d.]+ MB", checks["data"].state)
    assert not checks["data"].todo and checks["token cache"].state.startswith("will be made now: train")


def test_a_token_cache_is_made_or_long_to_make_or_damaged(tmp_path, monkeypatch):
    settings = load_settings(tiny_world.make_world(tmp_path))
    monkeypatch.setattr(preflight.ensure, "LONG_SECONDS", 0)
    check = by_name(settings)["token cache"]
    assert "(beforehand, without a GPU: python tokenizer/token_cache.py --config x.json)" in check.state
    for split in preflight.find_splits(settings).values():
        cache = preflight.ensure.ensure_token_cache(split, tmp_path / "tokenizer", settings)
    assert by_name(settings)["token cache"] == Check("token cache", "made")
    (cache.folder / "manifest.json").unlink()
    cache.paths[0].write_bytes(b"TEXTOKEN")
    check = by_name(settings)["token cache"]
    assert str(cache.paths[0]) in check.state and "delete it" in check.state and check.todo


def test_a_gpu_that_torch_cannot_use_fails_the_device_and_only_it(tmp_path):
    trouble = Trouble("1 x NVIDIA A100 (driver 535.104.05, says nvidia-smi): torch cannot use the GPU", "python -m pip")
    checks = by_name(load_settings(tiny_world.make_world(tmp_path)), Device("cpu", "CPU", 8 << 30, trouble))
    assert checks["device"] == Check("device", trouble.state, trouble.todo)
    assert [name for name, check in checks.items() if check.todo] == ["device"]


def test_a_process_on_another_machine_tells_its_own_trouble(tmp_path, monkeypatch):
    """Process 0, whose list alone is printed, may be on a machine where all is well."""
    trouble = Trouble("torch cannot use the GPU", "python -m pip install torch==1")
    monkeypatch.setattr(preflight, "find_device", lambda *_: Device("cpu", "CPU", 8 << 30, trouble))
    monkeypatch.setattr("train.LET_FIRST_SPEAK_SECONDS", 0)
    for name, value in (("RANK", "3"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "4"), ("MASTER_ADDR", "127.0.0.1")):
        monkeypatch.setenv(name, value)
    config = tiny_world.make_world(tmp_path)
    with pytest.raises(UserError, match=r"\[process 3\] 1 of 5 .*: torch cannot use the GPU -> python -m pip install"):
        main(["--config", str(config), "--set", "train.gradient_accumulation_steps=1"])
