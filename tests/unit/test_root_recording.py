"""collectors/root/recorder.py and recording.py: what a recording holds, and that it replays as it was read."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
import pytest

from agent.model.values import CpuSet, Fact
from collectors.root import FORMAT, LATER, MARK, SysRoot, Unavailable
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from tests.unit.tree import A_MARK, grow, malformed, recorded


def reasons(root: SysRoot) -> list[tuple[str, str]]:
    return [(refusal.path, refusal.reason) for refusal in root.refusals]


class Answer(Fact, frozen=True):
    cpus: CpuSet
    name: str


def explode() -> NoReturn:
    raise AssertionError("something live was asked")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    place = tmp_path / "origin"
    place.mkdir()
    grow(place, {"proc/a": "1\n", "proc/binary": b"\xff\0x", "proc/unread": "2\n", "sys/cg/x/": "", "sys/cg/y/": "", "sys/cg/f": "3\n"})
    (place / "proc/link").symlink_to("a")
    (place / "proc/away").symlink_to("/etc/hostname")
    (place / "sys/dir").symlink_to("cg")
    os.mkfifo(place / "proc/fifo")
    os.mkdir(os.fsencode(place) + b"/sys/cg/\xff")
    return place


def everything(root: SysRoot) -> list[object]:
    """What a pass might ask, and the answers."""

    def required(path: str) -> object:
        try:
            return root.require(path)
        except Unavailable as error:
            return error.reason, error.detail

    return [
        root.text("proc/a"),
        root.raw("proc/binary"),
        root.text("proc/away"),
        root.text("proc/fifo"),
        root.text("proc/absent"),
        required("proc/a"),
        required("proc/away"),
        required("proc/gone"),
        root.text("proc/link"),
        root.text("sys/dir/f"),
        root.directories("sys/cg"),
        root.inode("sys/cg/x"),
        root.inode("sys/cg/\udcff"),
        root.inode("sys/cg/none"),
        root.reply("answer", Answer, lambda: Answer(CpuSet((0, 1)), "ü")),
        list(root.refusals),
    ]


def record(origin: Path, into: Path, ask: Callable[[SysRoot], object] = everything) -> object:
    into.mkdir(exist_ok=True)
    recorder = Recorder(origin, into, 1700000000.5, "9")
    answers = ask(recorder)
    recorder.close()
    return answers


def test_a_recording_replays_what_was_read(tmp_path: Path, origin: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    answers = record(origin, first)
    root = SysRoot(first)
    assert not root.live
    assert root.mark is not None
    assert (root.mark.taken_at, root.mark.version) == (1700000000.5, "9")
    assert everything(root) == answers
    assert everything(root.watch()) == answers
    # A recording of the recording says the same.
    assert record(first, second) == answers
    assert everything(SysRoot(second)) == answers
    assert root.reply("answer", Answer, explode) == Answer(CpuSet((0, 1)), "ü")


def test_a_recording_holds_what_was_read_and_no_more(tmp_path: Path, origin: Path) -> None:
    record(origin, tmp_path / "into")
    assert not (tmp_path / "into/proc/unread").exists()
    assert (tmp_path / "into/proc/binary").read_bytes() == b"\xff\0x"
    files = {str(path.relative_to(tmp_path / "into")) for path in (tmp_path / "into").rglob("*") if path.is_file()}
    assert files == {MARK, "proc/a", "proc/binary", "proc/link", "sys/dir/f", "replies/answer.json"}


def test_a_view_records_too(tmp_path: Path, origin: Path) -> None:
    record(origin, tmp_path / "into", lambda root: (root.watch().text("proc/a"), root.watch().text("proc/fifo")))
    root = SysRoot(tmp_path / "into")
    assert (root.text("proc/a"), root.text("proc/fifo")) == ("1\n", None)
    assert reasons(root) == [("proc/fifo", "failed")]


@pytest.mark.parametrize("path", ["proc/a", "proc/binary", "sys/dir/f"])
def test_a_deleted_file_is_absent(tmp_path: Path, origin: Path, path: str) -> None:
    record(origin, tmp_path / "into")
    (tmp_path / "into" / path).unlink()
    root = SysRoot(tmp_path / "into")
    assert root.raw(path) is None
    assert root.refusals == []
    with pytest.raises(Unavailable) as caught:
        root.require(path)
    assert caught.value.reason == "absent"


def refuse() -> Answer:
    raise Unavailable("denied", "run/x.sock: Permission denied", "run as root")


def test_a_reply_that_was_refused_is_refused_again(tmp_path: Path, origin: Path) -> None:
    def ask(root: SysRoot) -> object:
        with pytest.raises(Unavailable) as caught:
            root.reply("answer", Answer, refuse if root.live else explode)
        return caught.value.reason, caught.value.detail, caught.value.remedy

    answers = record(origin, tmp_path / "into", ask)
    assert answers == ("denied", "run/x.sock: Permission denied", "run as root")
    assert ask(SysRoot(tmp_path / "into")) == answers


def test_a_reply_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        recorded(tmp_path, {}).reply("answer", Answer, explode)
    assert (caught.value.reason, caught.value.remedy) == ("unsupported", "this recording was made without it: record again")


@pytest.mark.parametrize(
    "reply",
    [b"", b"{", b"[]", b'{"cpus": "x", "name": ""}', b'{"cpus": "0", "name": 3}', b"\xff\xfe", b'{"cpus":"0","name":"\xff', b"[" * 100_000],
)
def test_a_bad_reply_is_malformed(tmp_path: Path, reply: bytes) -> None:
    with pytest.raises(Malformed, match=r"replies/answer\.json"):
        recorded(tmp_path, {"replies/answer.json": reply}).reply("answer", Answer, explode)


def test_bytes_in_a_reply_that_are_not_utf_8(tmp_path: Path) -> None:
    root = recorded(tmp_path, {"replies/answer.json": b'{"cpus": "0", "name": "a\xff"}'})
    assert root.reply("answer", Answer, explode) == Answer(CpuSet((0,)), "a\ufffd")


@pytest.mark.parametrize(
    "mark",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b'{"taken_at": "x", "version": "0"}',
        b'{"taken_at": 0, "version": "\xff"}',
        b'{"taken_at": 1e300, "version": "0", "page_bytes": 4096}',
        b'{"taken_at": -1e300, "version": "0", "page_bytes": 4096}',
        b'{"taken_at": 0, "version": "0", "page_bytes": 4096, "inodes": {"a": "b"}}',
        b'{"taken_at": 0, "version": "0", "page_bytes": 4096, "refusals": {"a": {"reason": "odd"}}}',
        b"[" * 100_000,
    ],
    ids=range(12),
)
def test_a_bad_mark_is_named(tmp_path: Path, mark: bytes) -> None:
    with pytest.raises(Unavailable) as caught:
        grow(tmp_path, {MARK: mark})
    assert caught.value.reason == "failed"
    assert MARK in caught.value.detail


def test_a_recording_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    mark = {"format": FORMAT + 1, "version": "7.1", "taken_at": {"what": "nobody knows yet"}}
    with pytest.raises(Unavailable, match=f"format {FORMAT + 1}, and this agent reads formats up to {FORMAT}") as caught:
        grow(tmp_path, {MARK: msgspec.json.encode(mark)})
    assert (caught.value.reason, caught.value.remedy) == ("unsupported", "read it with the agent that made it: version 7.1")


def test_a_recording_has_the_read_times_of_the_pass(tmp_path: Path, origin: Path) -> None:
    def read(root: SysRoot) -> object:
        view = root.watch()
        for key in ("proc/stat", 12, "/machine.slice"):
            view.date(key)
        return view.read_times

    before = time.monotonic()
    times = record(origin, tmp_path / "first", read)
    after = time.monotonic()
    assert isinstance(times, dict)
    assert list(times) == ["proc/stat", 12, "/machine.slice"]
    assert all(before <= seconds <= after for seconds in times.values())
    root = SysRoot(tmp_path / "first")
    assert root.mark is not None
    assert root.mark.format == FORMAT
    assert read(root) == times
    assert record(tmp_path / "first", tmp_path / "second", read) == times
    assert read(SysRoot(tmp_path / "second")) == times
    root.date(13)
    assert root.read_times == {}


def test_a_recording_of_format_1_is_dated_as_it_is_read(tmp_path: Path) -> None:
    root = recorded(tmp_path, {})
    assert root.mark is not None
    assert root.mark.format == 1
    before = time.monotonic()
    root.date(12)
    assert before <= root.read_times[12] <= time.monotonic()


def test_the_later_pass_of_a_recording(tmp_path: Path, origin: Path) -> None:
    record(origin, tmp_path / "into")
    assert SysRoot(tmp_path / "into").later() is None
    (origin / "proc/a").write_text("2\n")
    record(origin, tmp_path / "into" / LATER)
    root = SysRoot(tmp_path / "into")
    later = root.later()
    assert later is not None
    assert (root.text("proc/a"), later.text("proc/a")) == ("1\n", "2\n")
    assert (later.live, later.path, later.later()) == (False, str(tmp_path / "into" / LATER), None)
    del root
    gc.collect()
    assert later.text("proc/a") == "2\n"


def test_what_is_live_has_no_later_pass(tmp_path: Path) -> None:
    assert grow(tmp_path, {f"{LATER}/{MARK}": A_MARK}).later() is None
    assert SysRoot().later() is None


@pytest.mark.parametrize(
    ("kind", "reason"), [("link outside", "denied"), ("link to the root", "denied"), ("file", "absent"), ("no mark", "failed")]
)
def test_a_later_pass_that_is_no_recording(tmp_path: Path, kind: str, reason: str) -> None:
    """It may not lead out of the recording, and is never a live tree."""
    root = recorded(tmp_path / "recording", {"file": ""})
    recorded(tmp_path / "other", {})
    path = tmp_path / "recording" / LATER
    match kind:
        case "link outside":
            path.symlink_to("../other")
        case "link to the root":
            path.symlink_to("/")
        case "file":
            path.write_text("")
        case _:
            path.mkdir()
    with pytest.raises(Unavailable) as caught:
        root.later()
    assert caught.value.reason == reason


@pytest.mark.parametrize("path", ["/{}/victim", "{}/into/../victim"])
def test_a_recorder_writes_only_into_its_directory(tmp_path: Path, path: str) -> None:
    """The host's own root is not guarded by openat2(): the recorder must not write where such a path would lead."""
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    into = tmp_path / "into"
    into.mkdir()
    recorder = Recorder("/", into, 0, "0")
    asked = path.format(str(tmp_path)[1:])
    before = victim.stat()
    with pytest.raises(ValueError, match="outside"):
        recorder.text(asked)
    with pytest.raises(ValueError, match="outside"):
        recorder.require(asked)
    assert (victim.stat().st_mtime_ns, victim.read_text()) == (before.st_mtime_ns, "as it was")


