"""What processes agree on, between real ones over gloo."""

import json
import os
import subprocess
import sys

import pytest

from common.paths import ROOT
from tests.helpers.launch import free_port

SCRIPT = """
import json, os, sys, time
from common.errors import UserError
from training.engine import end_process_group, start_process_group
from training.collectives import Control

start_process_group(False, int(os.environ["RANK"]), 3, 30)
control = Control(30)
beats = []
control.beat = lambda: beats.append(1)
rank = control.rank
told = {"highest": control.highest(rank, 5 - rank, 7), "gather": control.gather(str(rank))}
told["first"] = control.told_by_first(lambda: time.sleep(0.3) or f"by {rank}")
told["beats"] = len(beats) > 1

def fail():
    raise UserError("no such folder")

try:
    control.told_by_first(fail)
except UserError as error:
    told["error"] = str(error)
import torch
told["sum"] = control.add(torch.tensor([float(rank + 1)], dtype=torch.float64)).item()
control.barrier()
print(json.dumps(told))
end_process_group()
"""


@pytest.mark.parametrize("processes", [1, 3])
def test_processes_agree(processes):
    environment = os.environ | {
        "WORLD_SIZE": str(processes),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT],
            cwd=ROOT,
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]
    for process in started:
        output, _ = process.communicate(timeout=120)
        last = processes - 1
        assert json.loads(output.splitlines()[-1]) == {
            "highest": [last, 5, 7],
            "gather": [str(rank) for rank in range(processes)],
            "first": "by 0",
            "beats": True,
            "error": "no such folder",
            "sum": processes * (processes + 1) / 2,
        }


GONE = """
import os
from training.collectives import Control
from training.engine import start_process_group

rank = int(os.environ["RANK"])
start_process_group(False, rank, 2, 30)
if rank == 1:
    os._exit(0)
Control(2)
"""


def test_a_process_that_is_gone_before_the_run_begins_is_told():
    environment = os.environ | {
        "WORLD_SIZE": "2",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, "-c", GONE],
            cwd=ROOT,
            env=environment | {"RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in started]
    assert "common.errors.UserError: connecting: another process is gone or does not answer" in errors[0]
