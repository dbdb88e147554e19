"""collectors/uevents.py, with the kernel's own messages."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from collectors.uevents import Uevent, Uevents, UeventSocket, parse, read
from tests.need import need
from tests.unit.tree import recorded

CPU0 = Path("/sys/devices/system/cpu/cpu0/uevent")
MESSAGE = "offline@/devices/system/cpu/cpu3\0ACTION=offline\0DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0SEQNUM=7\0"


@pytest.fixture
def listening() -> UeventSocket:
    listening = UeventSocket()
    try:
        read(SysRoot("/"), listening)
    except Unavailable as error:
        pytest.skip(f"{error}")
    return listening


def announce() -> None:
    """The kernel says that CPU 0 changed, which it did not."""
    CPU0.write_text("change\n")


def heard(found: Uevents) -> list[Uevent]:
    """Of CPU 0; this host may have other news."""
    return [event for event in found.events if event.path.endswith("/cpu0")]


def test_parse() -> None:
    assert parse(MESSAGE) == Uevent("offline", "/devices/system/cpu/cpu3", "cpu")
    assert parse("add@/module/x") == Uevent("add", "/module/x")
    with pytest.raises(Malformed):
        parse("libudev\0")


def test_what_came_between_two_looks(listening: UeventSocket) -> None:
    need(root=True)
    assert heard(read(SysRoot("/"), listening)) == []
    announce()
    assert heard(read(SysRoot("/"), listening)) == [Uevent("change", "/devices/system/cpu/cpu0", "cpu")]
    assert heard(read(SysRoot("/"), listening)) == []


def test_more_than_the_socket_holds_is_lost_and_said(listening: UeventSocket) -> None:
    need(root=True)
    for _ in range(1500):
        announce()
    assert read(SysRoot("/"), listening).lost
    announce()
    found = read(SysRoot("/"), listening)
    assert (len(heard(found)), found.lost) == (1, False)


def test_other_processes_are_not_the_kernel(listening: UeventSocket) -> None:
    need(root=True)
    opened = listening.opened
    assert opened is not None
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, opened.proto) as other:
        other.sendto(MESSAGE.encode(), (opened.getsockname()[0], 0))
    assert [event for event in read(SysRoot("/"), listening).events if event.path.endswith("/cpu3")] == []


def test_a_recording_announces_nothing(tmp_path: Path) -> None:
    listening = UeventSocket()
    assert read(recorded(tmp_path, {}), listening) == Uevents()
    assert listening.opened is None
