"""How processes meet: the interface that each takes, and what they say where they do not meet."""

import os
import re
import socket
import subprocess
import sys
import threading

import pytest

from common.errors import UserError
from common.paths import ROOT
from tests.helpers.launch import free_port
from training import rendezvous
from training.rendezvous import Contact, Meeting, chosen_interface, meeting

A = {"lo": ["127.0.0.1", "::1"], "docker0": ["172.17.0.1"], "eth0": ["10.0.0.1", "fd00::1"]}
B = {"lo": ["127.0.0.1", "::1"], "docker0": ["172.17.0.1"], "ens3": ["10.0.0.2", "fe80::2"]}
HERE, THERE = Contact("a", "10.0.0.1", "10.0.0.1"), Contact("b", "10.0.0.2", "10.0.0.1")
ON_LOOPBACK = Contact("a", "127.0.0.1", "127.0.1.1")


@pytest.mark.parametrize(
    ("rank", "contacts", "interfaces", "expected"),
    [
        (0, [ON_LOOPBACK], A, "lo"),
        (1, [ON_LOOPBACK, ON_LOOPBACK], A, "lo"),
        (0, [HERE, THERE], A, "eth0"),
        (1, [HERE, THERE], B, "ens3"),
        # The machine's own name means loopback on itself alone: the other shows which address it has.
        (0, [ON_LOOPBACK, THERE], A, "eth0"),
        (1, [ON_LOOPBACK, HERE, THERE], A, "eth0"),
        (0, [Contact("a", "::1", "::1"), Contact("b", "fd00::2", "FD00:0::1")], A, "eth0"),
        (1, [HERE, Contact("b", "fe80::2%ens3", "fe80::1%ens3")], B, "ens3"),
        # Behind a translated address no interface has it.
        (0, [ON_LOOPBACK, Contact("b", "10.0.0.2", "198.51.100.7")], A, None),
        (0, [Contact("a", "10.0.0.99", "10.0.0.99")], A, None),
    ],
)
def test_interface_is_that_by_which_processes_reach_one_another(rank, contacts, interfaces, expected):
    assert chosen_interface(rank, contacts, interfaces) == expected


@pytest.fixture
def alone(monkeypatch):
    """The environment of a single process that meets on loopback."""
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(free_port()))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.delenv("TORCHELASTIC_USE_AGENT_STORE", raising=False)
    monkeypatch.setattr(rendezvous, "TELL_SECONDS", 0.2)
    monkeypatch.setattr(rendezvous, "MEET_SECONDS", 0.6)
    monkeypatch.setattr(rendezvous, "LAST_WORDS_SECONDS", 0.0)
    return monkeypatch


def test_loopback_is_taken_where_all_processes_are_on_one_machine(alone):
    alone.delenv("GLOO_SOCKET_IFNAME")
    with meeting(0, 1):
        addresses = rendezvous.interface_addresses()[os.environ["GLOO_SOCKET_IFNAME"]]
    assert any(address in ("127.0.0.1", "::1") for address in addresses)


def test_an_interface_that_is_not_there_is_named_beside_the_one_that_leads_to_the_others(alone):
    alone.setenv("GLOO_SOCKET_IFNAME", "eth99")
    with pytest.raises(UserError, match=r"GLOO_SOCKET_IFNAME is 'eth99', and .* has no interface 'eth99' .*to lo"):
        with meeting(0, 1):
            pass


def test_a_process_that_does_not_come_is_told_and_then_an_error(alone, capsys):
    with pytest.raises(UserError, match=r"1 of 3 processes are at MASTER_ADDR .*, missing: 1, 2; see"):
        with meeting(0, 3):
            pass
    assert "more: 1 of 3 processes are at MASTER_ADDR" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "nothing listens at MASTER_ADDR 10.1.1.1 port"),
        (OSError(113, "No route to host"), "gets no answer from MASTER_ADDR 10.1.1.1 port .* (No route to host)"),
        (TimeoutError("timed out"), "gets no answer from MASTER_ADDR 10.1.1.1 port .* (timed out)"),
        (socket.gaierror(-2, "Name or service not known"), "does not know the name MASTER_ADDR 10.1.1.1"),
    ],
)
def test_a_master_that_is_not_reached_is_told_and_then_an_error(alone, capsys, error, message):
    def refuse(*_):
        raise error

    alone.setenv("MASTER_ADDR", "10.1.1.1")
    alone.setattr(rendezvous.socket, "create_connection", refuse)
    pattern = message.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(UserError, match=pattern + r".*deepspeed --master_addr \(waited \d+ s\)"):
        with meeting(1, 2):
            pass
    assert "[process 1] waiting for up to" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"process 0 listens on port \d+ of .* and does not reach itself"):
        with meeting(0, 2):
            pass


