"""A token cache is made once: what is found again, what is made anew, and what stops the making."""

import os
import shutil
import signal
import time

import pytest

from common.errors import UserError
from tests.helpers import tiny_world
from tests.helpers.tokenizer.token_caches import build, content, lay_out, small_shards, write_texts
from tokenizer import token_cache
from tokenizer.cache import encoding, ensure


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


@pytest.mark.parametrize(("compressed", "parts"), [(True, 1), (False, 3), (True, 7)])
def test_every_layout_of_the_files_gives_the_same_files_of_tokens(world, compressed, parts):
    plain = build(world)
    before = content(plain.folder)
    shutil.rmtree(plain.folder.parent)
    lay_out(world, compressed, parts)
    cache = build(world, "data.workers=2" if parts == 7 else "data.workers=1")
    assert cache.folder == plain.folder and content(cache.folder) == before
    document = cache.document_at(cache.num_tokens - 1)
    assert document.file.path.name.startswith("train") and document.index == 59
    assert "id '2401.00059'" in token_cache.describe_document(cache, cache.num_tokens - 1)


def test_a_new_layout_of_the_same_text_needs_no_new_cache(world, capsys):
    build(world)
    lay_out(world, True, 2)
    capsys.readouterr()
    assert build(world).num_documents == 60
    assert "building" not in capsys.readouterr().out


def test_finished_shards_are_not_made_again(world, monkeypatch, capsys):
    cache = build(world)
    before = content(cache.folder)
    made = []

    def noted(job, progress):
        made.append(job.number)
        encoding.make_shard(job, progress)

    monkeypatch.setattr(ensure, "make_shard", noted)
    build(world)
    assert made == []
    for name in ("00002.bin", "00004.bin"):
        (cache.folder / name).unlink()
    assert content(build(world).folder) == before and made == [2, 4]
    assert "2 shard(s) (5 are made)" in capsys.readouterr().out


def test_a_touched_split_is_found_again_and_a_changed_one_or_another_tokenizer_makes_another(world, capsys):
    first = build(world)
    source = world[1] / "data/train.jsonl"
    capsys.readouterr()
    os.utime(source, ns=(1, 1))
    assert build(world).folder == first.folder
    told = capsys.readouterr().out
    assert "to identify the text" in told and "building" not in told
    build(world)
    assert capsys.readouterr().out == ""

    write_texts(world, "other")
    (source.parent / "token_cache/train-0123456789ab.bin").write_bytes(b"of an earlier format")
    second = build(world)
    told = capsys.readouterr().out
    assert second.folder != first.folder and second.num_documents == 1
    assert told.count("is of another text or tokenizer; delete it") == 2 and str(first.folder) in told
    tiny_world.write_tokenizer(world[1] / "tokenizer", marker="other")
    assert build(world).folder not in (first.folder, second.folder) and first.folder.exists()


def test_a_split_that_changes_while_it_is_read_leaves_no_shard_of_it(world, monkeypatch):
    source, real = world[1] / "data/train.jsonl", encoding.make_shard

    def changed(job, progress):
        if job.number == 2:
            os.utime(source)
        real(job, progress)

    monkeypatch.setattr(ensure, "make_shard", changed)
    with pytest.raises(UserError, match=r"train\.jsonl: not the .*time of modification differ.*run the same command"):
        build(world)
    monkeypatch.undo()
    folder = next((source.parent / "token_cache").glob("train-*"))
    assert sorted(path.name for path in folder.iterdir()) == ["00000.bin", "00001.bin"]


def test_too_little_disk_is_refused_for_what_is_still_to_be_made(world, monkeypatch):
    usage = shutil.disk_usage(world[1])
    monkeypatch.setattr(ensure.shutil, "disk_usage", lambda _: usage._replace(free=50_000))
    with pytest.raises(UserError, match=r"about 87\.2 kB are needed, 50\.0 kB are free; make room"):
        build(world)
    monkeypatch.setattr(ensure.shutil, "disk_usage", lambda _: usage)
    cache = build(world)
    cache.paths[3].unlink()
    monkeypatch.setattr(ensure.shutil, "disk_usage", lambda _: usage._replace(free=50_000))
    assert build(world).num_documents == 60


def test_a_worker_that_is_killed_again_and_again_is_told_as_want_of_memory(world, monkeypatch):
    monkeypatch.setattr(ensure, "make_shard", dies_of_shard_2)
    with pytest.raises(UserError, match=r"00002\.bin \(bytes 8,192 to 12,288 .*killed twice, as a rule for want"):
        build(world, "data.workers=2")
    monkeypatch.undo()


def dies_of_shard_2(job, progress):
    if job.number == 2:
        progress(0, 100)
        os.kill(os.getpid(), signal.SIGKILL)
    encoding.make_shard(job, progress)


def test_long_work_is_told_with_the_command_that_does_it_beforehand(world, monkeypatch, capsys):
    build(world, flags="")
    assert "note:" not in capsys.readouterr().out
    write_texts(world, *["text"] * 50)
    monkeypatch.setattr(ensure, "LONG_SECONDS", 0)
    build(world, flags=" --config my.json")
    assert "by: python tokenizer/token_cache.py --config my.json\n" in capsys.readouterr().out


def test_another_process_waits_for_the_builder(world):
    import threading

    caches = []
    waiter = threading.Thread(target=lambda: caches.append(build(world, builder=False)))
    waiter.start()
    time.sleep(0.2)
    assert not caches
    build(world)
    waiter.join(10)
    assert caches[0].num_documents == 60
