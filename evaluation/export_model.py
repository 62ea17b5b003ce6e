r"""A trained model as one folder that others take as it is: weights, tokenizer, configuration, model card.

    python evaluation/export_model.py --model runs/NAME --license cc-by-4.0
    python evaluation/export_model.py --model runs/NAME/checkpoints/step-00002000 --out early
    python evaluation/export_model.py --model runs/NAME --context 4096 --out longer
    python evaluation/export_model.py --model runs/NAME --gguf model.gguf --llama-cpp LLAMA_CPP_FOLDER

Safetensors in bf16, `config.json` with model keys alone, the tokenizer's files, a generation config, README.md (the
card, with what was measured: evaluate first), evaluation.json, training.json (the length of its sequences). `--context`
writes a longer context by YaRN, which needs no training; `perplexity.py --positions` shows what it is worth. At the end
the folder is loaded and compared with its source. `--gguf` makes a file for llama.cpp and its kin, too, with
llama.cpp's own converter.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
if not __package__:  # run as `python evaluation/export_model.py`
    sys.path[0] = str(ROOT)

from common.cli import add_config_arguments, run_command, settings_from_args
from common.errors import UserError
from common.files import write_json
from common.paths import project_path
from common.settings.load import Settings
from evaluation.models.load import TRAINING, load_model, newest_export, trained_length
from evaluation.run_data.results import read_results

if TYPE_CHECKING:
    from training.run_folder.init_from import Initial

# Of weights in one file, as the hub has them.
SHARD = "5GB"
# The keys of a model's configuration that are none of the model's own.
SECTIONS = ("data", "tokenizer", "train", "transformers_version")
CONVERTER = "convert_hf_to_gguf.py"
OUTTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32"}
# What the two models are compared by.
PROBE, PROBE_TOKENS = "\\begin{theorem}\nLet $G$ be a finite group. Then", 48


def longer(model: dict[str, Any], context: int, trained: int | None, rope: str) -> dict[str, Any]:
    """The configuration for a longer context: positions are read as if they lay within the `trained` ones.

    YaRN: Peng et al., YaRN: Efficient Context Window Extension of Large Language Models, 2023; linear: Chen et al.,
    Extending Context Window of Large Language Models via Positional Interpolation, 2023.

    Raises:
        UserError: it is not longer, or the length of training is not known.
    """
    if trained is None:
        raise UserError(
            "--context: the length that the model was trained at is not known outside of its run; give --trained-at "
            "TOKENS"
        )
    if context <= trained:
        raise UserError(f"--context {context}: the model was trained at {trained} tokens; give more than that")
    old = dict(model.get("rope_parameters") or {"rope_theta": 10000.0})
    if old.get("rope_type", "default") != "default":
        raise UserError(
            f"--context {context}: its RoPE is {old['rope_type']} already; export the model that it is from"
        )
    changed: dict[str, Any] = {"rope_type": rope, "factor": context / trained}
    if rope == "yarn":
        changed["original_max_position_embeddings"] = trained
    return model | {"rope_parameters": old | changed, "max_position_embeddings": context}


def export(
    initial: Initial,
    out: Path,
    model: dict[str, Any],
    card: str,
    settings: Settings,
    dtype: str,
    trained: int | None,
) -> None:
    """Write the folder; it appears complete, or not at all.

    Raises:
        UserError: weights or tokenizer that are damaged or missing.
    """
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM
    from transformers.utils.logging import disable_progress_bar

    from tokenizer.learn.fingerprint import ARTEFACTS
    from training.run_folder.init_from import load_initial

    disable_progress_bar()
    keys = {key: value for key, value in model.items() if key not in SECTIONS}
    config = LlamaConfig(**(keys | {"dtype": dtype, "architectures": ["LlamaForCausalLM"]}))
    network: Any = LlamaForCausalLM(config).to(getattr(torch, dtype))
    load_initial(network, initial)
    network.config.use_cache = True
    network.generation_config = GenerationConfig(
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        do_sample=True,
        temperature=0.8,
        top_p=0.95,
    )
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        network.save_pretrained(partial, max_shard_size=SHARD)
        config.save_pretrained(partial)
        tokenizer = initial.folder if not initial.is_checkpoint else project_path(settings.tokenizer.out)
        for name in ARTEFACTS:
            if (tokenizer / name).exists():
                shutil.copy2(tokenizer / name, partial)
        (partial / "README.md").write_text(card, encoding="utf-8")
        if initial.run is not None and (found := read_results(initial.run / "results.json")):
            write_json(partial / "evaluation.json", found)
        if trained is not None:
            write_json(partial / TRAINING, {"sequence_length": trained})
        for path in partial.iterdir():  # safetensors makes files for their owner alone
            path.chmod(0o644)
    except BaseException:  # a full disk, Ctrl-C: nothing half-written stays
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(out, ignore_errors=True)
    os.replace(partial, out)


def compare(initial: Initial, out: Path, same: bool) -> str:
    """The exported folder against its source: greedy text and logits.

    Args:
        same: the two are the same model, not one with a longer context.

    Raises:
        UserError: they differ where they must not.
    """
    import torch

    from evaluation.generation.sampling import Sampling, generate_tokens

    loaded = load_model(out, "cpu")
    ids = loaded.encode(PROBE)[: loaded.max_context - PROBE_TOKENS]
    if loaded.tokenizer.decode(ids) != PROBE[: len(loaded.tokenizer.decode(ids))]:
        raise UserError(f"{out}: its tokenizer does not give a text back; train it again, or restore its files")
    greedy = Sampling(PROBE_TOKENS, 0, 1.0, 0)
    text = list(generate_tokens(loaded, ids, greedy))
    if not same or initial.is_checkpoint:
        return f"loads, and writes {len(text)} tokens"
    source = load_model(initial.folder, "cpu")
    probe = torch.tensor([[source.context_token, *ids]])
    with torch.inference_mode():
        difference = float((loaded.model(probe).logits - source.model(probe).logits).abs().max())
    if list(generate_tokens(source, ids, greedy)) != text and difference == 0:
        raise UserError(f"{out}: writes another text than {initial.folder}, with the same logits")
    return f"loads, and gives the logits of {initial.folder} (largest difference {difference:.2g})"


def to_gguf(folder: Path, target: Path, llama_cpp: Path | None, dtype: str) -> str:
    """Convert the folder with llama.cpp's converter, and compare where its Python binding is installed.

    Raises:
        UserError: no converter, it fails, or the file writes another text than the folder.
    """
    converter = (llama_cpp or Path("llama.cpp")) / CONVERTER
    if not converter.is_file():
        raise UserError(
            f"{converter}: not there; --llama-cpp names a folder with llama.cpp's source. The package llama-cpp-python "
            "carries it: pip download --no-deps --no-binary :all: llama-cpp-python, unpack, vendor/llama.cpp"
        )
    partial = target.with_name(target.name + ".partial")
    command = [sys.executable, str(converter), str(folder), "--outfile", str(partial), "--outtype", OUTTYPES[dtype]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(f"{converter}: failed ({last}); {shlex.join(command)} shows all of it")
    os.replace(partial, target)
    return f"{target}: {target.stat().st_size / 1e6:,.1f} MB; {_compared_gguf(folder, target)}"


def _compared_gguf(folder: Path, target: Path) -> str:
    """What llama.cpp makes of the file, beside what transformers makes of the folder."""
    try:
        from llama_cpp import GGML_TYPE_F32, Llama
    except ImportError:
        return "not compared (pip install llama-cpp-python, which compiles it)"
    import torch

    loaded = load_model(folder, "cpu")
    ids = loaded.encode(PROBE)
    exact: dict[str, Any] = {"type_k": GGML_TYPE_F32, "type_v": GGML_TYPE_F32}  # keys and values are not rounded
    engine = Llama(str(target), n_ctx=len(ids) + PROBE_TOKENS + 8, verbose=False, **exact)
    theirs = engine.tokenize(PROBE.encode(), add_bos=False, special=False)
    if theirs != ids:
        raise UserError(f"{target}: llama.cpp cuts a text into other tokens than {folder}: {theirs} and {ids}")
    start = [loaded.context_token, *ids]
    whole = loaded.model.generate(torch.tensor([start]), do_sample=False, max_new_tokens=PROBE_TOKENS)
    expected, made = whole[0, len(start) :].tolist(), list[int]()
    for token in engine.generate(start, temp=0.0, top_k=1, repeat_penalty=1.0):
        made.append(token)
        if token == loaded.tokenizer.eos_token_id or len(made) == len(expected):
            break
    equal = next((i for i, (a, b) in enumerate(zip(made, expected, strict=False)) if a != b), len(made))
    return f"the same tokens of a text, and {equal} of {len(expected)} greedy tokens, as transformers"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Export a model for others: weights, tokenizer, configuration, card; checked against its source.",
        epilog="example: python evaluation/export_model.py --model runs/NAME --license cc-by-4.0 --out published",
    )
    parser.add_argument(
        "--model", type=Path, help="run, checkpoint or exported folder (default: the newest runs/*/export)"
    )
    parser.add_argument("--out", type=Path, help="folder to write (default: published/ in the run, else here)")
    parser.add_argument("--name", help="of the model, in the card (default: that of its run)")
    parser.add_argument(
        "--license", help="of the weights, as the hub calls it, e.g. mit, cc-by-4.0 (default: none said)"
    )
    parser.add_argument(
        "--dtype", choices=("bfloat16", "float16", "float32"), default="bfloat16", help="of the weights"
    )
    parser.add_argument("--context", type=int, metavar="N", help="a context of N tokens, by changing RoPE")
    parser.add_argument("--rope", choices=("yarn", "linear"), default="yarn", help="how (default: yarn)")
    parser.add_argument("--trained-at", type=int, help="tokens of a sequence in training (default: that of the run)")
    parser.add_argument("--gguf", type=Path, metavar="FILE", help="write a GGUF file for llama.cpp, too")
    parser.add_argument("--llama-cpp", type=Path, metavar="FOLDER", help="llama.cpp's source, for --gguf")
    parser.add_argument("--force", action="store_true", help="replace what is in --out")
    add_config_arguments(parser)
    args = parser.parse_args(argv)
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, which comes along, tells what it takes this for
    settings = settings_from_args(args)

    from evaluation.run_data.known import known_of, parameters_of
    from reports.model_card import model_card
    from training.run_folder.init_from import initial_at

    initial = initial_at(args.model.absolute() if args.model else newest_export(settings), "--model")
    if initial.is_checkpoint:
        _check_tokenizer(initial, settings)
    name = args.name or (initial.run.name if initial.run else initial.folder.name)
    out = (args.out or (initial.run or Path.cwd()) / "published").resolve()
    _check_out(out, initial, args.force)
    if args.trained_at is not None and args.trained_at < 1:
        raise UserError(f"--trained-at {args.trained_at}: must be at least 1")
    known = known_of(initial)
    model, trained = initial.model, args.trained_at or known.trained_at or trained_length(initial.folder)
    if args.context is not None:
        model = longer(model, args.context, trained, args.rope)
    card = model_card(name, model, parameters_of(model), known, args.license, args.dtype)
    out.parent.mkdir(parents=True, exist_ok=True)
    export(initial, out, model, card, settings, args.dtype, trained)
    print(f"{out}: {compare(initial, out, same=args.context is None)}")
    if args.gguf:
        print(to_gguf(out, args.gguf.absolute(), args.llama_cpp, args.dtype))
    missing = [] if known.results else ["figures (run evaluation/perplexity.py first, then export again)"]
    missing += [] if args.license else ["a licence (--license)"]
    if missing:
        print(f"the card lacks {' and '.join(missing)}")
    return 0


def _check_out(out: Path, initial: Initial, force: bool) -> None:
    """Raises UserError where something else than what this command wrote lies there, or that was not to be replaced."""
    if not out.exists():
        return
    sources = [path.resolve() for path in (initial.folder, initial.run) if path is not None]
    if any(out == path or out in path.parents for path in sources):
        raise UserError(f"--out {out}: there already, and the model itself lies in it; name another folder")
    if not force:
        raise UserError(f"--out {out}: there already; name another folder, or replace it with --force")
    published = (out / "generation_config.json").is_file() and (out / "README.md").is_file()
    if not out.is_dir() or (out / "run.json").exists() or (any(out.iterdir()) and not published):
        raise UserError(f"--out {out}: not a folder that this command wrote; name another one, or remove it yourself")


def _check_tokenizer(initial: Initial, settings: Settings) -> None:
    """A checkpoint has no tokenizer of its own: that of the configuration must be the one."""
    from tokenizer.learn.fingerprint import tokenizer_fingerprint

    here = tokenizer_fingerprint(project_path(settings.tokenizer.out))
    if here != initial.tokenizer:
        raise UserError(
            f"--model {initial.folder}: trained with a tokenizer of fingerprint {initial.tokenizer[:12]}, "
            f"{settings.tokenizer.out} has {here[:12]}; set tokenizer.out to the former"
        )


if __name__ == "__main__":
    run_command(main)
