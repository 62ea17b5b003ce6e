"""Splits cut into small shards, and the token caches that are made of them."""

import itertools

from common.files import atomic_write
from common.settings.load import load_settings
from tests.helpers import tiny_world
from tokenizer.cache import plan as cache_plan
from tokenizer.cache.ensure import ensure_token_cache
from tokenizer.cache.plan import dataset_split


def small_shards(tmp_path, monkeypatch):
    """A tiny world whose train split of 27 kB is cut into shards of 4 kB."""
    monkeypatch.setattr(cache_plan, "MAX_SHARD_BYTES", 4096)
    monkeypatch.setattr(cache_plan, "MIN_SHARD_BYTES", 4096)
    return load_settings(tiny_world.make_world(tmp_path)), tmp_path


def build(world, *changes, **options):
    settings, folder = world
    settings = load_settings(folder / "config.json", changes) if changes else settings
    return ensure_token_cache(dataset_split(settings, "train"), folder / "tokenizer", settings, **options)


def write_texts(world, *texts):
    tiny_world.write_jsonl(world[1] / "data/train.jsonl", [tiny_world.document(0) | {"text": text} for text in texts])


def lines(world):
    return (world[1] / "data/train.jsonl").read_bytes().splitlines(keepends=True)


def lay_out(world, compressed, parts):
    """Replace train.jsonl by numbered or compressed files of the same lines."""
    data, all_lines = world[1] / "data", lines(world)
    (data / "train.jsonl").unlink()
    for number in range(parts):
        name = "train" if parts == 1 else f"train-{number:05d}-of-{parts:05d}"
        with atomic_write(data / f"{name}.jsonl{'.zst' if compressed else ''}") as file:
            part = all_lines[number * len(all_lines) // parts : (number + 1) * len(all_lines) // parts]
            file.write(b"".join(part))


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def documents(cache):
    """The tokens of each document, by the offsets of the shards."""
    found = []
    for shard, base in enumerate(cache.tokens.starts[:-1]):
        pairs = itertools.pairwise(cache.offsets(shard).tolist())
        found += [cache.tokens[base + start : base + stop].tolist() for start, stop in pairs]
    return found
