import json
import re

import pytest

from benchmarks.training import train_cpu, train_gpu
from benchmarks.training.peers import PEERS
from common.errors import UserError
from common.settings.load import load_settings
from tests.helpers import tiny_world

SMOKE = ["--smoke", "--device", "cpu", "--seq-len", "64", "--micro-batch-size", "2", "--steps", "2"]


def smoke(*variants, flags=()):
    return train_gpu.main([*SMOKE, "--variants", *variants, *flags])


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_variant_runs_with_a_tiny_model(tmp_path, capsys):
    variants = [name for name in train_gpu.VARIANTS if "compiled" not in name]
    flags = ("--out", str(tmp_path / "rows.json"), "--profile", str(tmp_path / "profile.txt"))
    assert smoke(*variants, flags=flags) == 0
    shown = capsys.readouterr().out
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["variant"] for row in rows] == variants and not any("failed" in row for row in rows)
    assert all(row["tokens_per_second"] > 0 and 0 < row["share_of_product"] for row in rows)
    assert re.search(r"64: ours is [\d.]+ x the published recipe", shown) and "58 % MFU" in shown
    assert {row["checkpointed"] for row in rows} == {0, 2, 4}
    assert "Self CPU" in (tmp_path / "profile.txt").read_text()


def test_a_variant_that_fails_is_a_row(capsys, monkeypatch):
    calls = []

    def fail(args, name, seq_len, micro):
        calls.append(micro)
        return {"failed": "out of memory"} if micro > 2 else {"failed": "no such kernel"}

    monkeypatch.setattr(train_gpu, "_child", fail)
    assert train_gpu.main(["--device", "cpu", "--seq-len", "768", "--variants", "ours"]) == 0
    assert calls == [32, 16, 8, 4, 2]  # halved until it fits
    assert "| 768 | ours | 2 | no such kernel |" in capsys.readouterr().out


def test_without_a_gpu_it_says_what_can_be_done():
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU is here")
    with pytest.raises(UserError, match="--smoke --device cpu"):
        train_gpu.main([])


@pytest.mark.gpu
def test_on_a_gpu(capsys):
    assert train_gpu.main(["--smoke", "--seq-len", "256", "--variants", "published", "ours"]) == 0
    assert "x the published recipe" in capsys.readouterr().out


def test_what_truncation_costs_by_hand():
    found = train_gpu.truncation([10, 100, 40], limit=50)
    assert found == pytest.approx({"documents": 3, "thrown_away": 50 / 150, "padding": 50 / 150, "longer": 1 / 3})
    with pytest.raises(UserError, match="no documents"):
        train_gpu.truncation([], 50)


def test_lengths_are_those_of_the_token_cache(tmp_path, capsys):
    config = tiny_world.make_world(tmp_path)
    lengths = train_gpu.document_lengths(load_settings(config))
    assert len(lengths) == 60
    texts = [json.loads(line)["text"] for line in (tmp_path / "data/train.jsonl").open()]
    assert lengths == [len(text) + 1 for text in texts]  # a token a character, and the end of the text
    capsys.readouterr()
    assert train_gpu.main(["--config", str(config), "--lengths"]) == 0
    assert "60 documents cut to 32 tokens: 100.0% are longer" in capsys.readouterr().out


@pytest.mark.slow
def test_the_three_loops_do_the_same_work(tmp_path, capsys):
    config = tiny_world.make_world(tmp_path, gradient_accumulation_steps=2)
    flags = ["--config", str(config), "--set", "dtype=bfloat16", "--steps", "3", "--rounds", "1"]
    assert train_cpu.main([*flags, "--out", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert all(description in shown for description in PEERS.values()) and "bar: 3 %" in shown
    found = json.loads((tmp_path / "out.json").read_text())
    assert [len(found[name]["seconds"]) for name in PEERS] == [3, 3, 3]
    assert found["ours"]["losses"] == pytest.approx(found["plain"]["losses"], rel=1e-4)
    assert set(found["ours"]["phases"]) == {"agree", "data", "forward", "backward", "optimizer", "report"}


def test_loops_that_differ_are_no_comparison():
    found = {name: {"losses": [3.0, 2.0]} for name in PEERS}
    train_cpu.check_losses(found)
    found["plain"] = {"losses": [3.0, 2.5]}
    with pytest.raises(UserError, match=r"step 2: the loss of plain is 2\.5"):
        train_cpu.check_losses(found)
