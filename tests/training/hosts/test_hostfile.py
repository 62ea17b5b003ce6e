"""Two machines by DeepSpeed's hostfile, both played by this one: `ssh` and `pdsh` are stand-ins that run each host's
command here, in an environment as bare as a remote shell's; the launcher builds the commands, and real processes train.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.launch import free_port, launch_environment, losses, only_run

HOSTS = ("node-a", "node-b")

# `ssh HOST COMMAND` answers as a reachable host does. Options that take a value are those the launcher gives.
SSH = """#!{python}
import json, sys
arguments = sys.argv[1:]
while arguments[0].startswith("-"):
    del arguments[:2]
with open({calls!r}, "a") as log:
    log.write(json.dumps(["ssh", *arguments]) + "\\n")
"""

# `pdsh -S -f N -w HOSTS COMMAND`: COMMAND on every host, with %n for its place, and the highest exit status as its own.
# Signals end it, not what runs on the hosts. For `pkill -f PATTERN` only processes that it started are looked at.
PDSH = """#!{python}
import json, os, re, shlex, signal, subprocess, sys
import psutil
arguments = sys.argv[1:]
assert arguments[:4] == ["-S", "-f", "1024", "-w"], arguments
hosts, command = arguments[4].split(","), " ".join(arguments[5:])
with open({calls!r}, "a") as log:
    log.write(json.dumps(["pdsh", hosts, command]) + "\\n")
if command.startswith("pkill "):
    program, flag, pattern = shlex.split(command)
    assert flag == "-f"
    sessions = [int(line) for line in open({sessions!r})]
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) in sessions and re.search(pattern, " ".join(process.cmdline())):
                process.terminate()
        except (psutil.Error, ProcessLookupError):
            pass
    sys.exit(0)
