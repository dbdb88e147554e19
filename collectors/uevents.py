"""What the kernel announces of its devices: NETLINK_KOBJECT_UEVENT.

Source: lib/kobject_uevent.c. The socket stays open and buffers what comes between two passes; nobody waits at it. It is opened without
pyroute2, which has no class for these messages and takes a tenth of a second to import.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed

_KOBJECT_UEVENT = 15  # include/uapi/linux/netlink.h
_KERNEL = 1  # the group of the kernel's own messages; udev's are group 2
_MESSAGE_BYTES = 8192  # UEVENT_BUFFER_SIZE is 2048, include/linux/kobject.h
_MESSAGES = 4096


class Uevent(Fact, frozen=True):
    """One change of a device: "offline" of "/devices/system/cpu/cpu3" in the subsystem "cpu"."""

    action: str
    path: str
    subsystem: str | None = None


class Uevents(Fact, frozen=True):
    """What came since the last pass; `lost`: there was more than the socket holds, or something that is not understood."""

    events: tuple[Uevent, ...] = ()
    lost: bool = False


@dataclass(slots=True)
class UeventSocket:
    """The socket, once the first pass has opened it."""

    opened: socket.socket | None = None


def read(root: SysRoot, cache: UeventSocket) -> Uevents:
    """What the kernel announced since the last pass; nothing in the first one, and on a recording. `Unavailable` where it is refused."""
    if not root.live:
        return Uevents()
    if cache.opened is None:
        cache.opened = _listen()
    return _drain(cache.opened)


def _listen() -> socket.socket:
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _KOBJECT_UEVENT)
    except OSError as error:
        raise _refused(error) from None
    try:
        opened.bind((0, _KERNEL))
    except OSError as error:
        opened.close()
        raise _refused(error) from None
    return opened


def _refused(error: OSError) -> Unavailable:
    remedy = "add AF_NETLINK to RestrictAddressFamilies= of the unit; until then, changes are seen in the lists of CPUs and nodes"
    return Unavailable("denied", f"NETLINK_KOBJECT_UEVENT: {os.strerror(error.errno or 0)}", remedy)


def _drain(opened: socket.socket) -> Uevents:
    events: list[Uevent] = []
    lost = False
    for _ in range(_MESSAGES):
        try:
            data, sender = opened.recvfrom(_MESSAGE_BYTES)
        except BlockingIOError:
            return Uevents(tuple(events), lost)
        except OSError:
            # ENOBUFS: more came than the socket holds.
            lost = True
            continue
        try:
            # The kernel has port 0; other processes may send to us, too.
            if sender[0] == 0:
                events.append(parse(data.decode("utf-8", "backslashreplace")))
        except Malformed:
            lost = True
    return Uevents(tuple(events), lost=True)


def parse(text: str) -> Uevent:
    """ "offline@/devices/system/cpu/cpu3", then NAME=value, each with a NUL byte behind it."""
    head, *rest = text.split("\0")
    action, at, path = head.partition("@")
    if not at:
        raise Malformed(f"expected 'action@path', got {head[:60]!r}")
    return Uevent(action, path, next((pair[10:] for pair in rest if pair.startswith("SUBSYSTEM=")), None))
