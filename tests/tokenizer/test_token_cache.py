"""JSONL to tokens: the same bytes whatever the layout, the workers or the kills, and every misfit is named."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from common.errors import UserError
from common.files import atomic_write
from common.paths import ROOT
from common.settings.load import load_settings
from tests.helpers import tiny_world
from tests.helpers.small_disk import on_a_small_disk
from tokenizer import token_cache
from tokenizer.cache import encoding, ensure
from tokenizer.cache import plan as cache_plan
from tokenizer.cache.encoding import token_byte_lengths
from tokenizer.cache.ensure import ensure_token_cache
from tokenizer.cache.plan import Plan, dataset_split, file_split
from tokenizer.cache.source_lines import LineReader, SourceFile, file_state, known_source
from tokenizer.cache.token_file import HEADER_BYTES, READ_ONLY, TOKEN_ID, Header, TokenRow, verify


@pytest.fixture
def world(tmp_path, monkeypatch):
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


def test_documents_are_kept_whole_and_end_with_end_of_text(world):
    from tokenizers import Tokenizer

    settings, folder = world
    cache = build(world)
    decoder = Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json"))
    found = documents(cache)
    assert len(cache.paths) == 7 and cache.num_documents == 60 and sum(map(len, found)) == cache.num_tokens
    assert all(tokens[-1] == settings.model.eos_token_id for tokens in found)
    texts = [decoder.decode(tokens[:-1], skip_special_tokens=False) for tokens in found]
    assert texts == [json.loads(line)["text"] for line in lines(world)]
    assert cache.tokens[:].dtype == np.dtype("<u4") and cache.tokens[:].tolist() == [*itertools.chain(*found)]


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


def test_the_row_is_read_across_shards(world):
    cache = build(world)
    whole = np.concatenate([np.fromfile(p, "<u4", h.num_tokens, offset=HEADER_BYTES) for p, h in shards_of(cache)])
    for start, stop in [(0, 0), (0, 5), (700, 9000), (len(whole) - 3, len(whole) + 9), (3, 1)]:
        assert np.array_equal(cache.tokens[start:stop], whole[start:stop])
    with pytest.raises(ValueError, match="step 2"):
        cache.tokens[::2]


def shards_of(cache):
    return zip(cache.paths, cache.headers, strict=True)


def test_more_shards_than_a_process_may_open_files(world, monkeypatch):
    import resource

    cache = build(world)
    counts = [header.num_tokens for header in cache.headers]
    row = TokenRow(cache.paths * 100, counts * 100)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(400, hard), hard))
    try:
        assert np.array_equal(row[:], np.tile(cache.tokens[:], 100))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_which_document_a_token_belongs_to(world):
    cache = build(world)
    stops = np.cumsum([len(tokens) for tokens in documents(cache)])
    places = np.cumsum([0, *map(len, lines(world))])
    for position in [0, int(stops[0]) - 1, int(stops[0]), int(stops[30]), cache.num_tokens - 1]:
        document = cache.document_at(position)
        assert document.index == np.searchsorted(stops, position, "right")
        assert document.start <= position < document.stop and document.stop == stops[document.index]
        assert (document.file.path.name, document.place) == ("train.jsonl", places[document.index])
    with pytest.raises(UserError, match=r"no token -1"):
        cache.document_at(-1)


def test_bytes_of_tokens_add_up_to_the_text_and_control_tokens_in_it_stay_text(world):
    settings, folder = world
    texts = ["  two  spaces\n\n\ttab", "αé∈ 漢字 🙂", "</s> <s> <pad>", "", "a\x00b\r\n\u2028"]
    write_texts(world, *texts)
    found = documents(build(world))
    lengths = token_byte_lengths(folder / "tokenizer")
    assert len(lengths) == settings.model.vocab_size
    assert [int(lengths[tokens].sum()) for tokens in found] == [len(text.encode()) for text in texts]
    assert all(not {0, 1, 2, 3} & set(tokens[:-1]) and tokens[-1] == 2 for tokens in found)
    assert found[3] == [2]  # an empty text is a document of no text


def test_odd_lines(world):
    """A mark at the start, blank lines, a lone surrogate, SentencePiece's own sign, no end of the last line."""
    source = world[1] / "data/train.jsonl"
    source.write_bytes(
        b'\xef\xbb\xbf{"text": "first"}\n\n   \n{"text": "a\\ud800b"}\r\n{"text": "x\xe2\x96\x81y"}\n{"text": "last"}'
    )
    cache = build(world)
    assert [len(tokens) - 1 for tokens in documents(cache)] == [5, 3, 3, 4]
    assert cache.document_at(cache.num_tokens - 1).place == source.read_bytes().index(b'{"text": "last"}')


