"""A published folder: what is in it, who loads it, that it is its source; a longer context; what is refused; GGUF."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from common.errors import UserError
from common.settings.load import load_settings
from evaluation import export_model
from evaluation.export_model import main
from tests.helpers import tiny_world
from tests.helpers.launch import train
from training.model import build_model
from training.run_folder.folder import Run, record_run
from training.run_folder.folder import export_model as export_run

LLAMA_CPP = os.environ.get("LLAMA_CPP")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny world with a run that has an export, a validation and results."""
    folder = tmp_path_factory.mktemp("world")
    settings = load_settings(
        tiny_world.make_world(folder, run_name="base", seq_len=32), ["initializer_range=0.3", "dtype=bfloat16"]
    )
    special = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    (folder / "tokenizer/tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special})
    )
    run = Run(folder / "runs/base")
    record_run(run, settings, {}, {"processes": 2, "device": "a CPU", "train_sha256": "f" * 64})
    export_run(build_model(settings), run, settings, folder / "tokenizer")
    lines = [
        {"step": 4, "loss": 2.0, "tokens": 512},
        {"step": 4, "val_loss": 1.0, "val_perplexity": 2.7, "val_bits_per_byte": 1.5, "val_tokens": 99},
    ]
    (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    sizes = {"documents": 60, "text_bytes": 5_000_000, "sha256": "f" * 64}
    knobs = {"metadata": {"categories": ["math"], "licenses": ["l1"]}, "collection": {"near_duplicates": "drop"}}
    (folder / "data/manifest.json").write_text(json.dumps({"splits": {"train": sizes}, "knobs": knobs}))
    return folder


def publish(world: Path, out: Path, *more: str, model: str = "runs/base") -> Path:
    command = ["--model", str(world / model), "--out", str(out), "--config", str(world / "config.json")]
    assert main([*command, *more]) == 0
    return out


def test_the_folder_has_what_others_want_and_is_its_source(world: Path, tmp_path: Path, capsys) -> None:
    out = publish(world, tmp_path / "out", "--license", "mit")
    assert {path.name for path in out.iterdir()} == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors", "training.json"),
        *("tokenizer.json", "tokenizer.model", "tokenizer_config.json"),
    }
    printed = capsys.readouterr().out
    assert (
        "gives the logits of" in printed and "(largest difference 0)" in printed and "the card lacks figures" in printed
    )
    config = json.loads((out / "config.json").read_text())
    assert config["dtype"] == "bfloat16" and config["use_cache"] and not {"data", "tokenizer", "train"} & set(config)
    assert all(path.stat().st_mode & stat.S_IROTH for path in out.iterdir())

    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    source = load_file(world / "runs/base/export/model.safetensors")
    there = load_file(out / "model.safetensors")
    assert source.keys() == there.keys() and all(torch.equal(source[name], there[name]) for name in source)
    write = pipeline("text-generation", model=str(out))
    made = write("</s>let every", max_new_tokens=12, do_sample=False)[0]["generated_text"]
    assert made.startswith("</s>let every")
    tokenizer = AutoTokenizer.from_pretrained(out)
    model: Any = AutoModelForCausalLM.from_pretrained(out)  # its declared type has no callable `generate`
    ids = tokenizer("</s>let every", return_tensors="pt", add_special_tokens=False).input_ids
    assert int(ids[0, 0]) == 2
    greedy = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(greedy[0]) == made


