"""How the processes of a run find one another: they meet at MASTER_ADDR, and choose the network that gloo takes.

gloo alone binds to whatever the machine's own name resolves to. On many machines that is loopback (Debian writes
127.0.1.1 into /etc/hosts), or an address that other machines do not reach. Here each process takes the interface by
which it reaches MASTER_ADDR, and all try their connections before the run depends on them. NCCL chooses by itself, or
as NCCL_SOCKET_IFNAME says.
"""

from __future__ import annotations

import contextlib
import datetime
import faulthandler
import functools
import ipaddress
import json
import os
import re
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from common.errors import UserError

VARIABLE = "GLOO_SOCKET_IFNAME"
# Processes start apart: on another machine Python reads torch from a cold network disk, or the machine itself is still
# starting. That takes minutes, so only this long a silence is a fault; what is missing is told sooner.
MEET_SECONDS = 600.0
TELL_SECONDS = 30.0
POLL_SECONDS = 0.1
# One attempt to connect: a host that drops packets is silent.
ATTEMPT_SECONDS = 5.0
# All processes are there when gloo connects, so only the network takes time. gloo gives the side that listens five
# times this: with 7 s every process has spoken within a minute (train.LET_FIRST_SPEAK_SECONDS included).
CONNECT_SECONDS = 7.0
# Process 0 keeps the store for the others to read why it ends.
LAST_WORDS_SECONDS = 2.0
EXIT_STATUS = 4


class Contact(NamedTuple):
    """One process's connection to process 0: its machine, and the addresses of both ends."""

    host: str
    own: str
    master: str


class Patience:
    """Waits in steps; says once what for, and gives up after MEET_SECONDS."""

    def __init__(self, rank: int):
        self.rank, self.since, self.told = rank, time.monotonic(), False

    def wait(self, reason: Callable[[], str]) -> None:
        """One step.

        Raises:
            UserError: it has waited long enough.
        """
        waited = time.monotonic() - self.since
        if waited > MEET_SECONDS:
            raise UserError(f"{reason()} (waited {waited:.0f} s)")
        if waited > TELL_SECONDS and not self.told:
            self.told = True
            limit = f"{MEET_SECONDS - waited:.0f} s more"
            print(f"[process {self.rank}] waiting for up to {limit}: {reason()}", flush=True)
        time.sleep(POLL_SECONDS)