def test_documents_longer_than_shards_leave_empty_shards(world):
    write_texts(world, "a", "b " * 6000, "c")
    cache = build(world)
    assert [header.num_documents for header in cache.headers] == [2, 0, 1, 0]
    assert cache.tokens[:].tolist() == [*itertools.chain(*documents(cache))] and cache.num_tokens == 12000 + 2 + 3
    assert cache.document_at(cache.num_tokens - 2).index == 2


def test_a_reader_of_lines_goes_on_from_any_place(tmp_path):
    all_lines = [bytes([97 + n % 26]) * (n * 7 % 40) + b"\n" for n in range(200)]
    places = np.cumsum([0, *map(len, all_lines)]).tolist()
    for name in ("x.jsonl", "x.jsonl.zst"):
        with atomic_write(tmp_path / name) as file:
            file.write(b"".join(all_lines))
        reader = LineReader(SourceFile(tmp_path / name, 0, places[-1], file_state(tmp_path / name)))
        for start, stop in [(0, 1), (1, 50), (50, 51), (51, 52), (300, 900), (901, 2000), (40, 41), (2000, places[-1])]:
            expected = [(p, line) for p, line in zip(places, all_lines, strict=False) if start <= p < stop]
            assert list(reader.lines(start, stop)) == expected
        next(reader.lines(0, 500))  # left in the middle
        assert [place for place, _ in reader.lines(0, 20)] == [p for p in places[:-1] if p < 20]


@pytest.mark.parametrize("stopped", ["killed", "interrupted"])
def test_any_number_of_workers_and_kills_gives_the_same_bytes(world, monkeypatch, stopped):
    _, folder = world
    size = 16384
    for name in ("MAX_SHARD_BYTES", "MIN_SHARD_BYTES"):
        monkeypatch.setattr(cache_plan, name, size)
    tiny_world.write_jsonl(folder / "data/train.jsonl", [tiny_world.document(i, 2000) for i in range(120)])
    whole = build(world)
    expected = content(whole.folder)
    shutil.rmtree(whole.folder.parent)

    code = (
        "import sys; from common.cli import run_command; from tokenizer import token_cache\n"
        "from tokenizer.cache import plan as cache_plan\n"
        f"cache_plan.MAX_SHARD_BYTES = cache_plan.MIN_SHARD_BYTES = {size}\n"
        "run_command(lambda: token_cache.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--config", str(folder / "config.json"), "--workers", "2"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests in the background ignore it
    )
    deadline = time.monotonic() + 30
    while len(list(whole.folder.glob("*.bin"))) < 5:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL if stopped == "killed" else signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == (-signal.SIGKILL if stopped == "killed" else 130) and "Traceback" not in told
    _, alive = psutil.wait_procs(workers, timeout=5)
    assert not alive
    made = len(list(whole.folder.glob("*.bin")))
    assert 5 <= made < len(expected) - 1 and not (whole.folder / "manifest.json").exists()
    first = min(whole.folder.glob("*.bin"))  # not always 00000.bin: one of the workers may be far behind
    kept = first.stat().st_ino
    (whole.folder / "00009.bin.elsewhere-1.tmp").write_bytes(b"left over")

    assert content(build(world, "data.workers=2").folder) == expected
    assert first.stat().st_ino == kept


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


def test_the_datasets_manifest_spares_reading_the_text(world, capsys):
    source = world[1] / "data/train.jsonl"
    split = dataset_split(world[0], "train")
    sha, size = "f" * 64, source.stat().st_size

    def describe(size):
        files = [{"name": source.name, "documents": 60, "bytes": size}]
        source.with_name("manifest.json").write_text(json.dumps({"splits": {"train": {"sha256": sha, "files": files}}}))

    describe(size + 1)
    assert known_source(split.paths, split.notes) is None
    describe(size)
    assert build(world).source_sha256 == sha
    assert "to identify" not in capsys.readouterr().out
    os.utime(source, ns=(time.time_ns() + 10**9,) * 2)  # younger than the manifest
    assert known_source(split.paths, split.notes) is None