def test_the_card_tells_what_is_known_and_what_is_not(world: Path, tmp_path: Path) -> None:
    from huggingface_hub import ModelCard

    run = world / "runs/base"
    (run / "results.json").write_text(
        json.dumps(
            {
                "perplexity": {
                    "bits_per_byte": 0.75,
                    "standard_error": 0.01,
                    "perplexity_per_token": 5.5,
                    "tokenizer": "t",
                    "data": "val.jsonl",
                    "documents": 6,
                    "context": 32,
                    "kinds": {"prose": 0.8},
                },
                "benchmarks": {"sciq": {"acc": 0.5}},
            }
        )
    )
    try:
        out = publish(world, tmp_path / "out", "--license", "cc-by-4.0", "--name", "mathematician")
    finally:
        (run / "results.json").unlink()
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "cc-by-4.0" and card.data.library_name == "transformers"
    assert {found.metric_type: found.metric_value for found in card.data.eval_results} == {
        "bits_per_byte": 0.75,
        "perplexity": 5.5,
    }
    text = card.text
    for expected in (
        "# mathematician",
        "0.7500 ± 0.0100",
        "| bits per byte, prose | 0.8000 |",
        "| sciq, acc | 0.5 |",
        "60 | 5.0 MB",
        "licences of the papers: l1",
        "2 x a CPU",
        "sequences of 32 tokens",
    ):
        assert expected in text, expected
    assert json.loads((out / "evaluation.json").read_text())["benchmarks"] == {"sciq": {"acc": 0.5}}
    # Away from its run, a model's card says that nothing is known.
    shutil.copytree(run / "export", tmp_path / "alone/model")
    bare = (
        publish(tmp_path / "alone", tmp_path / "bare", "--config", str(world / "config.json"), model="model")
        / "README.md"
    ).read_text()
    assert "not known" in bare and "Nothing was measured" in bare and "No licence was chosen" in bare


def test_a_longer_context_is_noted_and_works(world: Path, tmp_path: Path) -> None:
    publish(world, tmp_path / "plain")
    out = publish(world, tmp_path / "out", "--context", "256")
    config = json.loads((out / "config.json").read_text())
    assert config["max_position_embeddings"] == 256
    rope = config["rope_parameters"]
    assert (rope["rope_type"], rope["factor"], rope["original_max_position_embeddings"]) == ("yarn", 8.0, 32)
    assert "the context of 256 is yarn's" in (out / "README.md").read_text()
    from evaluation.models.load import load_model

    loaded = load_model(out, "cpu")
    assert loaded.max_context == 256
    with torch.inference_mode():
        assert torch.isfinite(loaded.model(torch.randint(4, 99, (1, 256))).logits).all()
    from evaluation.models.load import trained_length

    assert trained_length(out) == 32
    again = publish(tmp_path, tmp_path / "again", "--config", str(world / "config.json"), model="plain")
    assert trained_length(again) == 32
    linear = publish(world, tmp_path / "linear", "--context", "64", "--rope", "linear")
    assert json.loads((linear / "config.json").read_text())["rope_parameters"]["factor"] == 2.0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--context", "32"], "the model was trained at 32 tokens; give more than that"),
        (["--model", "/nowhere"], "--model: /nowhere: no model there"),
        (["--gguf", "x.gguf", "--llama-cpp", "/nowhere"], "/nowhere/convert_hf_to_gguf.py: not there"),
    ],
)
def test_wrong_arguments_are_named(world: Path, tmp_path: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        publish(world, tmp_path / "out", *arguments)


def test_another_kind_of_model_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="a model of type gpt2; only Llama models are taken here"):
        publish(tmp_path, tmp_path / "out", "--config", str(world / "config.json"), model="model")


def test_what_is_there_is_not_written_over_unless_asked(world: Path, tmp_path: Path) -> None:
    out = publish(world, tmp_path / "out")
    with pytest.raises(UserError, match="there already; name another folder, or replace it with --force"):
        publish(world, out)
    (out / "README.md").write_text("old")
    assert "# base" in (publish(world, out, "--force") / "README.md").read_text()
    with pytest.raises(UserError, match="there already"):
        publish(world, world / "runs/base/export", "--force")


def test_force_replaces_only_what_this_command_wrote(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "runs/base", tmp_path / "runs/base")
    config = ("--config", str(world / "config.json"), "--force")
    for place in ("runs/base", "runs", "runs/base/../base/export"):
        with pytest.raises(UserError, match="the model itself lies in it"):
            publish(tmp_path, tmp_path / place, *config)
    assert (tmp_path / "runs/base/export/model.safetensors").exists() and (tmp_path / "runs/base/run.json").exists()
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for place in ("precious", "file"):
        with pytest.raises(UserError, match="not a folder that this command wrote"):
            publish(tmp_path, tmp_path / place, *config)
    assert (tmp_path / "precious/thesis.tex").exists()
    with pytest.raises(UserError, match="--trained-at -5: must be at least 1"):
        publish(tmp_path, tmp_path / "out", *config, "--trained-at", "-5")