def test_a_port_that_is_none_is_refused(alone):
    alone.setenv("MASTER_PORT", "70000")
    with pytest.raises(UserError, match="MASTER_PORT is 70000, must be a port from 1 to 65535"):
        with meeting(0, 1):
            pass


@pytest.mark.parametrize("address", ["", "10.77.0.1:29533"])
def test_an_address_that_is_none_is_refused_at_once(alone, address):
    alone.setenv("MASTER_ADDR", address)
    with pytest.raises(UserError, match=f"MASTER_ADDR is '{address}', must be the address or name"):
        with meeting(0, 1):
            pass


@pytest.mark.parametrize(
    ("rank", "processes", "run", "message"),
    [
        (1, 2, "another", r"is that of another run \(another configuration\); give this one a port of its own"),
        (1, 3, "this", r"is that of another run \(2 processes there, WORLD_SIZE 3 here\)"),
        (0, 2, "this", r"port \d+ is taken"),
    ],
)
def test_a_process_of_another_run_is_sent_away_and_the_run_goes_on(alone, rank, processes, run, message):
    alone.setattr(rendezvous, "MEET_SECONDS", 60.0)
    port, first, there = free_port(), {}, threading.Event()

    def come(number: int) -> None:
        first[number] = Meeting(number, 2, "127.0.0.1", port, "this")
        there.set()

    threads = [threading.Thread(target=come, args=(number,)) for number in range(2)]
    threads[0].start()
    assert there.wait(20)
    # A process of its own: within one, torch makes two stores of one port the same.
    stranger = f"from training.rendezvous import Meeting; Meeting({rank}, {processes}, '127.0.0.1', {port}, '{run}')"
    ended = subprocess.run([sys.executable, "-c", stranger], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode and re.search(message, ended.stderr)
    threads[1].start()
    threads[1].join()
    said = {}
    threads = [
        threading.Thread(target=lambda number=number: said.update({number: first[number].exchange("it", number)}))
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == {0: [0, 1], 1: [0, 1]}


def test_two_processes_with_one_rank_are_told(alone):
    port = free_port()
    zero = Meeting(0, 3, "127.0.0.1", port)
    first = Meeting(1, 3, "127.0.0.1", port)
    alone.setattr(rendezvous.os, "getpid", lambda: 7)
    with pytest.raises(UserError, match=r"process 7 is to be process 1 at .* and .* is that already; give each"):
        Meeting(1, 3, "127.0.0.1", port)
    assert (zero.rank, first.rank) == (0, 1)


def test_what_one_process_refuses_all_are_told(alone):
    port, met = free_port(), {}

    def come(rank: int) -> None:
        met[rank] = Meeting(rank, 2, "127.0.0.1", port)

    threads = [threading.Thread(target=come, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert str(met[1].refuse("no interface eth9 on b")) == "no interface eth9 on b"
    with pytest.raises(UserError, match=r"^no interface eth9 on b$"):
        met[0].exchange("interface", "eth0")


STUCK = """
import time
from training import rendezvous
rendezvous.TELL_SECONDS, rendezvous.MEET_SECONDS = 1.0, 2.0
with rendezvous.ends_when_stuck(1, "connecting by nccl", "set NCCL_SOCKET_IFNAME"):
    pass
time.sleep(2.5)
print("went on", flush=True)
with rendezvous.ends_when_stuck(1, "connecting by nccl", "set NCCL_SOCKET_IFNAME"):
    time.sleep(60)
"""


def test_a_library_that_waits_for_ever_is_told_and_then_ended():
    command = [sys.executable, "-c", STUCK]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert ended.returncode == rendezvous.EXIT_STATUS
    assert ended.stdout.splitlines() == [
        "went on",
        "[process 1] connecting by nccl takes more than 1 s: set NCCL_SOCKET_IFNAME",
    ]
    assert "error: [process 1] connecting by nccl did not end in 2 s; set NCCL_SOCKET_IFNAME" in ended.stderr