@pytest.mark.parametrize(("held", "problem"), [(-1, "it goes on after byte"), (1, "it ends at byte")])
def test_a_compressed_file_that_is_not_what_the_manifest_says_is_refused(world, held, problem):
    size = (world[1] / "data/train.jsonl").stat().st_size
    lay_out(world, True, 1)
    files = [{"name": "train.jsonl.zst", "documents": 60, "bytes": size + held}]
    manifest = {"splits": {"train": {"sha256": "f" * 64, "files": files}}}
    (world[1] / "data/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=rf"train\.jsonl\.zst: not the .* bytes of lines.*{problem}"):
        build(world)


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


@pytest.mark.parametrize(
    ("line", "message", "workers"),
    [
        (b'{"id": "x"}', "the record has no 'text'", 1),
        (b'{"id": "x"}', "the record has no 'text'", 2),
        (b'{"text": 3}', "the record has no 'text'", 1),
        (b"[1]", "expected a JSON object", 1),
        (b'{"text": "', "not valid JSON", 1),
        (b'{"text": "\xff"}', "not UTF-8", 1),
        (b'{"text": "a", "n": ' + b"9" * 5000 + b"}", "not valid JSON", 1),
    ],
)
def test_bad_lines_are_named_with_file_and_line(world, line, message, workers):
    source = world[1] / "data/train.jsonl"
    all_lines = lines(world)
    source.write_bytes(b"".join([*all_lines[:40], b"\n", line, b"\n", *all_lines[40:]]))
    with pytest.raises(UserError, match=rf"^{re.escape(str(source))}:42:?\S* .*{message}"):
        build(world, f"data.workers={workers}")


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


def test_the_reader_checks_every_header(world):
    cache = build(world)
    path, good = cache.paths[1], cache.paths[1].read_bytes()

    def refused(message, changed):
        path.write_bytes(changed)
        with pytest.raises(UserError, match=message) as refusal:
            build(world)
        assert str(path) in str(refusal.value) and "token_cache.py to make it again" in str(refusal.value)

    refused(r"[\d,]+ bytes, its header promises [\d,]+;", good[:-8])
    refused(r"[\d,]+ bytes, its header promises [\d,]+;", good + b"x")
    refused(r"it begins with b'NOTTOKEN', not b'TEXTOKEN'", b"NOTTOKEN" + good[8:])
    refused("not a token file", b"")
    refused("token file version 9 with tokens of type <u4, this code reads version 3", good[:8] + b"\x09" + good[9:])
    refused("tokens of type <u2, this code reads version 3 with <u4", good.replace(b"<u4", b"<u2", 1))
    refused("its header is damaged", good[: HEADER_BYTES - 1] + b"\1" + good[HEADER_BYTES:])
    tokenizer = cache.tokenizer.encode()
    refused(f"its tokenizer is {'e' * 64}, expected {cache.tokenizer}", good.replace(tokenizer, b"e" * 64, 1))
    refused("its number is 2, expected 1", cache.paths[2].read_bytes())
    path.unlink()
    assert build(world).num_documents == 60  # made again


def test_verify_finds_a_flipped_bit_anywhere(world):
    path = build(world).paths[0]
    good = path.read_bytes()
    assert verify(path) == Header.read(path)
    header = Header.read(path)
    for place in (HEADER_BYTES, HEADER_BYTES + 4 * header.num_tokens + 9, len(good) - 1):
        path.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        with pytest.raises(UserError, match=r"00000\.bin: damaged: its checksum is \w{64}, its content has \w{64}"):
            verify(path)


@pytest.mark.parametrize("damaged", ["", "{", "{}", "[]", '{"shards": 3}'])
def test_a_damaged_manifest_is_written_again(world, damaged):
    cache = build(world)
    before = content(cache.folder)
    (cache.folder / "manifest.json").write_text(damaged)
    assert content(build(world).folder) == before


def test_a_manifest_of_other_counts_is_refused(world):
    folder = build(world).folder
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"num_documents": 61}))
    with pytest.raises(UserError, match=r"manifest\.json: its counts are not those of the shards"):
        build(world)


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


def test_a_disk_that_fills_up_is_told_and_the_same_command_goes_on(world):
    folder = world[1]
    tiny_world.write_jsonl(folder / "data/train.jsonl", [tiny_world.document(i, 2000) for i in range(100)])
    disk = folder / "data/token_cache"
    disk.mkdir()
    code = (
        "from tokenizer.cache import plan as cache_plan; "
        "cache_plan.MAX_SHARD_BYTES = cache_plan.MIN_SHARD_BYTES = 65536; "
        "cache_plan.MARGIN = 0; from tokenizer import token_cache; from common.cli import run_command; "
        f"run_command(lambda: token_cache.main(['--config', '{folder}/config.json', '--workers', '2']))"
    )
    run = f'{sys.executable} -c "{code}"'
    result = on_a_small_disk(
        disk, "1m", f"{run}; echo status $?; ls {disk}/train-*; mount -o remount,size=9m {disk} && {run} && ls {disk}/*"
    )
    first, second = result.stdout.split("status 2\n")
    assert result.returncode == 0, result.stderr
    assert "no space left on the disk or quota; nothing half-written was left" in result.stderr
    assert "Traceback" not in result.stderr and ".tmp" not in second and "00000.bin" in second
    assert re.search(r"shard\(s\) \(\d+ are made\)", second) and "train: " in second and "train: " not in first


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


