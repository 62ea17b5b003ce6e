"""What a token cache is made of: the split's files, the tokenizer, the size of the shards."""

import re
from pathlib import Path

import pytest

from common.errors import UserError
from common.settings.load import load_settings
from tests.helpers.tokenizer.token_caches import build, lay_out, small_shards
from tokenizer.cache import plan as cache_plan
from tokenizer.cache.plan import Plan, dataset_split, file_split


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


def test_missing_empty_incomplete_and_ambiguous_splits_are_named(world):
    _, folder = world
    source = folder / "data/train.jsonl"
    whole = source.read_bytes()
    for nothing in (b"", b"\n\n \n"):
        source.write_bytes(nothing)
        with pytest.raises(UserError, match=r"no documents; run python data_prep/prepare_dataset\.py"):
            build(world)
    source.unlink()
    with pytest.raises(UserError, match=r"no such file.*make it with python data_prep/prepare_dataset\.py"):
        build(world)
    source.write_bytes(whole)
    lay_out(world, False, 4)
    with pytest.raises(UserError, match=r"the split lies there as train-00000-of-00004\.jsonl \.\.\.; without --input"):
        file_split(source)
    (folder / "data/train-00002-of-00004.jsonl").unlink()
    with pytest.raises(UserError, match=r"3 files of train-\*-of-00004.* 4 belong to it; missing: train-00002-of-0000"):
        build(world)
    source.write_bytes(whole)
    with pytest.raises(UserError, match=r"in 2 forms, train\.jsonl and train-\*-of-00004\.jsonl; remove"):
        build(world)
    assert file_split(source).name == "train"


def test_a_tokenizer_that_does_not_fit_the_configuration_is_refused_before_anything_is_made(world):
    with pytest.raises(UserError, match=r"has 36\d entries, the configuration's vocab_size is 500; train"):
        build(world, "vocab_size=500")
    with pytest.raises(UserError, match=r"</s> is token 2, the configuration's eos_token_id is 1; give --set"):
        build(world, "eos_token_id=1")
    (world[1] / "tokenizer/tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer\.json: cannot be read: .*train_tokenizer"):
        build(world)
    assert not (world[1] / "data/token_cache").exists()


def test_small_splits_have_small_shards_and_large_ones_no_more_than_256_mb():
    sizes = {size: cache_plan.shard_size(size) for size in (0, 10**6, 10**9, 16 * 10**9, 2 * 10**11)}
    assert list(sizes.values()) == [1 << 22, 1 << 22, 1 << 24, 1 << 28, 1 << 28]


def test_a_plan_depends_on_what_the_tokens_depend_on(world):
    settings, folder = world
    split, source = dataset_split(settings, "train"), build(world).source
    here = Plan(split, source, folder / "tokenizer", settings).folder
    other = load_settings(folder / "config.json", ["data.workers=7", "train.seq_len=16"])
    assert Plan(split, source, folder / "tokenizer", other).folder == here
    other = load_settings(folder / "config.json", ["eos_token_id=3"])
    assert Plan(split, source, folder / "tokenizer", other).folder != here
    assert isinstance(here, Path) and re.fullmatch(r"train-[0-9a-f]{12}", here.name)
