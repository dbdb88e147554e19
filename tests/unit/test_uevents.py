"""collectors/uevents.py, with the kernel's own messages."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed
from collectors.uevents import Uevent, Uevents, Watch, parse
from tests.need import need
from tests.unit.tree import recorded

CPU0 = Path("/sys/devices/system/cpu/cpu0/uevent")
MESSAGE = "offline@/devices/system/cpu/cpu3\0ACTION=offline\0DEVPATH=/devices/system/cpu/cpu3\0SUBSYSTEM=cpu\0SEQNUM=7\0"


@pytest.fixture
def watch() -> Watch:
    watch = Watch()
    try:
        watch.read(SysRoot("/"))
    except Unavailable as error:
        pytest.skip(f"{error}")
    return watch


def announce() -> None:
    """The kernel says that CPU 0 changed, which it did not."""
    CPU0.write_text("change\n")


def heard(found: Uevents) -> list[Uevent]:
    """Of CPU 0; this host may have other news."""
    return [event for event in found.seen if event.path.endswith("/cpu0")]


def test_parse() -> None:
    assert parse(MESSAGE) == Uevent("offline", "/devices/system/cpu/cpu3", "cpu")
    assert parse("add@/module/x") == Uevent("add", "/module/x")
    with pytest.raises(Malformed):
        parse("libudev\0")


def test_what_came_between_two_looks(watch: Watch) -> None:
    need(root=True)
    assert heard(watch.read(SysRoot("/"))) == []
    announce()
    assert heard(watch.read(SysRoot("/"))) == [Uevent("change", "/devices/system/cpu/cpu0", "cpu")]
    assert heard(watch.read(SysRoot("/"))) == []


def test_more_than_the_socket_holds_is_lost_and_said(watch: Watch) -> None:
    need(root=True)
    for _ in range(1500):
        announce()
    assert watch.read(SysRoot("/")).lost
    announce()
    found = watch.read(SysRoot("/"))
    assert (len(heard(found)), found.lost) == (1, False)


def test_other_processes_are_not_the_kernel(watch: Watch) -> None:
    need(root=True)
    opened = watch._socket
    assert opened is not None
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, opened.proto) as other:
        other.sendto(MESSAGE.encode(), (opened.getsockname()[0], 0))
    assert [event for event in watch.read(SysRoot("/")).seen if event.path.endswith("/cpu3")] == []


def test_a_recording_announces_nothing(tmp_path: Path) -> None:
    watch = Watch()
    assert watch.read(recorded(tmp_path, {})) == Uevents()
    assert watch._socket is None
