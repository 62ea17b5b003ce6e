import subprocess
import sys
from pathlib import Path

import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from training.watchdog import EXIT_STATUS

SCRIPT = """
import sys, time
from tests.helpers import tiny_world
from training.watchdog import Watchdog

watchdog = Watchdog(1.0, "process 3")
watchdog.start()
for _ in range(15):  # longer than the limit, never silent for as long
    time.sleep(0.1)
    watchdog.beat("step 7")
print("alive", flush=True)
if sys.argv[1] == "stop":
    watchdog.stop()
    time.sleep(1.5)
    sys.exit(0)
time.sleep(60)
"""


def run(argument):
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, argument], cwd=ROOT, capture_output=True, text=True, timeout=50
    )


def test_silence_ends_the_process_with_what_it_was_doing_and_its_stacks():
    ended = run("hang")
    assert ended.returncode == EXIT_STATUS and ended.stdout == "alive\n"
    assert "error: process 3: no progress for 1 s (train.hang_seconds 1) in: step 7." in ended.stderr
    assert "most recent call first" in ended.stderr


def test_a_process_that_gets_on_or_is_done_is_left_alone():
    ended = run("stop")
    assert ended.returncode == 0 and ended.stderr == ""


STUCK = """
import sys, time
import train
from training import startup

startup.START_SECONDS = 1.5
startup.build_engine = lambda *_: time.sleep(60)  # processes that do not find each other over NCCL
train.main(["--config", sys.argv[1]])
"""


@pytest.mark.slow
def test_a_start_that_hangs_is_ended_too(tmp_path: Path):
    config = tiny_world.make_world(tmp_path, hang_seconds=5)
    ended = subprocess.run(
        [sys.executable, "-c", STUCK, str(config)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == EXIT_STATUS, ended.stdout + ended.stderr
    assert "in: building the model and DeepSpeed's engine" in ended.stderr


def test_the_start_may_take_longer_than_a_step():
    begun = SCRIPT.replace("watchdog.start()", "watchdog.start(30)").replace(
        'print("alive", flush=True)', 'time.sleep(1.5); watchdog.training(); print("alive", flush=True)'
    )
    ended = subprocess.run([sys.executable, "-c", begun, "hang"], cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.returncode == EXIT_STATUS and ended.stdout == "alive\n"
    assert "(train.hang_seconds 1) in: step 7" in ended.stderr
