import math
from dataclasses import replace
from typing import cast

import pytest
import torch

from common.settings.load import load_settings
from tests.helpers import tiny_world
from tokenizer.cache.encoding import token_byte_lengths
from tokenizer.cache.ensure import ensure_token_cache
from tokenizer.cache.plan import Split
from tokenizer.cache.token_file import READ_ONLY, TOKEN_ID
from training.checkpoints.manager import State
from training.collectives import Control
from training.run_folder.preflight import find_splits
from training.validation import Validation, after_validation, figures


class Told:
    """One of some processes, whose sums and lists are kept for the test to put together."""

    def __init__(self, rank=0, processes=1):
        self.rank, self.processes = rank, processes
        self.gathered = []

    def add(self, numbers):
        return numbers

    def gather(self, value):
        self.gathered.append(value)
        return [value]

    def told_by_first(self, function):
        return function()


class Model:
    """Losses that depend on the tokens alone."""

    def token_losses(self, tokens):
        return (tokens[:, 1:] * 31 + tokens[:, :-1] * 17) % 101 / 7.0 + 0.1


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    config = tiny_world.make_world(folder)
    records = [tiny_world.document(i) | {"categories": [name, "cs.LG"]} for i, name in enumerate(["math.GR"] * 4)]
    records[1]["categories"], records[2]["categories"] = ["hep-th"], []
    tiny_world.write_jsonl(folder / "data/val.jsonl", records)
    settings = load_settings(config)
    return settings, ensure_token_cache(find_splits(settings)["val"], folder / "tokenizer", settings), folder


def validation(world, control, count=None, seed=0, batch_size=3):
    settings, cache, folder = world
    lengths = torch.from_numpy(token_byte_lengths(folder / "tokenizer"))
    return Validation(cache, settings.train.seq_len, count, seed, batch_size, lengths, control)


def nothing():
    pass


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_any_number_of_processes_gives_the_same_sums(world, processes):
    alone = validation(world, Told())
    calls = []
    parts = []
    for rank in range(processes):
        heard: list[int] = []
        parts.append(validation(world, Told(rank, processes)).losses(Model(), lambda heard=heard: heard.append(1)))
        calls.append(len(heard))
    assert torch.equal(sum(parts), alone.losses(Model(), nothing))
    assert len(set(calls)) == 1 and calls[0] == math.ceil(len(alone.batches) / processes)


def test_the_part_is_chosen_by_the_seed_and_no_larger_than_the_split(world):
    whole = validation(world, Told())
    assert sorted(whole.windows) == list(range(whole.data.size))
    first, again, other = (validation(world, Told(), count=5, seed=seed) for seed in (0, 0, 1))
    assert first.windows == again.windows == whole.windows[:5] and first.windows != other.windows
    assert validation(world, Told(), count=10**9).windows == whole.windows


def test_the_record_is_that_of_the_losses(world):
    made = validation(world, Told(), count=4)
    record = made.record(Model(), 7, nothing)
    tokens = torch.stack([torch.from_numpy(made.data.window(window)) for window in made.windows])
    losses = Model().token_losses(tokens).double()
    size = made.byte_lengths[tokens[:, 1:]].sum().item()
    assert record["step"] == 7 and record["val_tokens"] == losses.numel()
    assert record["val_loss"] == pytest.approx(losses.mean().item(), rel=1e-12)
    assert record["val_perplexity"] == pytest.approx(math.exp(record["val_loss"]))
    assert record["val_bits_per_byte"] == pytest.approx(losses.sum().item() / math.log(2) / size)


def test_categories_are_the_documents_primary_ones_and_add_up(world):
    made = validation(world, Told())
    categories = made.by_category(Model(), nothing)
    assert set(categories) == {"math.GR", "hep-th", "none"} and next(iter(categories)) == "math.GR"
    record = made.record(Model(), 0, nothing)
    assert sum(found["tokens"] for found in categories.values()) == record["val_tokens"]
    nats = sum(found["loss"] * found["tokens"] for found in categories.values())
    assert nats == pytest.approx(record["val_loss"] * record["val_tokens"])
    # hep-th is the second document: its tokens, by hand.
    document = made.cache.document_at(made.cache.document_at(0).stop)
    predicted = range(max(1, document.start), min(document.stop, made.data.size * 32 + 1))
    assert categories["hep-th"]["tokens"] == len(predicted)


def test_each_process_gathers_the_batches_it_read(world):
    alone = Told()
    validation(world, alone).by_category(Model(), nothing)
    shares = []
    for rank in range(3):
        control = Told(rank, 3)
        validation(world, control).by_category(Model(), nothing)
        shares += control.gathered[0]
    assert sorted(shares) == sorted(alone.gathered[0])


def test_the_best_so_far_and_how_many_were_not_better():
    state = State(
        step=10, processes=1, sequences_per_step=1, skipped=0, tokenizer="t", train_sha256="s", val_sha256="v"
    )
    state = after_validation(state, 2.0, 0.1)
    assert (state.best_step, state.best_bits_per_byte, state.validations_since_best, state.validated) == (
        10,
        2,
        0,
        True,
    )
    state = after_validation(replace(state, step=20), 1.95, 0.1)
    assert (state.best_step, state.validations_since_best) == (10, 1)
    state = after_validation(replace(state, step=30), math.nan, 0.1)
    assert (state.best_step, state.validations_since_best) == (10, 2)
    state = after_validation(replace(state, step=35), None, 0.1)  # nothing was measured
    assert (state.best_step, state.best_bits_per_byte, state.validations_since_best, state.validated) == (
        *(10, 2, 2),
        True,
    )
    state = after_validation(replace(state, step=40), 1.8, 0.1)
    assert (state.best_step, state.best_bits_per_byte, state.validations_since_best) == (40, 1.8, 0)


def test_where_nothing_counts_there_is_no_loss():
    assert figures(0.0, 0, 0) == {"loss": None, "perplexity": None, "bits_per_byte": None, "tokens": 0}


def test_answers_alone_are_measured_where_they_alone_count(world, tmp_path):
    settings, _, folder = world
    text = str(tiny_world.document(0)["text"])
    records = [tiny_world.document(i) | {"text": text, "answers": [[100, 200]]} for i in range(4)]
    split = Split("val", (tiny_world.write_jsonl(tmp_path / "val.jsonl", records),))
    cache = ensure_token_cache(split, folder / "tokenizer", settings)
    lengths = torch.from_numpy(token_byte_lengths(folder / "tokenizer"))
    control = cast(Control, Told())
    answers, everything = (
        Validation(cache, 32, None, 0, 3, lengths, control, answers_only) for answers_only in (True, False)
    )
    record, whole = (part.record(Model(), 0, nothing, "x_") for part in (answers, everything))
    assert record["x_tokens"] == sum(part.data.answers(0, part.data.size) for part in [answers]) < whole["x_tokens"]
    # By hand: the losses of all windows, and the marks of the row.
    row = cache.tokens[:]
    ids, learnt = torch.from_numpy((row & TOKEN_ID).astype("int64")), (row & READ_ONLY) == 0
    count = answers.data.size * 32
    losses = Model().token_losses(ids[None])[0, :count].double().numpy()
    assert record["x_loss"] == pytest.approx(losses[learnt[1 : count + 1]].mean())
    assert answers.by_category(Model(), nothing)["math.GR"]["tokens"] == record["x_tokens"]
