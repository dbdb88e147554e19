"""What the kernel announces of its devices: NETLINK_KOBJECT_UEVENT.

Source: lib/kobject_uevent.c. The socket keeps what comes between two passes; nobody waits at it. It is opened plainly and not through
pyroute2, which has no class for these messages and takes a tenth of a second to import.
"""

from __future__ import annotations

import os
import socket

from agent.model.values import Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed

_KOBJECT_UEVENT = 15  # include/uapi/linux/netlink.h
_KERNEL = 1  # the group of the kernel's own messages; udev's are group 2
_MESSAGE_BYTES = 8192  # UEVENT_BUFFER_SIZE is 2048, include/linux/kobject.h
_MESSAGES = 4096


class Uevent(Fact, frozen=True):
    """ "offline" of "/devices/system/cpu/cpu3" in "cpu"."""

    action: str
    path: str
    subsystem: str | None = None


class Uevents(Fact, frozen=True):
    """What came since the last look; `lost`: there was more."""

    seen: tuple[Uevent, ...] = ()
    lost: bool = False


class Watch:
    """A socket that is opened at the first look. Where it is refused, each look says so."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def read(self, root: SysRoot) -> Uevents:
        if not root.live:
            return Uevents()
        if self._socket is None:
            self._socket = _listen()
        return _drain(self._socket)


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
    seen: list[Uevent] = []
    lost = False
    for _ in range(_MESSAGES):
        try:
            data, sender = opened.recvfrom(_MESSAGE_BYTES)
        except BlockingIOError:
            return Uevents(tuple(seen), lost)
        except OSError:
            # ENOBUFS: more came than the socket holds.
            lost = True
            continue
        try:
            # The kernel has port 0; other processes may send to us, too.
            if sender[0] == 0:
                seen.append(parse(data.decode("utf-8", "backslashreplace")))
        except Malformed:
            lost = True
    return Uevents(tuple(seen), lost=True)


def parse(text: str) -> Uevent:
    """ "offline@/devices/system/cpu/cpu3", then NAME=value, each with a NUL byte behind it."""
    head, *rest = text.split("\0")
    action, at, path = head.partition("@")
    if not at:
        raise Malformed(f"expected 'action@path', got {head[:60]!r}")
    return Uevent(action, path, next((pair[10:] for pair in rest if pair.startswith("SUBSYSTEM=")), None))