def test_the_mark_is_json(tmp_path: Path, origin: Path) -> None:
    record(origin, tmp_path / "into")
    mark = msgspec.json.decode((tmp_path / "into" / MARK).read_bytes())
    assert set(mark) == {"format", "taken_at", "version", "page_bytes", "by_root", "read_times", "inodes", "links", "refusals"}
    assert mark["by_root"] == (os.geteuid() == 0)
    assert mark["refusals"]["proc/fifo"]["reason"] == "failed"


def test_a_directory_of_nothing_but_links(tmp_path: Path) -> None:
    """As a process' descriptors are: which of them lead to a virtual machine is read by listing them."""
    grow(tmp_path / "live", {"proc/7/stat": "7\n"})
    (tmp_path / "live/proc/7/fd").mkdir()
    (tmp_path / "live/proc/7/fd/8").symlink_to("anon_inode:kvm-vm")

    def read(root: SysRoot) -> object:
        return root.text("proc/7/stat"), [root.link(f"proc/7/fd/{name}") for name in root.names("proc/7/fd")], root.names("proc/8/fd")

    answers = record(tmp_path / "live", tmp_path / "into", read)
    assert answers == ("7\n", ["anon_inode:kvm-vm"], ())
    assert read(SysRoot(tmp_path / "into")) == answers


