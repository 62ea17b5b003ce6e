import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from common.files import atomic_write
from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.launch import free_port, launch_command, launch_environment, losses, only_run, train
from tokenizer.learn.fingerprint import tokenizer_fingerprint
from training.checkpoints.manager import read_state
from training.metrics import read_metrics


def test_two_steps_on_two_processes(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=2, val_every=2, save_every=2)
    result = train(config)
    assert result.returncode == 0, result.stdout + result.stderr
    run = only_run(tmp_path)
    assert re.fullmatch(r"[0-9a-f]{8}", run.name)
    records = read_metrics(run / "metrics.jsonl")
    assert [r["step"] for r in records if "loss" in r] == [1, 2]
    assert [r["step"] for r in records if "val_bits_per_byte" in r] == [0, 2]
    assert result.stdout.count("building ") == 2 and "perplexity" in result.stdout
    assert (run / "loss.png").stat().st_size > 1000
    assert [p.name for p in (run / "checkpoints").glob("step-*")] == ["step-00000002"]
    assert json.loads((run / "run.json").read_text())["processes"] == 2

    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    exported = json.loads((run / "export/config.json").read_text())
    assert not {"data", "tokenizer", "train"} & set(exported)
    model = AutoModelForCausalLM.from_pretrained(run / "export")
    assert AutoConfig.from_pretrained(run / "export").num_hidden_layers == 2
    ids = AutoTokenizer.from_pretrained(run / "export")("let every", return_tensors="pt").input_ids
    assert model(ids).logits.shape == (1, 9, json.loads(config.read_text())["vocab_size"])

    again = train(config)
    assert again.returncode == 0 and f"run {run.name} is finished" in again.stdout


@pytest.mark.slow
def test_numbered_compressed_splits_train_and_a_run_goes_on_in_another_layout(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=3, val_every=3, save_every=1)
    data, layout = tmp_path / "data", ("--set", "data.compress=true", "--set", "data.output_file_bytes=9000")
    manifest = {"input": {"sha256": "b" * 64}, "knobs": {"seed": 7}}
    (tmp_path / "tokenizer/tokenizer_manifest.json").write_text(json.dumps(manifest))
    lines = (data / "train.jsonl").read_bytes().splitlines(keepends=True)
    (data / "train.jsonl").rename(tmp_path / "train.jsonl")
    for number in range(3):
        with atomic_write(data / f"train-{number:05d}-of-00003.jsonl.zst") as file:
            file.write(b"".join(lines[20 * number : 20 * number + 20]))
    first = train(config, *layout, processes=1)
    assert first.returncode == 0, first.stdout + first.stderr
    run = only_run(tmp_path)
    straight = losses(run)
    recorded = json.loads((run / "run.json").read_text())
    assert recorded["tokenizer_origin"]["input_sha256"] == "b" * 64
    assert [note in first.stdout for note in recorded["tokenizer_origin"]["differences"]] == [True, True]

    shutil.rmtree(run / "export")
    shutil.rmtree(run / "checkpoints/step-00000003")
    for path in data.glob("train-*.zst"):
        path.unlink()
    (tmp_path / "train.jsonl").rename(data / "train.jsonl")
    again = train(config, processes=1)
    assert again.returncode == 0 and "at step 2" in again.stdout, again.stdout + again.stderr
    assert "building" not in again.stdout and losses(run) == straight


@pytest.mark.slow
def test_a_checkpoint_of_another_tokenizer_is_refused_with_both_fingerprints(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=2, save_every=1)
    assert train(config, processes=1).returncode == 0
    run = only_run(tmp_path)
    there = json.loads((run / "run.json").read_text())["tokenizer"]
    shutil.rmtree(run / "export")
    tiny_world.write_tokenizer(tmp_path / "tokenizer", marker="other")
    here = tokenizer_fingerprint(tmp_path / "tokenizer")
    result = train(config, processes=1)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert f"its tokenizer fingerprint is {there}, this command's is {here}" in result.stderr


@pytest.mark.slow
def test_a_run_killed_before_its_first_checkpoint_begins_anew(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=2, val_every=2, save_every=2)
    assert train(config, processes=1).returncode == 0
    run = only_run(tmp_path)
    before = (run / "metrics.jsonl").read_text()
    shutil.rmtree(run / "checkpoints")
    assert train(config, processes=1).returncode == 0
    steps = [(r["step"], "val_loss" in r) for r in read_metrics(run / "metrics.jsonl")]
    assert len(steps) == len(before.splitlines()) and steps[0] == (0, True)