def test_damaged_weights_leave_nothing_behind(world: Path, tmp_path: Path) -> None:
    shutil.copytree(world / "runs/base/export", tmp_path / "model")
    weights = tmp_path / "model/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors: damaged"):
        publish(tmp_path, tmp_path / "out", "--config", str(world / "config.json"), model="model")
    assert not (tmp_path / "out").exists()


def converter(folder: Path, body: str) -> Path:
    """A program in the place of llama.cpp's converter."""
    folder.mkdir()
    (folder / export_model.CONVERTER).write_text(body)
    return folder


def test_the_converter_gets_the_folder_and_its_file_appears_whole(
    world: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setitem(sys.modules, "llama_cpp", None)
    body = (
        "import sys\nfolder, _, out, _, kind = sys.argv[1:]\n"
        "assert kind == 'bf16' and open(folder + '/config.json')\nopen(out, 'w').write('GGUF')\n"
    )
    target = tmp_path / "model.gguf"
    flags = ("--gguf", str(target), "--llama-cpp", str(converter(tmp_path / "good", body)))
    publish(world, tmp_path / "out", *flags)
    assert target.read_text() == "GGUF" and "not compared (pip install llama-cpp-python" in capsys.readouterr().out
    bad = converter(tmp_path / "bad", "raise SystemExit('no such architecture')")
    with pytest.raises(UserError, match=r"failed \(no such architecture\)"):
        publish(world, tmp_path / "out2", "--gguf", str(tmp_path / "b.gguf"), "--llama-cpp", str(bad))
    assert not (tmp_path / "b.gguf").exists()


@pytest.mark.slow
@pytest.mark.skipif(LLAMA_CPP is None, reason="LLAMA_CPP names no folder with llama.cpp's source")
def test_llama_cpp_writes_what_transformers_writes(tmp_path: Path, capsys) -> None:
    """With a tokenizer of SentencePiece's own."""
    pytest.importorskip("llama_cpp")
    from tokenizer.train_tokenizer import main as train_tokenizer

    config = tiny_world.make_world(tmp_path)
    shutil.rmtree(tmp_path / "tokenizer")
    size = ["--config", str(config), "--set", "vocab_size=512", "--set", "tokenizer.character_coverage=1.0"]
    assert train_tokenizer(size) == 0
    overrides = ["vocab_size=512", "initializer_range=0.3", "dtype=bfloat16", "max_position_embeddings=256"]
    settings = load_settings(config, overrides)
    run = Run(tmp_path / "runs/base")
    record_run(run, settings, {}, {"processes": 1})
    export_run(build_model(settings), run, settings, tmp_path / "tokenizer")
    target = tmp_path / "model.gguf"
    command = ["--model", str(run.folder), "--out", str(tmp_path / "out"), "--gguf", str(target)]
    # Weights that were drawn: rounding them would decide between logits that are nearly equal.
    assert main([*command, "--llama-cpp", str(LLAMA_CPP), "--dtype", "float32"]) == 0
    assert re.search(r"the same tokens of a text, and (\d+) of \1 greedy tokens", capsys.readouterr().out)


@pytest.mark.slow
def test_a_checkpoint_is_published_with_the_tokenizer_of_the_configuration(tmp_path: Path) -> None:
    config = tiny_world.make_world(tmp_path, max_steps=2, save_every=1, keep_last=2, run_name="r")
    assert train(config, processes=2).returncode == 0
    run = tmp_path / "runs/r"
    command = ["--config", str(config), "--model"]
    last = [*command, str(run / "checkpoints/step-00000002"), "--out", str(tmp_path / "last")]
    whole = [*command, str(run), "--out", str(tmp_path / "whole")]
    from safetensors.torch import load_file

    assert main(last) == main(whole) == 0
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("last", "whole"))
    assert all(torch.equal(first[name], second[name]) for name in second)
    tiny_world.write_tokenizer(tmp_path / "tokenizer", marker="other")
    with pytest.raises(UserError, match="trained with a tokenizer of fingerprint"):
        main([*command, str(run / "checkpoints/step-00000001"), "--out", str(tmp_path / "no")])
