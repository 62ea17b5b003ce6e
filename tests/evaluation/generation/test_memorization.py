"""Runs in common with training: against the definition, whatever the blocks, shards and workers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from common.settings.load import load_settings
from evaluation.generation import memorization
from evaluation.generation.memorization import MIN_TOKENS, longest_matches, ngram_hashes
from tests.helpers import tiny_world
from tokenizer.cache import plan as cache_plan
from tokenizer.cache.encoding import load_encoder
from tokenizer.cache.ensure import ensure_token_cache
from tokenizer.cache.plan import dataset_split


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The token cache of a tiny world, in several shards."""
    monkeypatch.setattr(cache_plan, "MAX_SHARD_BYTES", 4096)
    monkeypatch.setattr(cache_plan, "MIN_SHARD_BYTES", 4096)
    settings = load_settings(tiny_world.make_world(tmp_path))
    return ensure_token_cache(dataset_split(settings, "train"), tmp_path / "tokenizer", settings)


def naive(text: list[int], training: list[int]) -> tuple[int, list[int]]:
    """Longest run in common, and for each token the longest run that it is part of, by the definition."""
    covered, longest = [0] * len(text), 0
    for start in range(len(text)):
        for place in range(len(training)):
            length = 0
            while (
                start + length < len(text)
                and place + length < len(training)
                and text[start + length] == training[place + length]
            ):
                length += 1
            if length >= MIN_TOKENS:
                longest = max(longest, length)
                for at in range(start, start + length):
                    covered[at] = max(covered[at], length)
    return longest, covered


def texts_of(cache, count: int = 12) -> list[np.ndarray]:
    """Pieces of training put together with noise, and texts that have none."""
    draw, row = random.Random(5), cache.tokens[:]
    texts = []
    for number in range(count):
        parts = []
        for _ in range(draw.randint(0, 3)):
            start = draw.randrange(len(row) - 60)
            parts.append(row[start : start + draw.choice([5, MIN_TOKENS - 1, MIN_TOKENS, 40])])
            parts.append(np.array([draw.randrange(4, 300) for _ in range(draw.randint(0, 6))], np.uint32))
        # A text has no end of text within.
        texts.append(np.concatenate([*parts, np.full(number % 3, 9, np.uint32)]))
        texts[-1] = texts[-1][texts[-1] != 2]
    return [*texts, np.empty(0, np.uint32), np.full(4, 7, np.uint32)]


def test_the_longest_runs_are_those_of_the_definition(cache):
    texts, row = texts_of(cache), cache.tokens[:].tolist()
    found = longest_matches(texts, cache, 1)
    assert any(match.tokens >= 40 for match in found) and any(match.tokens == 0 for match in found)
    for text, match in zip(texts, found, strict=True):
        longest, covered = naive(text.tolist(), row)
        assert (match.tokens, match.covered.tolist()) == (longest, covered)
        if longest:
            assert row[match.place : match.place + longest] == text[match.start : match.start + longest].tolist()


@pytest.mark.parametrize(("block", "workers"), [(7, 1), (64, 1), (1000, 3)])
def test_blocks_and_workers_change_nothing(cache, monkeypatch, block, workers):
    texts = texts_of(cache)
    expected = longest_matches(texts, cache, 1)
    monkeypatch.setattr(memorization, "BLOCK", block)
    for one, other in zip(longest_matches(texts, cache, workers), expected, strict=True):
        assert (one.tokens, one.start, one.place) == (other.tokens, other.start, other.place)
        assert np.array_equal(one.covered, other.covered)


def test_a_document_is_found_whole_and_no_further_than_its_end(cache, tmp_path):
    document = cache.document_at(len(cache.tokens) // 2)
    text = str(cache.record(document)["text"])
    encoder = load_encoder(tmp_path / "tokenizer", cache.tokenizer)
    following = cache.tokens[document.stop : document.stop + 30]
    whole = encoder.encode([text])[0]
    (match,) = longest_matches([np.concatenate([whole, following])], cache, 1)
    assert (match.tokens, match.place) == (len(whole), document.start)


def test_marks_of_answers_do_not_hide_a_copy(cache, monkeypatch):
    row = cache.tokens[:]
    text = row[10:60]
    monkeypatch.setattr(
        "evaluation.generation.memorization.TokenRow.__getitem__", lambda self, part: _marked(self, part)
    )
    (match,) = longest_matches([text], cache, 1)
    assert match.tokens >= 50


def _marked(row, part):
    """The real tokens, every third marked as read only."""
    start, stop, _ = part.indices(len(row))
    found = np.memmap(row.paths[0], "<u4", "r", 4096, (row.starts[1],))[start:stop].copy()
    found[::3] |= 1 << 31
    return found


def test_hashes_tell_n_grams_apart_and_depend_on_nothing_else():
    row = np.random.default_rng(0).integers(0, 1000, 5000).astype(np.uint64)
    hashes = ngram_hashes(row)
    assert len(hashes) == len(row) - MIN_TOKENS + 1 == len(np.unique(hashes))
    assert np.array_equal(hashes[100:], ngram_hashes(row[100:])) and len(ngram_hashes(row[: MIN_TOKENS - 1])) == 0
    swapped = row[:MIN_TOKENS].copy()
    swapped[[2, 9]] = swapped[[9, 2]]
    assert ngram_hashes(swapped)[0] != hashes[0]
