"""Weights to begin with: from where they are taken, what must fit, and that training on them shows both splits."""

import json
import shutil
import struct

import pytest
import torch

from common.errors import UserError
from common.settings.load import load_settings
from tests.helpers import tiny_world
from tests.helpers.launch import train
from training.metrics import read_metrics
from training.model import build_model
from training.run_folder.folder import Run, export_model, record_run
from training.run_folder.init_from import PRETRAINING, Initial, find_initial, load_initial, pretraining_split
from training.run_folder.preflight import Device, checklist


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A world with a run in it that has an export: weights drawn from seed 5."""
    folder = tmp_path_factory.mktemp("pretrained")
    settings = load_settings(tiny_world.make_world(folder, seed=5, run_name="base"))
    run = Run(folder / "runs/base")
    record_run(run, settings, {}, {"processes": 1, "tokenizer": "x"})
    model = build_model(settings)
    export_model(model, run, settings, folder / "tokenizer")
    return folder, model


def settings_of(pretrained, *overrides):
    return load_settings(pretrained[0] / "config.json", overrides)


def starting_from(pretrained, path="runs/base", *overrides):
    return settings_of(pretrained, f"train.init_from={pretrained[0] / path}", *overrides)


def initial_of(settings) -> Initial:
    found = find_initial(settings)
    assert found
    return found


@pytest.mark.parametrize("path", ["runs/base", "runs/base/export"])
def test_weights_are_those_of_the_run_and_not_fresh_ones(pretrained, path):
    settings = starting_from(pretrained, path, "train.seed=1")
    model, there = build_model(settings), pretrained[1].state_dict()
    assert not all(torch.equal(there[name], tensor) for name, tensor in model.state_dict().items())
    load_initial(model, initial_of(settings))
    assert all(torch.equal(there[name], tensor) for name, tensor in model.state_dict().items())


def test_without_it_weights_are_fresh_and_no_second_split_is_measured(pretrained):
    settings = settings_of(pretrained)
    assert find_initial(settings) is None and pretraining_split(settings) == (None, None)


def test_context_and_rope_may_differ_and_are_told(pretrained):
    longer = ("max_position_embeddings=128", 'rope_parameters={"rope_type":"linear","factor":2.0,"rope_theta":10000.0}')
    initial = initial_of(starting_from(pretrained, "runs/base", *longer))
    notes = initial.notes(starting_from(pretrained, "runs/base", *longer))
    assert [note.split(" is ")[0] for note in notes] == ["max_position_embeddings", "rope_parameters"]
    assert "128 here, 64 in" in notes[0] and initial.notes(starting_from(pretrained)) == []


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("hidden_size=64", "hidden_size 32 there, 64 here"),
        ("num_hidden_layers=3", "num_hidden_layers 2 there, 3 here"),
        ("tie_word_embeddings=true", "tie_word_embeddings false there, true here"),
        ("num_key_value_heads=1", "num_key_value_heads 2 there, 1 here"),
    ],
)
def test_another_model_is_refused_by_its_keys(pretrained, override, told):
    with pytest.raises(UserError, match=told):
        find_initial(starting_from(pretrained, "runs/base", override))


def test_another_tokenizer_is_refused_with_both_fingerprints(pretrained, tmp_path):
    tiny_world.write_tokenizer(tmp_path, marker="other")
    with pytest.raises(UserError, match=r"another tokenizer \(fingerprint [0-9a-f]{12}\) than .*\([0-9a-f]{12}\)"):
        find_initial(starting_from(pretrained, "runs/base", f"tokenizer.out={tmp_path}"))


def damaged(pretrained, tmp_path, name, change):
    """A copy of the export in which file `name` has been changed; None removes it."""
    folder = tmp_path / "export"
    shutil.copytree(pretrained[0] / "runs/base/export", folder)
    content = change((folder / name).read_bytes())
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    return starting_from(pretrained, folder)


def with_nan(content):
    """The file with its last number, bf16, replaced."""
    return content[:-2] + struct.pack("<H", 0x7FC0)


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("model.safetensors", lambda content: content[: len(content) // 2], "model.safetensors: damaged"),
        ("model.safetensors", lambda _: b"nothing of the kind", "model.safetensors: damaged"),
        ("model.safetensors", lambda _: None, "no weights there"),
        ("model.safetensors", with_nan, "not finite"),
        ("config.json", lambda _: None, "no model there"),
        ("config.json", lambda _: b"[1]", "no model there"),
        ("tokenizer.json", lambda _: None, "tokenizer.json: no such file"),
    ],
)
def test_a_folder_that_is_damaged_says_so(pretrained, tmp_path, name, change, told):
    settings = damaged(pretrained, tmp_path, name, change)
    with pytest.raises(UserError, match=told):
        load_initial(build_model(settings), initial_of(settings))


def test_a_folder_that_is_not_there_is_on_the_checklist(pretrained):
    settings = starting_from(pretrained, "runs/nobody")
    checks = {check.name: check for check in checklist(settings, Device("cpu", "CPU", 2**40), 1)}
    assert "runs/nobody: no model there" in checks["weights"].state and checks["weights"].todo
    assert not {c.name: c for c in checklist(starting_from(pretrained), Device("cpu", "CPU", 2**40), 1)}["weights"].todo


def test_the_pretraining_split_is_that_of_the_run_unless_another_is_named(pretrained, tmp_path):
    here = f"data.out={tmp_path}"
    tiny_world.write_jsonl(tmp_path / "val.jsonl", [tiny_world.document(1)])
    split, note = pretraining_split(starting_from(pretrained, "runs/base", here))
    assert note is None and split and split.paths == (pretrained[0] / "data/val.jsonl",)
    assert pretraining_split(starting_from(pretrained)) == (None, None)  # the run's own is measured anyway
    assert pretraining_split(starting_from(pretrained, "runs/base", here, "train.pretraining_val=null")) == (None, None)
    for named in (tmp_path, tmp_path / "val.jsonl"):
        split, _ = pretraining_split(settings_of(pretrained, f"train.pretraining_val={named}"))
        assert split and split.paths == (tmp_path / "val.jsonl",)
    with pytest.raises(UserError, match="no validation split there"):
        pretraining_split(settings_of(pretrained, f"train.pretraining_val={pretrained[0] / 'tokenizer'}"))
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(pretrained[0] / "runs/base/export", elsewhere)
    split, note = pretraining_split(starting_from(pretrained, elsewhere, here))
    assert split is None and note and "is not known" in note


def post_training(folder, tmp_path, **train_keys):
    """A world that trains on from the run in `folder`: problems with answers, the other world's tokenizer."""
    config = json.loads(tiny_world.make_world(tmp_path).read_text())
    records = []
    for number in range(40):
        text = f"Problem: what comes after {number}? Answer: {number + 1}."
        records.append(tiny_world.document(number) | {"text": text, "answers": [[text.index("Answer") + 8, len(text)]]})
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", records)
    tiny_world.write_jsonl(tmp_path / "data/val.jsonl", records[:8])
    config["train"] |= {"init_from": str(folder / "runs/base"), "learn_from": "answers", **train_keys}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    return path