remote = {{"HOME": os.environ["HOME"], "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}}
shells = []
for place, host in enumerate(hosts):
    line = command.replace("%n", str(place))
    shells.append(subprocess.Popen(["bash", "-c", line], env=remote, stdin=subprocess.DEVNULL, start_new_session=True))
with open({sessions!r}, "a") as log:
    log.write("".join(f"{{shell.pid}}\\n" for shell in shells))
signal.signal(signal.SIGINT, signal.SIG_DFL)
sys.exit(max(abs(shell.wait()) for shell in shells))
"""


class Machines:
    """A world, a hostfile of two hosts of one slot, and the stand-ins; what still runs at the end is killed."""

    def __init__(self, folder: Path, **train: object):
        self.folder = folder
        self.config = tiny_world.make_world(folder, **train)
        self.hostfile = folder / "hosts"
        self.hostfile.write_text("".join(f"{host} slots=1\n" for host in HOSTS))
        self.calls_file, self.sessions_file = folder / "calls.jsonl", folder / "sessions"
        (folder / "bin").mkdir()
        for name, text in (("ssh", SSH), ("pdsh", PDSH)):
            program = folder / "bin" / name
            program.write_text(
                text.format(python=sys.executable, calls=str(self.calls_file), sessions=str(self.sessions_file))
            )
            program.chmod(0o755)
        self.started: list[subprocess.Popen] = []

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.running():
            process.kill()
        for launcher in self.started:
            launcher.wait()

    def start(self, *launcher: str, port: int | None = None, home: Path | None = None) -> subprocess.Popen:
        rendezvous = ["--master_addr", "127.0.0.1", "--master_port", str(port or free_port())]
        environment = launch_environment()
        environment["PATH"] = f"{self.folder / 'bin'}{os.pathsep}{environment['PATH']}"
        if home is not None:
            environment["HOME"] = str(home)
        process = subprocess.Popen(
            ["deepspeed", *launcher, *rendezvous, "train.py", "--config", str(self.config)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def train(self, *launcher: str) -> str:
        process = self.start(*launcher)
        output, _ = process.communicate(timeout=250)
        assert process.returncode == 0, output
        return output

    def calls(self) -> list[list]:
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]

    def running(self) -> list[psutil.Process]:
        """Processes here and on the hosts."""
        hosts = self.sessions_file.read_text().split() if self.sessions_file.exists() else []
        sessions = {int(line) for line in hosts} | {process.pid for process in self.started}
        found = []
        for process in psutil.process_iter():
            try:
                if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except (ProcessLookupError, psutil.NoSuchProcess):
                continue
        return found

    def losses(self) -> dict[int, float]:
        return losses(only_run(self.folder))


@pytest.fixture
def two_machines(tmp_path):
    with Machines(tmp_path, max_steps=6, val_every=6, save_every=1, keep_last=1) as machines:
        yield machines


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> dict[int, float]:
    """Losses of two processes of one machine."""
    with Machines(tmp_path_factory.mktemp("straight"), max_steps=6, val_every=6, save_every=6) as machine:
        machine.train("--num_accelerators", "2")
        assert sorted(machine.losses()) == [1, 2, 3, 4, 5, 6]
        return machine.losses()


@pytest.mark.slow
def test_two_hosts_through_pdsh_train_as_two_processes_do(two_machines, straight):
    two_machines.train("--hostfile", str(two_machines.hostfile))
    # A process there has more threads, which may sum in another order.
    assert two_machines.losses() == pytest.approx(straight, rel=1e-4)
    run = only_run(two_machines.folder)
    assert json.loads((run / "run.json").read_text())["processes"] == 2
    assert (run / "export/model.safetensors").exists()
    assert len(list((run / "checkpoints").glob("step-00000006/*_optim_states.pt"))) == 2

    reached, (program, hosts, command) = two_machines.calls()
    assert reached == ["ssh", "node-a", "hostname"]
    assert (program, hosts) == ("pdsh", list(HOSTS))
    words = shlex.split(command)
    assert f"export PYTHONPATH={ROOT}" in command and words[words.index("cd") + 1] == f"{ROOT};"
    assert "--node_rank=%n" in words and words[-3:] == ["train.py", "--config", str(two_machines.config)]


@pytest.mark.slow
def test_without_ssh_the_command_is_given_on_each_machine(two_machines, straight):
    hostfile, port = str(two_machines.hostfile), free_port()
    by_hand = [
        two_machines.start("--hostfile", hostfile, "--no_ssh", "--node_rank", str(place), port=port)
        for place in range(2)
    ]
    outputs = [process.communicate(timeout=250)[0] for process in by_hand]
    assert [process.returncode for process in by_hand] == [0, 0], outputs
    assert two_machines.losses() == pytest.approx(straight, rel=1e-4)
    assert not two_machines.calls_file.exists()


@pytest.mark.slow
def test_ctrl_c_ends_the_processes_on_both_hosts_and_the_command_goes_on(two_machines, straight):
    process = two_machines.start("--hostfile", str(two_machines.hostfile))
    deadline = time.monotonic() + 200
    while not list(two_machines.folder.glob("runs/*/checkpoints/step-*/state.json")):
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1, output
    program, hosts, command = two_machines.calls()[-1]
    assert (program, hosts) == ("pdsh", list(HOSTS)) and command.startswith("pkill -f ")
    while two_machines.running():
        assert time.monotonic() < deadline, output
        time.sleep(0.1)
    two_machines.train("--hostfile", str(two_machines.hostfile))
    assert two_machines.losses() == pytest.approx(straight, rel=1e-4)


@pytest.mark.slow
def test_variables_reach_the_hosts_by_deepspeed_env_and_the_command_tells_nothing_of_its_own(two_machines, monkeypatch):
    """So an interface that is not there is told by the processes of both, and the one of the command is not."""
    (two_machines.folder / ".deepspeed_env").write_text("GLOO_SOCKET_IFNAME=eth99\n")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth98")
    process = two_machines.start("--hostfile", str(two_machines.hostfile), home=two_machines.folder)
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 2, output
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and all("GLOO_SOCKET_IFNAME is 'eth99'" in line for line in errors), output
    assert sorted("[process 1]" in line for line in errors) == [False, True] and "eth98" not in "".join(errors)
