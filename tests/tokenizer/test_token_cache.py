"""The command that makes token caches: the same bytes whatever the workers, the kills or a full disk."""

import re
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.small_disk import on_a_small_disk
from tests.helpers.tokenizer.token_caches import build, content, small_shards
from tokenizer import token_cache
from tokenizer.cache import plan as cache_plan


@pytest.fixture
def world(tmp_path, monkeypatch):
    return small_shards(tmp_path, monkeypatch)


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
