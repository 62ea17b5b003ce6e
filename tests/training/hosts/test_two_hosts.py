"""Two hosts that have a network of their own each (network namespaces, joined by a cable), and whose own name resolves
to loopback, as Debian writes it into /etc/hosts: they find one another, or say in a line why not."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.paths import ROOT
from tests.helpers import tiny_world
from tests.helpers.launch import losses, only_run

PORT = "29533"
# What any process of a run does first. SHORT makes of minutes seconds.
SCRIPT = """
import os
from common.cli import run_command

def main():
    if os.environ.get("SHORT"):
        from training import rendezvous
        rendezvous.TELL_SECONDS, rendezvous.MEET_SECONDS = 2.0, float(os.environ["SHORT"])
    from training.collectives import Control
    from training.engine import end_process_group, start_process_group

    start_process_group(False, 0, 1, 20)
    control = Control(20)
    print("told", control.gather(os.environ["RANK"]))
    end_process_group()
    return 0

run_command(main)
"""


class Hosts:
    """node-a (10.77.0.1, fd77::1 on `east`) and node-b (10.77.0.2, fd77::2 on `west`). Each has a second network that
    the other does not reach: 10.88.1.1 and 10.88.2.1 on `side`."""

    NAMES = ("node-a", "node-b")

    def __init__(self, folder: Path):
        self.folder = folder
        self.spaces = [f"hosts{os.getpid()}{letter}" for letter in "ab"]
        for name in self.NAMES:
            known = ["127.0.0.1 localhost", f"127.0.1.1 {name}"]
            known += [f"10.77.0.{place + 1} {other}" for place, other in enumerate(self.NAMES) if other != name]
            self.write_hosts(name, known)

    def write_hosts(self, name: str, lines: list[str]) -> None:
        (self.folder / f"hosts.{name}").write_text("".join(f"{line}\n" for line in lines))

    def build(self) -> None:
        first, second = self.spaces
        for space in self.spaces:
            _ip("netns", "add", space)
            _ip("-n", space, "link", "set", "lo", "up")
        _ip("-n", first, "link", "add", "east", "type", "veth", "peer", "name", "west", "netns", second)
        for space, link, place in ((first, "east", 1), (second, "west", 2)):
            _ip("-n", space, "addr", "add", f"10.77.0.{place}/24", "dev", link)
            _ip("-n", space, "-6", "addr", "add", f"fd77::{place}/64", "dev", link, "nodad")
            _ip("-n", space, "link", "add", "side", "type", "veth", "peer", "name", "end")
            _ip("-n", space, "addr", "add", f"10.88.{place}.1/24", "dev", "side")
            for one in (link, "side", "end"):
                _ip("-n", space, "link", "set", one, "up")

    def remove(self) -> None:
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], capture_output=True)

    def start(self, rank: int, master: str, *command: str, **variables: str) -> subprocess.Popen:
        """`command` on host `rank`, as its process of that number."""
        name = self.NAMES[rank]
        environment = os.environ | {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_SIZE": "1"}
        environment |= {"MASTER_ADDR": master, "MASTER_PORT": PORT, "OMP_NUM_THREADS": "1"} | variables
        hosts = shlex.quote(str(self.folder / f"hosts.{name}"))
        inside = f"mount --bind {hosts} /etc/hosts && hostname {name} && exec {shlex.join(command)}"
        return subprocess.Popen(
            ["ip", "netns", "exec", self.spaces[rank], "unshare", "--mount", "--uts", "sh", "-c", inside],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def meet(self, master: str, **variables: str) -> list[tuple[int, str]]:
        """Exit status and output of SCRIPT on both."""
        return _outcomes([self.start(rank, master, sys.executable, "-c", SCRIPT, **variables) for rank in range(2)])


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


def _outcomes(processes: list[subprocess.Popen]) -> list[tuple[int, str]]:
    try:
        outputs = [process.communicate(timeout=200)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, output) for process, output in zip(processes, outputs, strict=True)]


@contextlib.contextmanager
def _built(hosts: Hosts) -> Iterator[Hosts]:
    try:
        hosts.build()
        probe = hosts.start(0, "127.0.0.1", "true").wait()
        assert probe == 0, f"exit status {probe} of unshare, mount or hostname"
        yield hosts
    finally:
        hosts.remove()


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    try:
        with _built(Hosts(tmp_path_factory.mktemp("hosts"))) as built:
            yield built
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        pytest.skip(f"network namespaces cannot be made here: {getattr(error, 'stderr', None) or error}")


def _lines(output: str, start: str) -> list[str]:
    return [line for line in output.splitlines() if line.startswith(start)]


@pytest.mark.slow
# The address; a name that means 127.0.1.1 on the host itself; the address of IPv6.
@pytest.mark.parametrize("master", ["10.77.0.1", "node-a", "fd77::1"])
def test_hosts_whose_own_name_is_loopback_find_one_another(hosts, master):
    for status, output in hosts.meet(master):
        assert status == 0, output
        assert "told ['0', '1']" in output


@pytest.mark.slow
def test_hosts_that_do_not_know_their_own_name_find_one_another(hosts):
    kept = [(hosts.folder / f"hosts.{name}").read_text().splitlines() for name in hosts.NAMES]
    try:
        for name in hosts.NAMES:
            hosts.write_hosts(name, ["127.0.0.1 localhost"])
        outcomes = hosts.meet("10.77.0.1")
    finally:
        for name, lines in zip(hosts.NAMES, kept, strict=True):
            hosts.write_hosts(name, lines)
    assert [status for status, _ in outcomes] == [0, 0], outcomes


@pytest.mark.slow
def test_such_hosts_train_to_the_end(hosts, tmp_path):
    config = str(tiny_world.make_world(tmp_path))
    command = [sys.executable, "train.py", "--config", config]
    outcomes = _outcomes([hosts.start(rank, "10.77.0.1", *command) for rank in range(2)])
    assert [status for status, _ in outcomes] == [0, 0], outcomes
    run = only_run(tmp_path)
    assert json.loads((run / "run.json").read_text())["processes"] == 2
    assert sorted(losses(run)) == [1, 2, 3, 4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("interface", "message"),
    [
        (
            "eth9",
            "has no interface 'eth9' with an address, only east, end, lo, side; set it to east, which leads to",
        ),
        ("lo", "no other machine reaches the address of lo (127.0.0.1); set it to east, which leads to MASTER_ADDR"),
    ],
)
def test_an_interface_that_cannot_be_right_is_told_on_every_host(hosts, interface, message):
    outcomes = hosts.meet("10.77.0.1", GLOO_SOCKET_IFNAME=interface)
    for status, output in outcomes:
        (line,) = _lines(output, "error: ")
        assert status == 2 and f"GLOO_SOCKET_IFNAME is '{interface}'" in line and "Traceback" not in output, output
    assert message in outcomes[0][1]


@pytest.mark.slow
def test_a_network_that_the_other_host_does_not_reach_is_told_on_every_host(hosts):
    for status, output in hosts.meet("10.77.0.1", GLOO_SOCKET_IFNAME="side"):
        (line,) = _lines(output, "error: ")
        assert status == 2 and "Traceback" not in output, output
        assert "process 0 on node-a by side (10.88.1.1" in line and "process 1 on node-b by side (10.88.2.1" in line
        assert "do not all reach one another" in line and "GLOO_SOCKET_IFNAME=NAME" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("master", "messages"),
    [
        ("10.99.0.1", ["does not reach itself at MASTER_ADDR 10.99.0.1", "gets no answer from MASTER_ADDR 10.99.0.1"]),
        ("10.77.0.2", ["does not reach itself at MASTER_ADDR 10.77.0.2", "nothing listens at MASTER_ADDR 10.77.0.2"]),
        ("nowhere", ["does not reach itself at MASTER_ADDR nowhere", "does not know the name MASTER_ADDR nowhere"]),
    ],
)
def test_a_master_that_is_not_reached_is_told_on_every_host(hosts, master, messages):
    for (status, output), message in zip(hosts.meet(master, SHORT="6"), messages, strict=True):
        (waiting,), (line,) = _lines(output, "[process "), _lines(output, "error: ")
        assert status == 2 and message in waiting and message in line and "--master_addr" in line, output
        assert "Traceback" not in output


@pytest.mark.slow
def test_a_host_that_starts_late_is_waited_for_and_one_that_never_comes_is_missed(hosts):
    process = hosts.start(0, "10.77.0.1", sys.executable, "-u", "-c", SCRIPT, SHORT="150")
    assert process.stdout is not None
    line = next(line for line in process.stdout if line.startswith("[process 0] waiting"))
    assert "1 of 2 processes are at MASTER_ADDR 10.77.0.1 port 29533, missing: 1; see their output" in line
    late = hosts.start(1, "10.77.0.1", sys.executable, "-c", SCRIPT, SHORT="150")
    assert [status for status, _ in _outcomes([process, late])] == [0, 0]

    ((status, output),) = _outcomes([hosts.start(0, "10.77.0.1", sys.executable, "-c", SCRIPT, SHORT="6")])
    (line,) = _lines(output, "error: ")
    assert status == 2 and "missing: 1" in line and "Traceback" not in output