def test_small_splits_have_small_shards_and_large_ones_no_more_than_256_mb():
    sizes = {size: cache_plan.shard_size(size) for size in (0, 10**6, 10**9, 16 * 10**9, 2 * 10**11)}
    assert list(sizes.values()) == [1 << 22, 1 << 22, 1 << 24, 1 << 28, 1 << 28]


def test_the_command_makes_both_splits_then_shows_and_verifies_them(world, capsys):
    arguments = ["--config", str(world[1] / "config.json")]
    assert token_cache.main(arguments) == 0
    assert capsys.readouterr().out.count("building ") == 2
    assert token_cache.main([*arguments, "--verify"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"train: [\d,]+ tokens of 60 documents, 1\.000 bytes a token; 7 shard\(s\)", told)
    assert "building" not in told and "train: all 7 checksums are right" in told and "val: all 1 ch" in told
    assert token_cache.main([*arguments, "--show", "7"]) == 0
    assert "token 7 is token 7 of" in (told := capsys.readouterr().out) and "id '2401.00000'" in told
    assert token_cache.main([*arguments, "--input", str(world[1] / "data/val.jsonl")]) == 0
    assert capsys.readouterr().out.startswith("val: ")


def test_a_plan_depends_on_what_the_tokens_depend_on(world):
    settings, folder = world
    split, source = dataset_split(settings, "train"), build(world).source
    here = Plan(split, source, folder / "tokenizer", settings).folder
    other = load_settings(folder / "config.json", ["data.workers=7", "train.seq_len=16"])
    assert Plan(split, source, folder / "tokenizer", other).folder == here
    other = load_settings(folder / "config.json", ["eos_token_id=3"])
    assert Plan(split, source, folder / "tokenizer", other).folder != here
    assert isinstance(here, Path) and re.fullmatch(r"train-[0-9a-f]{12}", here.name)


def answer_records(*marks, text="Problem: add $1+1$. Answer: $2$, \u03b1."):
    return [tiny_world.document(i) | {"text": text, "answers": answers} for i, answers in enumerate(marks)]


def test_prompts_are_marked_and_their_ids_are_those_they_have_alone(world):
    folder = world[1]
    text = "Problem: add $1+1$. Answer: $2$, \u03b1."
    at = text.index("Answer: ") + len("Answer: ")
    records = answer_records([[at, len(text)]], [[0, 7], [at, at + 3]], [], text=text)
    tiny_world.write_jsonl(folder / "data/train.jsonl", [*records, tiny_world.document(9) | {"text": "plain"}])
    cache = build(world)
    encoder = encoding.load_encoder(folder / "tokenizer", cache.tokenizer)
    prompt, answer = (ids.tolist() for ids in encoder.encode([text[:at], text[at:]]))
    first, second, third, plain = (np.array(tokens) for tokens in documents(cache))
    ids, read_only = first & TOKEN_ID, first & READ_ONLY > 0
    assert ids.tolist() == [*prompt, *answer, 2]
    assert read_only.tolist() == [True] * len(prompt) + [False] * (len(answer) + 1)  # the end is written too
    assert (second & READ_ONLY > 0).tolist() == [*[False] * 7, *[True] * (at - 7), *[False] * 3, *[True] * 5]
    assert (third & READ_ONLY > 0).all() and (plain & READ_ONLY == 0).all()
    assert cache.num_read_only == sum(int((tokens & READ_ONLY > 0).sum()) for tokens in (first, second, third))
    assert cache.text_bytes == 3 * len(text.encode()) + 5
    assert "of them answers" in token_cache.describe(dataset_split(world[0], "train"), cache)


@pytest.mark.parametrize("answers", [[[5, 3]], [[0, 9999]], [[4, 8], [6, 9]], "0-4", [[1]], [["a", "b"]], [[-3, 2]]])
def test_answers_that_do_not_fit_the_text_are_refused_with_file_and_line(world, answers):
    tiny_world.write_jsonl(world[1] / "data/train.jsonl", answer_records([[0, 4]], answers))
    with pytest.raises(UserError, match=r"train\.jsonl:2: 'answers' is not a list of \[start, end\) pairs"):
        build(world)
