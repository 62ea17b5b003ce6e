"""The page of a run: figures checked by hand, warnings by their rules, runs of every age and in every state."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path

import numpy as np
import pytest

from common.errors import UserError
from evaluation.report_run import main
from evaluation.run_data.data import read_run
from evaluation.run_data.summary import summarize, warnings
from reports.curves import envelope, running_geometric_mean, running_mean, thin, window
from tests.helpers.run_factory import make_run

PNG = b"\x89PNG\r\n\x1a\n"


def report(folder: Path) -> str:
    """The text of the page that the script writes for a run."""
    assert main(["--run", str(folder)]) == 0
    return text_of((folder / "report" / "report.html").read_text(encoding="utf-8"))


def text_of(page: str) -> str:
    page = re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    page = re.sub(r"</t[dh]>", " | ", re.sub(r"</tr>|</p>|</h\d>", "\n", page))
    return html.unescape(re.sub(r"<[^>]+>", "", page))


def change(folder: Path, edit) -> Path:
    """Rewrite each record of metrics.jsonl by `edit`."""
    path = folder / "metrics.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        edit(record)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def write_metrics(folder: Path, records: list[dict]) -> Path:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def test_the_figures_of_a_small_run_by_hand(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=4)
    steps = [
        {"step": 2, "loss": 5.0, "tokens": 200, "tokens_per_second": 50.0, "step_seconds": 2.0, "mfu": 0.2},
        {"step": 4, "loss": 3.0, "tokens": 400, "tokens_per_second": 25.0, "step_seconds": 4.0, "mfu": 0.1},
    ]
    validations = [
        {"step": 0, "val_loss": 9.0, "val_perplexity": 8103.1, "val_bits_per_byte": 3.7, "val_tokens": 10},
        {"step": 2, "val_loss": 4.0, "val_perplexity": 54.6, "val_bits_per_byte": 1.6, "val_tokens": 10},
        {"step": 4, "val_loss": 4.1, "val_perplexity": 60.3, "val_bits_per_byte": 1.7, "val_tokens": 10},
    ]
    found = summarize(read_run(write_metrics(folder, [*steps, *validations])))
    assert (found["steps"], found["planned_steps"], found["tokens"]) == (4, 4, 400)
    assert (found["first_bits_per_byte"], found["best_bits_per_byte"], found["final_bits_per_byte"]) == (3.7, 1.6, 1.7)
    assert (found["best_step"], found["best_perplexity"], found["final_perplexity"]) == (2, 54.6, 60.3)
    # Two logged steps of two steps each: 4 s and 8 s.
    assert found["hours"] == pytest.approx(12 / 3600)
    assert found["tokens_per_second"] == pytest.approx(400 / 12)
    assert found["mfu"] == pytest.approx((0.2 * 4 + 0.1 * 8) / 12)
    assert found["final_loss"] == 3.0


def test_time_of_an_older_run_is_reckoned_from_its_speed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=3, old=True)
    records = [{"step": s, "loss": 2.0, "tokens": 100 * s, "tokens_per_second": 20.0 * s} for s in (1, 2, 3)]
    found = summarize(read_run(write_metrics(folder, records)))
    assert found["hours"] == pytest.approx((100 / 20 + 100 / 40 + 100 / 60) / 3600)
    assert found["spikes"] is None and found["data_wait"] is None and found["best_step"] is None


def test_the_page_tells_what_the_run_is_and_what_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    events = (
        {"step": 60, "event": "spike", "loss": 7.25, "message": "<loss> is high", "documents": ["2401.00001"] * 30},
        {"step": 60, "event": "rewind", "message": "back to step 50"},
    )
    folder = make_run(tmp_path / "run", steps=200, events=events)
    (folder / "results.json").write_text('{"proofs": {"accuracy": 0.25}}')
    shown = report(folder)
    for line in (
        "state | finished",
        "tokenizer | aaaa1111, 4,096 entries",
        "tokens a step | 4,096 (micro-batch 8 x accumulation 1 x length 256 x processes 2)",
        "model | 5,261,568 parameters in float32: layers 4",
        "device | 2 x NVIDIA A100",
        "git commit | 0123456789abcdef",
        "versions | python 3.11.2, torch 2.13.0",
        "gradient checkpointing | auto",
        "steps | 200 of 200 (100.0%)",
        "tokens seen | 819k",
        "perplexity 10.74 (tokenizer aaaa1111, 4,096 entries), at step 200",
        "GPU utilization, mean | 97%",
        "memory, most | 5.0 GiB",
        "restarts | 0",
        "loss spikes | 1",
        "Loss spikes: 1, at step 60 (rule: any).",
        "proofs.accuracy | 0.25",
        "perplexity (tokenizer aaaa1111, 4,096 entries) | tokens |",
        "math.AG | 0.8244 | 7.39 | 4,096",
        "60 | spike | 7.2500 | <loss> is high | " + ", ".join(["2401.00001"] * 8) + " and 22 more",
        'train.attention = "sdpa"',
    ):
        assert line in shown
    page = (folder / "report" / "report.html").read_text()
    names = ["loss", "validation", "optimizer", "throughput"]
    assert [name for name in names if (folder / "report" / f"{name}.png").read_bytes().startswith(PNG)] == names
    embedded = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(image) for image in embedded] == [
        (folder / "report" / f"{name}.png").read_bytes() for name in names
    ]
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    written = json.loads((folder / "report" / "summary.json").read_text())
    assert written["best_step"] == 200 and written["tokenizer"] == "tokenizer aaaa1111, 4,096 entries"
    assert "warning: Loss spikes: 1" in capsys.readouterr().out


def test_a_run_in_progress_cut_in_the_middle_of_a_line(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=120, planned=400)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "lo')
    shown = report(folder)
    assert "state | unfinished" in shown and "steps | 120 of 400 (30.0%)" in shown


def test_a_run_that_is_being_trained(tmp_path: Path) -> None:
    import fcntl

    folder = make_run(tmp_path / "run", steps=10, planned=40)
    with (folder / "lock").open("w") as lock:
        lock.write('{"pid": 1, "host": "elsewhere"}')
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert read_run(folder).state == "training now"
    assert read_run(folder).state == "unfinished"


def test_an_older_run(tmp_path: Path) -> None:
    shown = report(make_run(tmp_path / "run", steps=50, old=True))
    assert "state | finished" in shown and "loss spikes | not looked for" in shown and "data wait, mean | –" in shown


def test_a_run_that_stopped_early(tmp_path: Path) -> None:
    stop = ({"step": 80, "event": "early_stop", "message": "no gain"},)
    folder = make_run(tmp_path / "run", steps=80, planned=200, events=stop, finished=True)
    assert "state | stopped early" in report(folder)


def test_a_run_without_validation_on_a_cpu(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=30, val_every=0, cuda=False)
    shown = report(folder)
    assert "best validation | none" in shown and "MFU, mean | – (the device's peak is not known)" in shown
    assert not (folder / "report" / "validation.png").exists()


@pytest.mark.parametrize("val_every", [0, 50])
def test_zero_steps_are_told(tmp_path: Path, val_every: int, capsys: pytest.CaptureFixture) -> None:
    folder = make_run(tmp_path / "run", steps=0, planned=10, val_every=val_every)
    assert "No step was logged yet" in report(folder)
    assert "unfinished, no step was logged yet" in capsys.readouterr().out
    (folder / "metrics.jsonl").unlink()
    assert "No step was logged yet" in report(folder)


def test_one_step_and_losses_that_are_not_finite(tmp_path: Path) -> None:
    assert "steps | 1 of 10" in report(make_run(tmp_path / "one", steps=1, planned=10, val_every=0))
    folder = make_run(tmp_path / "null", steps=40)
    blank = dict.fromkeys(("loss", "grad_norm", "val_loss", "val_perplexity", "val_bits_per_byte"))
    change(folder, lambda record: record.update({key: None for key in blank if key in record}))
    assert "training loss | –" in report(folder)


def test_steps_that_learn_nothing_count_in_no_figure(tmp_path: Path) -> None:
    """`train.learn_from=answers` where answers are rare; runs of earlier days noted a loss of 0 there."""
    for nothing in (None, 0.0):

        def rare(record: dict, nothing=nothing) -> None:
            if "loss" in record and record["step"] % 20:
                record |= {"loss": nothing, "grad_norm": None}
            elif record["step"] > 200 and "val_loss" in record:
                record["val_loss"] += 2

        folder = change(make_run(tmp_path / str(nothing), steps=400), rare)
        run = read_run(folder)
        assert np.isfinite(run.steps["loss"]).sum() == 20 and run.steps["step"][-1] == 400
        assert summarize(run)["final_loss"] == pytest.approx(run.steps["loss"][-1])
        (found,) = warnings(run)
        assert re.search(r"the training loss went from \d+\.\d+ to \d+\.\d+ ", found)
        assert "training loss, last | –" not in report(folder)


def test_of_two_records_of_a_step_the_later_counts(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", steps=3, val_every=0, categories=False)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 2, "loss": 0.5}\n')
    run = read_run(folder)
    assert run.steps["step"].tolist() == [1, 2, 3] and run.steps["loss"][1] == 0.5


def test_restarts_and_their_changes(tmp_path: Path) -> None:
    again = {"time": "2026-01-03T00:00:00Z", "step": 50, "processes": 4, "device": "NVIDIA H200"}
    starts = [{"time": "2026-01-02T00:00:00Z", "step": 0}, again | {"changed": {"train.learning_rate": [0.1, 0.2]}}]
    shown = report(make_run(tmp_path / "run", steps=60, starts=starts))
    assert "restarts | 1" in shown
    assert "2026-01-03T00:00:00Z | 50 | 4 x NVIDIA H200 | unknown | train.learning_rate: 0.1 → 0.2" in shown


def test_no_warning_for_a_good_run(tmp_path: Path) -> None:
    assert warnings(read_run(make_run(tmp_path / "run", steps=300))) == []


def test_validation_that_leaves_training(tmp_path: Path) -> None:
    def worse(record: dict) -> None:
        if "val_loss" in record and record["step"] > 200:
            record["val_loss"] += 0.01 * (record["step"] - 200)

    folder = change(make_run(tmp_path / "run", steps=400), worse)
    (found,) = warnings(read_run(folder))
    assert "Validation leaves training" in found and "at step 200" in found and "more than 1%" in found
    # Where training gets worse as well, they do not part.
    change(folder, lambda record: record.update(loss=record["loss"] + record["step"] / 50 if "loss" in record else 0))
    assert not any("leaves training" in text for text in warnings(read_run(folder)))


def test_gradient_norms_that_do_not_settle(tmp_path: Path) -> None:
    def growing(record: dict) -> None:
        if "grad_norm" in record:
            record["grad_norm"] = 0.001 * record["step"]

    (found,) = warnings(read_run(change(make_run(tmp_path / "grows", steps=400), growing)))
    assert "The gradient norm grows" in found

    def jumping(record: dict) -> None:
        if "grad_norm" in record:
            record["grad_norm"] = 9.0 if record["step"] % 10 == 0 else 0.3

    (found,) = warnings(read_run(change(make_run(tmp_path / "jumps", steps=400), jumping)))
    assert "does not settle" in found and "above 9, the median is 0.3" in found


def test_waiting_for_data_is_weighed_by_time(tmp_path: Path) -> None:
    def wait(share: float):
        return lambda record: record.update(data_wait=share) if "data_wait" in record else None

    folder = change(make_run(tmp_path / "run", steps=50), wait(0.0101))
    assert warnings(read_run(folder)) == ["Steps wait for data 1.0% of their time (rule: more than 1%)."]
    assert warnings(read_run(change(folder, wait(0.0099)))) == []


def test_the_newest_run_is_the_default(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    import os

    for age, name in ((100, "old"), (10, "new"), (50, "middle")):
        folder = make_run(tmp_path / name, steps=20)
        for file in folder.iterdir():
            os.utime(file, (1e9 - age, 1e9 - age))
    assert main(["--set", f"train.runs={tmp_path}", "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.startswith("run new: finished")
    assert main(["--run", "middle", "--set", f"train.runs={tmp_path}"]) == 0
    assert (tmp_path / "middle" / "report" / "report.html").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "run.json").unlink(), r"run: not a run, it has no run\.json; name a folder"),
        (lambda run: (run / "run.json").write_text("{"), r"run\.json: cannot be read .*; restore it"),
        (lambda run: (run / "run.json").write_text("[]"), r"run\.json: expected a JSON object, found list"),
        (lambda run: (run / "run.json").write_text("{}"), r"run\.json: has no configuration under 'identity'"),
        (lambda run: (run / "metrics.jsonl").write_text("x\n"), r"metrics\.jsonl:1: not a line of JSON .*delete"),
        (lambda run: (run / "metrics.jsonl").write_text("3\n"), r"metrics\.jsonl:1: not a record of a step .*delete"),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\n"), r"metrics\.jsonl:1: not a line of JSON .*delete"),
        (
            lambda run: (run / "metrics.jsonl").write_text('{"step": 7, "loss": "low"}\n'),
            r"metrics\.jsonl: step 7 has \"low\" as 'loss', expected a number; delete that line",
        ),
        (lambda run: (run / "results.json").write_text("{"), r"results\.json: cannot be read .*evaluate again"),
        (lambda run: (run / "finished.json").write_text("{"), r"finished\.json: cannot be read .*delete it"),
    ],
)
def test_what_is_damaged_is_named(tmp_path: Path, damage, message: str) -> None:
    folder = make_run(tmp_path / "run", steps=3)
    damage(folder)
    with pytest.raises(UserError, match=message):
        main(["--run", str(folder)])


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run in it; train one first"):
        main(["--set", f"train.runs={tmp_path}"])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        main(["--run", str(tmp_path / "nowhere")])


def test_smoothing() -> None:
    values = np.array([4.0, 2.0, np.nan, 6.0])
    assert running_mean(values, 1).tolist()[:2] == [4.0, 2.0] and np.isnan(running_mean(values, 1)[2])
    line = np.arange(1.0, 101.0)
    smooth = running_mean(line, 5)
    # A straight line stays one, but for its end: the mean of the last five.
    assert np.allclose(smooth[:96], line[:96]) and smooth[-1] == pytest.approx(98.0)
    powers = 10.0 ** np.arange(100)
    assert running_geometric_mean(powers, 3)[-1] == pytest.approx(1e98)
    assert running_mean(np.array([]), 3).tolist() == []
    assert [window(count) for count in (0, 19, 100, 1000, 33_000)] == [1, 1, 5, 50, 100]


def test_thinning_keeps_ends_and_spikes() -> None:
    x, y = np.arange(33_000.0), np.zeros(33_000)
    y[12_345], y[20_000] = 9.0, -3.0
    places, low, high = envelope(x, y, bins=100)
    assert len(places) == 100 and high.max() == 9.0 and low.min() == -3.0
    assert places[int(high.argmax())] <= 12_345 < places[int(high.argmax()) + 1]
    short, _ = thin(x, y, points=50)
    assert len(short) == 50 and (short[0], short[-1]) == (0.0, 32_999.0)
    assert thin(x[:10], y[:10], points=50)[0].tolist() == x[:10].tolist()
    assert [len(part) for part in envelope(x[:0], y[:0])] == [0, 0, 0]


def test_forgetting_is_drawn_told_and_warned_of(tmp_path: Path) -> None:
    forgotten = make_run(tmp_path / "forgotten", forgetting=0.4)
    kept = make_run(tmp_path / "kept", forgetting=0.01)
    text = report(forgotten)
    assert "Forgetting: pretraining's validation went from" in text and "20.0% up" in text
    assert "pretraining's validation | " in text and "+20.0% bits per byte" in text
    text = report(kept)
    assert "+0.5% bits per byte" in text and "Forgetting" not in text
    assert "pretraining's" not in report(make_run(tmp_path / "plain"))