class Meeting:
    """All processes at MASTER_ADDR: what each says about itself, told to all. Every process makes the same calls."""

    def __init__(self, rank: int, processes: int, address: str, port: int, run: str = ""):
        self.rank, self.processes, self.address, self.port = rank, processes, address, port
        self.host = socket.gethostname()
        self.patience = Patience(rank)
        self.store = self._serve() if rank == 0 and not _launcher_serves() else None
        self.contact = self._reach()
        if self.store is None:
            self.store = self._connect()
        self.said = _prefixed("meeting", self.store)
        self._join(json.dumps([processes, run]))

    @property
    def place(self) -> str:
        return f"MASTER_ADDR {self.address} port {self.port}"

    def _serve(self) -> Any:
        """Process 0's store. torch's own, made later for the same port, is this one again (`multi_tenant`)."""
        import torch.distributed as dist

        limit = datetime.timedelta(seconds=TELL_SECONDS)
        try:
            return dist.TCPStore(
                *("127.0.0.1", self.port, self.processes, True, limit), wait_for_workers=False, multi_tenant=True
            )
        except dist.DistError as error:
            if "EADDRINUSE" in str(error):
                raise UserError(
                    f"port {self.port} is taken, by another run perhaps; give this one its own: "
                    f"deepspeed --master_port {self.port + 1} train.py"
                ) from None
            raise UserError(
                f"process 0 cannot listen on port {self.port} ({one_line(error)}); name another: "
                "deepspeed --master_port"
            ) from error

    def _reach(self) -> Contact:
        """A connection to process 0, which shows the addresses of both ends."""
        while True:
            try:
                with socket.create_connection((self.address, self.port), ATTEMPT_SECONDS) as connection:
                    return Contact(self.host, connection.getsockname()[0], connection.getpeername()[0])
            except OSError as error:
                reason = functools.partial(self._unreached, error)
            self.patience.wait(reason)

    def _unreached(self, error: OSError) -> str:
        reason = error.strerror or str(error)
        if self.rank == 0:
            return (
                f"process 0 listens on port {self.port} of {self.host} and does not reach itself at MASTER_ADDR "
                f"{self.address} ({reason}); it must be an address of this machine, the first: deepspeed --master_addr"
            )
        if isinstance(error, socket.gaierror):
            return (
                f"{self.host} does not know the name MASTER_ADDR {self.address} ({reason}); give the address of the "
                "first machine instead: deepspeed --master_addr"
            )
        if isinstance(error, ConnectionRefusedError):
            return (
                f"nothing listens at {self.place}: process 0 has not started, has ended, or runs on another machine; "
                "see its output, and name the address of its machine: deepspeed --master_addr"
            )
        return (
            f"{self.host} gets no answer from {self.place} ({reason}); let the port through the firewall, or name an "
            "address of the first machine that this one reaches: deepspeed --master_addr"
        )

    def _connect(self) -> Any:
        import torch.distributed as dist

        limit = datetime.timedelta(seconds=TELL_SECONDS)
        try:
            return dist.TCPStore(self.address, self.port, self.processes, False, limit, wait_for_workers=False)
        except dist.DistError as error:
            raise UserError(
                f"{self.place} is not answered by process 0 of a run ({one_line(error)}); name a free port: "
                "deepspeed --master_port"
            ) from error

    def _join(self, run: str) -> None:
        """Take this process's place, if process 0 is of the same run: two that are started on one port would mix.

        Raises:
            UserError: it is of another run, or another process has the same place.
        """
        claim = f"{self.host} process {os.getpid()}"
        try:
            if self.rank == 0:
                self.said.set("run", run)
            while not self.said.check(["run"]):
                self.patience.wait(lambda: f"process 0 at {self.place} does not say which run it is of")
            theirs = self.said.get("run").decode()
            if theirs != run:
                ours, its = json.loads(run)[0], json.loads(theirs)[0]
                count = f"{its} processes there, WORLD_SIZE {ours} here" if ours != its else "another configuration"
                raise UserError(
                    f"{self.place} is that of another run ({count}); give this one a port of its own: "
                    f"deepspeed --master_port {self.port + 1} train.py, or the same command on all machines"
                )
            holder = self.said.compare_set(f"place/{self.rank}", "", claim).decode()
        except RuntimeError as error:
            raise UserError(
                f"process 0 at {self.place} has gone; its own message says why ({one_line(error)})"
            ) from error
        if holder != claim:
            raise UserError(
                f"{claim} is to be process {self.rank} at {self.place}, and {holder} is that already; give each its "
                "own RANK (deepspeed --no_ssh: --node_rank), or another run its own port: deepspeed --master_port"
            )

    def exchange(self, subject: str, value: Any) -> list[Any]:
        """What each process says on a subject, in their order, once all have said it.

        Raises:
            UserError: one refuses instead (`refuse`), is gone, or does not come.
        """
        keys = [f"{subject}/{rank}" for rank in range(self.processes)]
        try:
            self.said.set(keys[self.rank], json.dumps(value))
            while not self.said.check(keys):
                if self.said.check(["refused"]):
                    raise UserError(self.said.get("refused").decode())
                self.patience.wait(lambda: self._missing(keys))
            return [json.loads(self.said.get(key)) for key in keys]
        except RuntimeError as error:
            raise UserError(
                f"process 0 at {self.place} has gone; its own message says why ({one_line(error)})"
            ) from error

    def _missing(self, keys: Sequence[str]) -> str:
        missing = [rank for rank, key in enumerate(keys) if not self.said.check([key])]
        listed = ", ".join(map(str, missing[:8])) + (", ..." if len(missing) > 8 else "")
        return (
            f"{len(keys) - len(missing)} of {len(keys)} processes are at {self.place}, missing: {listed}; see "
            "their output: they have not started, have ended, or do not reach this address (deepspeed --master_addr)"
        )

    def refuse(self, reason: str) -> UserError:
        """The error with which this process ends, and the others that it tells of it."""
        try:
            self.said.set("refused", reason)
        except RuntimeError as error:
            return UserError(f"{reason} (process 0 has gone: {one_line(error)})")
        return UserError(reason)

    def last_words(self) -> None:
        if self.rank == 0 and self.processes > 1:
            time.sleep(LAST_WORDS_SECONDS)


@contextlib.contextmanager
def meeting(rank: int, processes: int, run: str = "") -> Iterator[None]:
    """All processes of `run` have met at MASTER_ADDR, and gloo connects them; GLOO_SOCKET_IFNAME is set where it was
    not.

    Inside, process 0 serves the store in which torch's own groups meet.

    Raises:
        UserError: in every process, where one is missing, or where they do not reach one another.
    """
    met = Meeting(rank, processes, _address(os.environ["MASTER_ADDR"]), _port(os.environ["MASTER_PORT"]), run)
    try:
        contacts = [Contact(*said) for said in met.exchange("contact", met.contact)]
        interface = _interface(met, contacts)
        places = met.exchange("interface", f"process {rank} on {met.host} by {interface}")
        _try_gloo(met, places)
    except UserError:
        met.last_words()
        raise
    yield