def test_links(tmp_path: Path) -> None:
    root = grow(tmp_path / "live", {"sys/a/real": "1", "sys/d/x": ""})
    (tmp_path / "live/sys/a/way").symlink_to("../d")
    (tmp_path / "live/sys/a/out").symlink_to("/etc")
    assert [root.link(f"sys/a/{name}") for name in ("way", "out", "real", "none")] == ["../d", "/etc", None, None]

    def ask(root: SysRoot) -> object:
        return root.link("sys/a/way"), root.link("sys/a/real"), root.text("sys/a/way/x"), root.text("sys/a/real")

    answers = record(tmp_path / "live", tmp_path / "into", ask)
    again = SysRoot(tmp_path / "into")
    assert ask(again) == answers
    assert again.names("sys/a") == ("real", "way")
    assert (again.names("sys"), again.link("sys/a/out")) == (("a",), None)


class Answers(Fact, frozen=True):
    answers: tuple[Answer, ...] = ()
    total: int = 0


@pytest.mark.parametrize(
    ("records", "left_out"),
    [
        ('{"cpus": "x", "name": "b"}', 1),
        ('{"cpus": "0"}, {"cpus": "0", "name": 3}', 2),
        ('7, null, [], "b", {"cpus": "0-99999", "name": "b"}', 5),
    ],
)
def test_a_record_that_is_malformed_costs_no_other(tmp_path: Path, records: str, left_out: int) -> None:
    reply = f'[{{"cpus": "0", "name": "a"}}, {records}, {{"cpus": "3", "name": "c"}}]'
    whole = (Answer(CpuSet((0,)), "a"), Answer(CpuSet((3,)), "c"))
    root = recorded(tmp_path, {"replies/list.json": reply, "replies/within.json": f'{{"answers": {reply}, "total": 7}}'})
    assert root.reply("list", tuple[Answer, ...], explode) == whole
    assert root.reply("within", Answers, explode) == Answers(whole, 7)
    assert malformed(root) == ["replies/list.json"] * left_out + ["replies/within.json"] * left_out