@pytest.mark.parametrize(("processes", "missing"), [(1, "data"), (2, "tokenizer")])
def test_what_is_missing_is_listed_once_without_a_traceback(tmp_path, processes, missing):
    config = tiny_world.make_world(tmp_path)
    shutil.rmtree(tmp_path / missing)
    result = train(config, processes=processes, timeout=60)
    assert result.returncode == 2
    assert result.stdout.count("Before training:") == 1
    assert re.search(rf"\[!!\] {missing} +missing: .*\n +-> python ", result.stdout)
    assert "checks failed" in result.stderr and "Traceback" not in result.stdout + result.stderr


def test_wrong_key_is_named_through_the_launcher(tmp_path):
    config = tiny_world.make_world(tmp_path)
    result = train(config, "--set", "train.sequence_length=3", timeout=60)
    assert result.returncode == 2
    assert "unknown key 'train.sequence_length'" in result.stderr and "Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_killed_run_resumes_to_the_straight_one(tmp_path, dtype):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    flags = ["--set", f"dtype={dtype}"]
    for world in (straight, killed):
        tiny_world.make_world(world, max_steps=60, save_every=5, val_every=20, gradient_accumulation_steps=2)
    assert train(straight / "config.json", *flags).returncode == 0

    process = subprocess.Popen(
        launch_command(killed / "config.json", *flags),
        cwd=ROOT,
        env=launch_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline, at = time.monotonic() + 150, random.randint(12, 50)
    while not any(max(losses(run), default=0) >= at for run in killed.glob("runs/*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    run = only_run(killed)
    assert not (run / "export").exists()
    at = max(losses(run))

    resumed = train(killed / "config.json", *flags)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    told = re.search(rf"run {run.name}: .*, resumed at step (\d+)", resumed.stdout)
    assert told
    step = int(told[1])
    assert at - 10 <= step <= at  # the one before may not have been written yet
    assert losses(run) == losses(only_run(straight))
    weights = "export/model.safetensors"
    assert (run / weights).read_bytes() == (only_run(straight) / weights).read_bytes()


@pytest.mark.slow
def test_plain_python_new_runs_and_changed_data(tmp_path):
    config = tiny_world.make_world(tmp_path, save_every=1)
    command = [sys.executable, "train.py", "--config", str(config)]

    def start(*arguments):
        environment = os.environ | {"MASTER_PORT": str(free_port())}
        return subprocess.run(
            command + list(arguments), cwd=ROOT, capture_output=True, text=True, timeout=200, env=environment
        )

    assert start().returncode == 0
    first = only_run(tmp_path)
    assert start("--new").returncode == 0
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == [first.name, f"{first.name}-2"]
    edited = start("--set", "train.learning_rate=0.001")
    assert edited.returncode == 0 and len(list((tmp_path / "runs").iterdir())) == 3

    second = tmp_path / f"runs/{first.name}-2"
    shutil.rmtree(second / "export")
    shutil.rmtree(second / "checkpoints/step-00000004")
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", [tiny_world.document(i) for i in range(50)])
    changed = start()
    assert changed.returncode == 2 and "sha256 of the training split" in changed.stderr
    assert "Traceback" not in changed.stderr


@pytest.mark.slow
def test_a_run_that_diverges_stops_and_saves_nothing_of_it(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=30, save_every=1, warmup_steps=1)
    result = train(config, "--set", "train.learning_rate=1e30", processes=1)
    assert result.returncode == 2
    assert re.search(
        r"step \d+: loss .*gradient norm (nan|inf).*on_spike=rewind|the weights are no longer", result.stderr
    )
    events = [r for r in read_metrics(only_run(tmp_path) / "metrics.jsonl") if r.get("event") == "not_finite"]
    assert not events or set(events[0]["worst_documents"]) <= set(events[0]["documents"])
    assert not (only_run(tmp_path) / "export").exists()


@pytest.mark.slow
def test_two_runs_that_are_started_together_on_one_port_do_not_mix(tmp_path):
    """One of them trains to its end, and the other is told."""
    commands = []
    for name in ("one", "other"):
        config = tiny_world.make_world(tmp_path / name, max_steps=3, run_name=name)
        commands.append(launch_command(config))
    port = commands[0].index("--master_port") + 1
    commands[1][port] = commands[0][port]
    started = [
        subprocess.Popen(
            command, cwd=ROOT, env=launch_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for command in commands
    ]
    outputs = [process.communicate(timeout=250)[0] for process in started]
    statuses = [process.returncode for process in started]
    assert 0 in statuses and any(statuses), outputs
    winner, loser = statuses.index(0), 1 - statuses.index(0)
    assert (tmp_path / ("one", "other")[winner] / "runs" / ("one", "other")[winner] / "finished.json").exists()
    assert re.search("port .* is taken|is that of another run", outputs[loser]) and "Traceback" not in outputs[loser]


@pytest.mark.slow
def test_what_process_0_finds_is_told_once(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=2)
    assert train(config, "--set", "train.run_name=mine").returncode == 0
    result = train(config, "--set", "train.run_name=mine", "--set", "train.seed=9")
    assert result.returncode == 2
    assert "is a run of another configuration" in result.stderr and "Traceback" not in result.stderr


def odd_world(folder: Path, **train) -> Path:
    """Sixty documents of one sentence over and over, and one of other characters, `odd`, in the middle."""
    config = tiny_world.make_world(
        folder, max_steps=180, val_every=180, save_every=5, seq_len=16, learning_rate=0.01, **train
    )
    sentence = "let every finite group act on a compact space then the map is open. "
    documents = [tiny_world.document(i) | {"text": 4 * sentence} for i in range(60)]
    documents[30] |= {"id": "odd", "text": "\u00e9\u03b1\u2208" * 80}
    tiny_world.write_jsonl(folder / "data/train.jsonl", documents)
    return config


@pytest.mark.slow
def test_a_spike_is_logged_with_its_documents_and_skipped_by_going_back(tmp_path):
    config = odd_world(tmp_path / "log", spike_sigmas=3)
    assert train(config, processes=1).returncode == 0
    records = read_metrics(only_run(tmp_path / "log") / "metrics.jsonl")
    spikes = [r for r in records if r.get("event") == "spike"]
    assert spikes and all("odd" in r["documents"] for r in spikes)
    assert any("odd" in r["worst_documents"] for r in spikes) and "expected below" in spikes[0]["message"]

    config = odd_world(tmp_path / "back", spike_sigmas=3, on_spike="rewind", micro_batch_size=1)
    result = train(config, processes=2, timeout=280)
    assert result.returncode == 0, result.stdout + result.stderr
    run = only_run(tmp_path / "back")
    records = read_metrics(run / "metrics.jsonl")
    (rewind, *_) = (r for r in records if r.get("event") == "rewind")
    assert rewind["skipped_sequences"] > 0 and "are done again, on the data after them" in rewind["message"]
    assert list(losses(run)) == list(range(1, 181))


@pytest.mark.slow
def test_steps_without_an_answer_have_no_loss_and_those_with_one_are_no_spikes(tmp_path):
    """Answers in a few windows: a window is a step, and most steps learn nothing."""
    config = tiny_world.make_world(
        tmp_path,
        **{"learn_from": "answers", "on_spike": "rewind", "spike_sigmas": 6, "max_steps": 60, "val_every": 30},
        **{"save_every": 10, "micro_batch_size": 1, "gradient_accumulation_steps": 1, "val_sequences": 1},
    )
    records = [tiny_world.document(number) for number in range(60)]
    for record in records[::3]:
        record["answers"] = [[5, 200]]
    for record in records:
        record.setdefault("answers", [])
    tiny_world.write_jsonl(tmp_path / "data/train.jsonl", records)
    tiny_world.write_jsonl(tmp_path / "data/val.jsonl", [record for record in records[:9] if not record["answers"]])
    result = train(config, processes=1)
    assert result.returncode == 0, result.stdout + result.stderr
    run = only_run(tmp_path)
    lines = read_metrics(run / "metrics.jsonl")
    assert [line["event"] for line in lines if "event" in line] == []
    steps = [line for line in lines if "loss" in line]
    learnt = [line for line in steps if line["loss"] is not None]
    assert 5 < len(learnt) < len(steps) - 20 and all(line["loss"] > 1 for line in learnt)
    assert {line["grad_norm"] for line in steps if line["loss"] is None} == {None}
    state = read_state(run / "checkpoints/step-00000060")
    assert state.recent_losses == [line["loss"] for line in learnt]
    assert "loss -  lr" in result.stdout and "loss 0.0000" not in result.stdout
    # Of a validation whose windows hold none, no best is taken.
    validations = [line for line in lines if "val_loss" in line]
    assert [line["val_tokens"] for line in validations] == [0, 0, 0]
    assert {line["val_bits_per_byte"] for line in validations} == {None} and state.best_step is None
    assert "windows of train.val_sequences hold no answers" in result.stdout


@pytest.mark.slow
def test_a_run_that_diverges_goes_back_three_times_and_gives_up(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=30, save_every=1, val_every=30, warmup_steps=20)
    result = train(config, "--set", "train.on_spike=rewind", "--set", "train.learning_rate=1e25", processes=1)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert re.search("went back to .* 3 times|no checkpoint to go back to|no longer finite", result.stderr), (
        result.stderr
    )


@pytest.mark.slow
def test_it_stops_early_and_exports_the_best_validation(tmp_path):
    config = tiny_world.make_world(
        tmp_path, max_steps=400, val_every=5, save_every=100, learning_rate=0.3, early_stop_patience=3, keep_best=True
    )
    result = train(config, processes=1)
    assert result.returncode == 0, result.stdout + result.stderr
    run = only_run(tmp_path)
    records = read_metrics(run / "metrics.jsonl")
    bits = {r["step"]: r["val_bits_per_byte"] for r in records if "val_bits_per_byte" in r}
    best, last = min(bits, key=bits.__getitem__), max(bits)
    assert last == best + 15 < 400 and f"export: step-{best:08d}, the best validation" in result.stdout
    assert (run / f"checkpoints/step-{best:08d}").exists()
    (categories,) = (r["val_by_category"] for r in records if "val_by_category" in r)
    tokens = sum(category["tokens"] for category in categories.values())
    total = sum(category["bits_per_byte"] * category["tokens"] for category in categories.values()) / tokens
    assert total == pytest.approx(bits[best], rel=0.02)
    again = train(config, processes=1)
    assert f"run {run.name} is finished" in again.stdout

    shutil.rmtree(run / "checkpoints" / f"step-{best:08d}")
    shutil.rmtree(run / "export")
    ended = train(config, processes=1)
    assert ended.returncode == 0 and "the last step is exported instead of the best" in ended.stdout, ended.stderr


@pytest.mark.slow
def test_another_number_of_processes_goes_on_with_the_same_data(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=12, save_every=6, val_every=6, gradient_accumulation_steps=1)
    assert train(config).returncode == 0
    run = only_run(tmp_path)
    straight, validations = losses(run), len(read_metrics(run / "metrics.jsonl"))
    shutil.rmtree(run / "export")
    shutil.rmtree(run / "checkpoints/step-00000012")
    refused = train(config, "--resume", str(run), processes=1)
    assert refused.returncode == 2 and "deepspeed.train_batch_size: 4 there, 2 here" in refused.stderr
    ended = train(config, "--resume", str(run), "--set", "train.gradient_accumulation_steps=2", processes=1)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "made by 2 process(es): sharing it out anew for 1" in ended.stdout
    assert not list((run / "checkpoints").glob("*.universal"))
    ours = losses(run)
    assert list(ours) == list(straight) and [ours[s] for s in range(1, 7)] == [straight[s] for s in range(1, 7)]
    assert [ours[s] for s in range(7, 13)] == pytest.approx([straight[s] for s in range(7, 13)], rel=1e-5)
    assert len(read_metrics(run / "metrics.jsonl")) == validations + 1  # the line that says that it went on


@pytest.mark.slow
def test_a_truncated_checkpoint_is_passed_over(tmp_path):
    config = tiny_world.make_world(tmp_path, max_steps=4, save_every=1)
    assert train(config, processes=1).returncode == 0
    run = only_run(tmp_path)
    straight = losses(run)
    shutil.rmtree(run / "export")
    os.truncate(run / "checkpoints/step-00000004/mp_rank_00_model_states.pt", 1000)
    again = train(config, processes=1)
    assert again.returncode == 0 and re.search(r"has 1,000 bytes of [\d,]+; passed over", again.stdout)
    assert "resumed at step 3" in again.stdout and losses(run) == straight