def _interface(met: Meeting, contacts: Sequence[Contact]) -> str:
    """Set GLOO_SOCKET_IFNAME, or check what the user has set; returns it with its addresses."""
    interfaces = interface_addresses()
    route = chosen_interface(met.rank, contacts, interfaces)
    named = os.environ.get(VARIABLE)
    if named:
        several_machines = not all(_is_loopback(contact.own) for contact in contacts)
        todo = f"set it to {route}, which leads to {met.place}, or unset it" if route else "unset it"
        for name in named.split(","):
            addresses = interfaces.get(name)
            if not addresses:
                raise met.refuse(
                    f"{VARIABLE} is {named!r}, and {met.host} (process {met.rank}) has no interface {name!r} with an "
                    f"address, only {', '.join(sorted(interfaces))}; {todo}"
                )
            if several_machines and all(map(_is_loopback, addresses)):
                raise met.refuse(
                    f"{VARIABLE} is {named!r} on {met.host} (process {met.rank}), and no other machine reaches the "
                    f"address of {name} ({addresses[0]}); {todo}"
                )
        return ", ".join(_with_addresses(name, interfaces) for name in named.split(","))
    if route is None:  # behind a translated address: gloo's own choice, which is tried next
        return "gloo's own choice of interface"
    os.environ[VARIABLE] = route
    return _with_addresses(route, interfaces)


def _with_addresses(name: str, interfaces: Mapping[str, Sequence[str]]) -> str:
    return f"{name} ({', '.join(interfaces[name][:2])})"


def interface_addresses() -> dict[str, list[str]]:
    """Interface -> its IPv4 and IPv6 addresses."""
    import psutil

    found = {}
    for name, addresses in psutil.net_if_addrs().items():
        kept = [a.address.partition("%")[0] for a in addresses if a.family in (socket.AF_INET, socket.AF_INET6)]
        if kept:
            found[name] = kept
    return found


def chosen_interface(rank: int, contacts: Sequence[Contact], interfaces: Mapping[str, Sequence[str]]) -> str | None:
    """The interface by which process `rank` and the others reach one another; None where no interface has its address.

    A process on the machine of process 0 may come by loopback, where a name stands for the machine. Then the others'
    connections show the address that the machine has for them.
    """
    address = contacts[rank].own
    from_outside = [contact.master for contact in contacts if not _is_loopback(contact.own)]
    if not _is_loopback(address):
        return _owner(address, interfaces)
    if from_outside:
        return _owner(from_outside[0], interfaces)
    return next((name for name, addresses in interfaces.items() if any(map(_is_loopback, addresses))), None)


def _owner(address: str, interfaces: Mapping[str, Sequence[str]]) -> str | None:
    wanted = ipaddress.ip_address(address.partition("%")[0])
    for name, addresses in interfaces.items():
        if any(ipaddress.ip_address(one) == wanted for one in addresses):
            return name
    return None


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def _try_gloo(met: Meeting, places: Sequence[str]) -> None:
    """Connect every two processes once, with a short limit, and close the connections again."""
    import torch.distributed as dist

    limit = datetime.timedelta(seconds=CONNECT_SECONDS)
    try:
        group: Any = dist.ProcessGroupGloo(_prefixed("attempt", met.store), met.rank, met.processes, limit)
        group.barrier().wait()
    except RuntimeError as error:
        others = [place for rank, place in enumerate(places) if rank != met.rank]
        shown = "; ".join(others[:4]) + ("; ..." if len(others) > 4 else "")
        raise UserError(
            f"{places[met.rank]} and the others ({shown}) do not all reach one another ({one_line(error)}); let every "
            f"TCP port through between the machines, or name the interface that joins them: {VARIABLE}=NAME, in a "
            "line of ~/.deepspeed_env where deepspeed starts other machines"
        ) from error


@contextlib.contextmanager
def ends_when_stuck(rank: int, what: str, advice: str) -> Iterator[None]:
    """Says after TELL_SECONDS that `what` takes long, and ends the process after MEET_SECONDS: a library that waits in
    its own code hears nothing else."""
    done = threading.Event()

    def watch() -> None:
        if done.wait(TELL_SECONDS):
            return
        print(f"[process {rank}] {what} takes more than {TELL_SECONDS:.0f} s: {advice}", flush=True)
        if not done.wait(MEET_SECONDS - TELL_SECONDS):
            message = f"error: [process {rank}] {what} did not end in {MEET_SECONDS:.0f} s; {advice}"
            print(message, file=sys.stderr, flush=True)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(EXIT_STATUS)

    threading.Thread(target=watch, name="start watch", daemon=True).start()
    try:
        yield
    finally:
        done.set()


def one_line(error: BaseException) -> str:
    """An error of a library as part of a message."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _prefixed(name: str, store: Any) -> Any:
    """A part of the store of its own; torchrun's store outlives the processes that it starts anew."""
    import torch.distributed as dist

    return dist.PrefixStore(name + os.environ.get("TORCHELASTIC_RESTART_COUNT", ""), store)


def _address(text: str) -> str:
    if not text or re.fullmatch(r"[^:]*:\d+", text):
        raise UserError(
            f"MASTER_ADDR is {text!r}, must be the address or name of the first machine, without a port; set it by "
            "deepspeed --master_addr (and --master_port)"
        )
    return text


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 2**16:
        raise UserError(f"MASTER_PORT is {text}, must be a port from 1 to 65535; set it by deepspeed --master_port")
    return int(text)


def _launcher_serves() -> bool:
    """Whether torchrun has started the store, so that process 0 does not."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
