"""collectors/taskstats.py: messages as the kernel makes them, and this process, whose threads have ended."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from collectors import taskstats
from collectors.root import SysRoot, Unavailable
from collectors.taskstats import Account, parse_account, parse_family
from collectors.text import Malformed
from tests.need import TOP, lack
from tests.unit.tree import grow, recorded


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def message(body: bytes, sequence: int = 7, kind: int = 31) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 4711) + body


def stats(version: int, run: int = 300) -> bytes:
    """Count and delay at byte 16, as in every version; the time that it ran at 72, but in version 15."""
    whole = bytearray(560)
    struct.pack_into("=H", whole, 0, version)
    struct.pack_into("=QQ", whole, 16, 5, 200)
    struct.pack_into("=Q", whole, 72, run)
    return bytes(whole)


def answer(version: int = 13, *before: bytes) -> bytes:
    told = b"".join((attribute(2, struct.pack("=I", 7)), *before, attribute(3, stats(version))))
    return message(struct.pack("=BBH", 2, 1, 0) + attribute(5, told))


def refusal(number: int) -> bytes:
    return message(struct.pack("=i", -number) + bytes(16), kind=2)


@pytest.mark.parametrize(("version", "run"), [(8, 300), (13, 300), (15, None), (16, 300), (17, 300)])
def test_an_account(version: int, run: int | None) -> None:
    assert parse_account(answer(version)) == Account(7, 200, 5, run)


def test_what_is_put_between_for_alignment() -> None:
    assert parse_account(answer(13, attribute(6, b""))) == Account(7, 200, 5, 300)


def test_a_family_s_number() -> None:
    body = struct.pack("=BBH", 1, 2, 0) + attribute(2, b"TASKSTATS\0") + attribute(1, struct.pack("=H", 31))
    assert parse_family(message(body, kind=16)) == 31


@pytest.mark.parametrize("number", [errno.ESRCH, errno.EPERM, errno.ENOENT, errno.ENOMEM])
def test_a_refusal_is_the_kernel_s(number: int) -> None:
    for parse in (parse_family, parse_account):
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            parse(refusal(number))
        assert caught.value.errno == number


@pytest.mark.parametrize(
    "bad",
    [b"", b"x" * 19, message(bytes(4)), message(bytes(4) + attribute(5, b"")), message(bytes(4) + attribute(5, attribute(3, bytes(79))))]
    + [message(bytes(4) + struct.pack("=HH", length, 5)) for length in (0, 3)],
)
def test_what_is_no_account(bad: bytes) -> None:
    with pytest.raises(Malformed):
        parse_account(bad)


def spin() -> None:
    sum(range(2_000_000))


def test_threads_that_have_ended_count() -> None:
    """/proc forgets what they ran; the kernel's clock of the process does not."""
    root, pid = SysRoot(), os.getpid()
    try:
        (before,) = taskstats.read(root, [pid])
    except Unavailable as said:
        lack("taskstats", f"run as root on a kernel with CONFIG_TASKSTATS: {said}")
    lived = int(Path(f"/proc/self/task/{pid}/schedstat").read_text().split()[0])
    began = os.times()
    for _ in range(3):
        threads = [threading.Thread(target=spin) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (after,) = taskstats.read(root, [pid, 4194303])
    ended = os.times()
    assert before.run_ns is not None
    assert after.run_ns is not None
    ran = (after.run_ns - before.run_ns) / 1e9
    # Clock ticks are 1/100 s each.
    assert ran == pytest.approx(ended.user + ended.system - began.user - began.system, abs=0.03)
    assert (int(Path(f"/proc/self/task/{pid}/schedstat").read_text().split()[0]) - lived) / 1e9 < ran / 2
    assert after.delay_ns >= before.delay_ns
    assert after.timeslices >= before.timeslices + 9


def test_more_than_one_message_holds() -> None:
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()] * 3
    try:
        found = taskstats.read(SysRoot(), [*pids, *range(4194000, 4194300)])
    except Unavailable as said:
        lack("taskstats", f"run as root on a kernel with CONFIG_TASKSTATS: {said}")
    numbers = [account.pid for account in found]
    assert numbers == sorted(set(numbers))
    assert {1, os.getpid()} <= set(numbers)


def test_without_the_privilege_it_is_denied() -> None:
    if os.geteuid():
        lack("root", "the privilege is given up")
    command = (
        "import os; from collectors import taskstats; from collectors.root import SysRoot, Unavailable; os.setuid(65534)\n"
        "try: taskstats.read(SysRoot(), [1])\n"
        "except Unavailable as said: print(said.reason, said.remedy)\n"
    )
    done = subprocess.run([sys.executable, "-c", command], cwd=TOP, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("denied needs CAP_NET_ADMIN"), done.stderr


def test_the_processes_of_another_root_are_not_ours(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        taskstats.read(grow(tmp_path, {"proc/1/stat": ""}), [1])
    assert caught.value.reason == "unsupported"


def test_a_recording_asks_nobody(tmp_path: Path) -> None:
    root = recorded(tmp_path, {"replies/taskstats.json": '[{"pid": 1, "delay_ns": 2, "timeslices": 3}]'})
    assert taskstats.read(root, [9]) == (Account(1, 2, 3),)
