"""Processes with their threads that have ended: how long they ran, and waited for a CPU. Taskstats, over generic netlink.

Sources: Documentation/accounting/{taskstats,taskstats-struct,delay-accounting}.rst, include/uapi/linux/{taskstats,genetlink}.h.
/proc/PID/task forgets a thread that ends; here its time is its process' as long as that one lives. What waits for a CPU is counted
whatever kernel.task_delayacct says, which is about waiting for memory and disks: that is not read, for a process that is older than
the switch has 0 there. The requests are put together by hand: to import pyroute2 for them takes 0.28 s of CPU time and 25 MB.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Iterable, Iterator

from agent.model.values import MAX_NUMBER, Count, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed

_NETLINK_GENERIC = 16  # include/uapi/linux/netlink.h
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2  # include/uapi/linux/genetlink.h
_TASKSTATS_CMD_GET, _TASKSTATS_CMD_ATTR_TGID, _TYPE_STATS, _TYPE_AGGR_TGID = 1, 2, 3, 5  # include/uapi/linux/taskstats.h

_HEAD = struct.Struct("=IHHII")  # length, kind, flags, sequence, port
_GENERIC_HEAD = struct.Struct("=BBH")
_ATTRIBUTE = struct.Struct("=HH")  # length with itself, kind
_VERSION, _DELAY, _RUN = struct.Struct("=H"), struct.Struct("=QQ"), struct.Struct("=Q")
_DELAY_AT, _RUN_AT = 16, 72
# Version 15 (Linux 6.14) put new fields before the run time; 16 puts them where all new fields go, at the end.
_MOVED = 15

_MESSAGE_BYTES = 8192
# Their answers, of 600 bytes each, wait in the socket together: far less than the 208 KiB that fit.
_BATCH = 32

DENIED = "needs CAP_NET_ADMIN: run as root, or add it to the unit in deploy/"


class Account(Fact, frozen=True):
    """One process. `delay_ns`: runnable and not on a CPU."""

    pid: int
    delay_ns: Count
    timeslices: Count
    run_ns: Count | None = None


def read(root: SysRoot, pids: Iterable[int]) -> tuple[Account, ...]:
    """Each of `pids` that is there."""
    return root.reply("taskstats", tuple[Account, ...], lambda: ask(root, pids))


def ask(root: SysRoot, pids: Iterable[int]) -> tuple[Account, ...]:
    if root.path != "/":
        # The kernel takes numbers of processes in the agent's own PID namespace, which may not be that of the tree.
        raise Unavailable("unsupported", f"{root.path}: processes of another root cannot be asked for", "run on the host itself")
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_GENERIC) as opened:
            opened.bind((0, 0))
            (name,) = _answers(opened, [_request(_GENL_ID_CTRL, 0, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, b"TASKSTATS\0")])
            family = parse_family(name)
            in_order = sorted(set(pids))
            batches = [in_order[at : at + _BATCH] for at in range(0, len(in_order), _BATCH)]
            return tuple(account for batch in batches for account in _accounts(root, opened, family, batch))
    except BlockingIOError:
        # The kernel answers before the question has returned.
        raise Unavailable("failed", "TASKSTATS: no answer") from None
    except PermissionError as error:
        raise Unavailable("denied", f"TASKSTATS: {error.strerror}", DENIED) from None
    except OSError as error:
        absent = error.errno in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT, errno.EOPNOTSUPP)
        remedy = "a kernel with CONFIG_TASKSTATS and CONFIG_TASK_DELAY_ACCT" if absent else None
        raise Unavailable("unsupported" if absent else "failed", f"TASKSTATS: {error.strerror}", remedy) from None


def _accounts(root: SysRoot, opened: socket.socket, family: int, pids: list[int]) -> Iterator[Account]:
    questions = [_request(family, pid, _TASKSTATS_CMD_GET, _TASKSTATS_CMD_ATTR_TGID, struct.pack("=I", pid)) for pid in pids]
    for answer in _answers(opened, questions):
        try:
            account = parse_account(answer)
        except ProcessLookupError:
            continue
        except Malformed as error:
            root.note_malformed("TASKSTATS", error)
            continue
        if account.timeslices:
            # A process that runs has had one: without CONFIG_TASK_DELAY_ACCT all is 0.
            yield account


def _answers(opened: socket.socket, questions: list[bytes]) -> list[bytes]:
    opened.send(b"".join(questions))
    return [opened.recv(_MESSAGE_BYTES) for _ in questions]


def _request(kind: int, sequence: int, command: int, attribute: int, value: bytes) -> bytes:
    body = _GENERIC_HEAD.pack(command, 1, 0) + _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + value + bytes(-len(value) % 4)
    return _HEAD.pack(_HEAD.size + len(body), kind, _NLM_F_REQUEST, sequence, 0) + body


def parse_family(message: bytes) -> int:
    """The number that this kernel has given the family."""
    number = _attributes(_body(message)[1]).get(_CTRL_ATTR_FAMILY_ID, b"")
    if len(number) != _VERSION.size:
        raise Malformed("expected a family's number")
    family: int = _VERSION.unpack(number)[0]
    return family


def parse_account(message: bytes) -> Account:
    """Questions bear the number of the process as their own, and so do answers."""
    pid, body = _body(message)
    stats = _attributes(_attributes(body).get(_TYPE_AGGR_TGID, b"")).get(_TYPE_STATS, b"")
    if len(stats) < _RUN_AT + _RUN.size:
        raise Malformed(f"expected a struct taskstats, got {len(stats)} bytes")
    timeslices, delay_ns = _DELAY.unpack_from(stats, _DELAY_AT)
    run_ns = None if _VERSION.unpack_from(stats)[0] == _MOVED else _RUN.unpack_from(stats, _RUN_AT)[0]
    if max(timeslices, delay_ns, run_ns or 0) > MAX_NUMBER:
        raise Malformed(f"expected counters of process {pid} of at most 63 bits, got {timeslices}, {delay_ns}, {run_ns}")
    return Account(pid, delay_ns, timeslices, run_ns)


def _body(message: bytes) -> tuple[int, bytes]:
    """A message's sequence number, and what is behind its heads; the kernel's refusal is an OSError."""
    if len(message) < _HEAD.size + _GENERIC_HEAD.size:
        raise Malformed(f"expected a message of netlink, got {len(message)} bytes")
    length, kind, _, sequence, _ = _HEAD.unpack_from(message)
    if kind == _NLMSG_ERROR:
        number = -struct.unpack_from("=i", message, _HEAD.size)[0]
        raise OSError(number, os.strerror(number))
    return sequence, message[_HEAD.size + _GENERIC_HEAD.size : length]


def _attributes(data: bytes) -> dict[int, bytes]:
    attributes: dict[int, bytes] = {}
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        if length < _ATTRIBUTE.size:
            raise Malformed(f"an attribute of {length} bytes")
        attributes[kind] = data[at + _ATTRIBUTE.size : at + length]
        at += length + -length % 4
    return attributes