def validations(run):
    return [record for record in read_metrics(run / "metrics.jsonl") if "val_loss" in record]


@pytest.mark.slow
def test_training_on_shows_both_splits_from_the_first_step(pretrained, tmp_path):
    config = post_training(pretrained[0], tmp_path, run_name="on", max_steps=4, val_every=4, learning_rate=0.01)
    result = train(config)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "begins with the weights of" in result.stdout and "pretraining's:" in result.stdout
    first, last = validations(tmp_path / "runs/on")
    assert last["val_loss"] < first["val_loss"]
    assert {"loss", "perplexity", "bits_per_byte", "tokens"} <= {
        key.removeprefix(f"{PRETRAINING}_") for key in last if key.startswith(PRETRAINING)
    }
    assert last["pretraining_val_loss"] != first["pretraining_val_loss"]
    assert last["pretraining_val_tokens"] > last["val_tokens"]  # answers alone
    recorded = json.loads((tmp_path / "runs/on/run.json").read_text())
    assert recorded["init_from"] == str(pretrained[0] / "runs/base/export")


@pytest.mark.slow
def test_one_and_two_processes_learn_the_same_from_answers_and_a_resume_goes_on(pretrained, tmp_path):
    """Answers are counted over all processes, so the share of a process does not matter."""
    from tests.helpers.launch import losses

    config = post_training(pretrained[0], tmp_path, max_steps=4, save_every=2, keep_last=3)
    dtype = ("--set", "dtype=float32")
    two = train(config, *dtype, "--set", "train.run_name=two", processes=2)
    assert two.returncode == 0, two.stdout + two.stderr
    more = ("--set", "train.gradient_accumulation_steps=2", "--set", "train.run_name=one")
    one = train(config, *dtype, *more, processes=1)
    assert one.returncode == 0, one.stdout + one.stderr
    first, second = losses(tmp_path / "runs/one"), losses(tmp_path / "runs/two")
    assert first == pytest.approx(second, rel=1e-4)
    run = tmp_path / "runs/two"
    for name in ("export", "checkpoints/step-00000004"):
        shutil.rmtree(run / name)
    (run / "finished.json").unlink()
    again = train(config, *dtype, "--set", "train.run_name=two", processes=2)
    assert again.returncode == 0 and "resumed at step 2" in again.stdout, again.stdout + again.stderr
    assert losses(run) == second
    # A checkpoint is a place to begin too.
    chained = train(
        config,
        *dtype,
        *("--set", "train.run_name=chained", "--set", f"train.init_from={run / 'checkpoints/step-00000004'}"),
    )
    assert chained.returncode == 0, chained.stdout + chained.stderr
    assert validations(tmp_path / "runs/chained")[0]["val_loss"] == pytest.approx(
        validations(run)[-1]["val_loss"], rel=1e-6
    )


@pytest.mark.slow
def test_a_run_goes_on_without_the_weights_that_it_began_with(pretrained, tmp_path):
    shutil.copytree(pretrained[0] / "runs/base", tmp_path / "source/runs/base")
    config = post_training(tmp_path / "source", tmp_path, run_name="on", max_steps=3, save_every=1, keep_last=3)
    assert train(config, processes=1).returncode == 0
    run = tmp_path / "runs/on"
    (run / "finished.json").unlink()
    for gone in (run / "export", run / "checkpoints/step-00000003", tmp_path / "source"):
        shutil.rmtree(gone)
    again = train(config, processes=1)
    assert again.returncode == 0 and "resumed at step 2" in again.stdout, again.stdout + again.stderr
    assert "the pretraining validation split is not known" in again.stdout
    fresh = train(config, "--set", "train.run_name=fresh", processes=1, timeout=60)
    assert fresh.returncode == 2 and "no model there" in fresh.stdout


def test_a_split_without_marks_is_refused_where_answers_alone_are_to_count(tmp_path):
    config = tiny_world.make_world(tmp_path, learn_from="answers")
    result = train(config, processes=1, timeout=60)
    assert result.returncode == 2 and "marks none in its texts" in result.stderr and "Traceback" not in result.stderr
