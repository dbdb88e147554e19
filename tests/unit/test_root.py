"""collectors/root: the door, the recorder, the replay."""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.model.values import CpuSet, Fact
from collectors.root import FORMAT, LATER, MARK, MAX_FILE_BYTES, SysRoot, Unavailable, decode
from collectors.root.recorder import Recorder
from collectors.text import Malformed, integer
from tests.unit.tree import A_MARK, grow, recorded

UNSEEN = "not for you"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file beside the root that nothing in the root may reach."""
    (tmp_path / "secret").write_text(UNSEEN)
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir/secret").write_text(UNSEEN)
    root = tmp_path / "root"
    root.mkdir()
    return root


def reasons(root: SysRoot) -> list[tuple[str, str]]:
    return [(refusal.path, refusal.reason) for refusal in root.refusals]


def test_a_file_is_read(tmp_path: Path) -> None:
    root = grow(tmp_path, {"proc/a": "1\n", "proc/empty": "", "proc/blank": " \n"})
    assert (root.text("proc/a"), root.raw("proc/a"), root.require("proc/a"), root.parse("proc/a", integer)) == ("1\n", b"1\n", "1\n", 1)
    assert (root.text("proc/empty"), root.parse("proc/empty", integer), root.parse("proc/blank", integer)) == ("", None, None)
    assert root.refusals == []


@pytest.mark.parametrize("path", ["proc/b", "no/such/dir", "proc/a/below", "x" * 300, "x/" * 3000])
def test_absent(tmp_path: Path, path: str) -> None:
    root = grow(tmp_path, {"proc/a": "1\n"})
    assert (root.text(path), root.raw(path), root.parse(path, integer)) == (None, None, None)
    assert (root.names(path), root.directories(path), root.inode(path), root.socket(path)) == ((), (), None, None)
    with pytest.raises(Unavailable) as caught:
        root.require(path)
    assert caught.value.reason == "absent"
    assert root.refusals == []


def escape(kind: str, root: Path) -> str:
    """A way out of the root: the path to ask for."""
    match kind:
        case "dots":
            return "../secret"
        case "dots below":
            (root / "a").mkdir()
            return "a/../../secret"
        case "absolute":
            return f"{root.parent}/secret"
        case "absolute link":
            (root / "link").symlink_to(root.parent / "secret")
        case "relative link":
            (root / "link").symlink_to("../secret")
        case "link that comes back":
            (root / "in").write_text(UNSEEN)
            (root / "link").symlink_to("../root/in")
        case "link to a link":
            (root / "first").symlink_to("../secret")
            (root / "link").symlink_to("first")
        case "link to a directory":
            (root / "up").symlink_to("../dir")
            return "up/secret"
        case "absolute link to a directory":
            (root / "up").symlink_to(root.parent / "dir")
            return "up/secret"
        case "link to the root":
            (root / "top").symlink_to("/")
            return "top/etc/hostname"
        case _:
            raise AssertionError(kind)
    return "link"


@pytest.mark.parametrize(
    "kind",
    [
        "dots",
        "dots below",
        "absolute",
        "absolute link",
        "relative link",
        "link that comes back",
        "link to a link",
        "link to a directory",
        "absolute link to a directory",
        "link to the root",
    ],
)
@pytest.mark.parametrize("mark", [False, True])
def test_no_path_leads_outside(outside: Path, kind: str, mark: bool) -> None:
    path = escape(kind, outside)
    if mark:
        (outside / MARK).write_text(A_MARK)
    root = SysRoot(outside)
    assert root.text(path) is None
    assert root.names(path.rpartition("/")[0] or path) in ((), ("a",))
    with pytest.raises(Unavailable) as caught:
        root.require(path)
    assert caught.value.reason == "denied"
    assert UNSEEN not in caught.value.detail
    assert (path, "denied") in reasons(root)
    assert root.socket(path) is None


def test_links_inside_are_followed_and_read(tmp_path: Path) -> None:
    root = grow(tmp_path, {"sys/devices/virtual/id/name": "box\n", "sys/class/": ""})
    (tmp_path / "sys/class/id").symlink_to("../devices/virtual/id")
    (tmp_path / "sys/gone").symlink_to("nowhere")
    assert root.text("sys/class/id/name") == "box\n"
    assert root.names("sys/class/id") == ("name",)
    assert root.directories("sys/class") == ()
    assert root.text("sys/gone") is None
    assert root.refusals == []


def test_loops_end(tmp_path: Path) -> None:
    root = grow(tmp_path, {"sys/": ""})
    (tmp_path / "sys/a").symlink_to("b")
    (tmp_path / "sys/b").symlink_to("a")
    (tmp_path / "sys/self").symlink_to(".")
    assert root.text("sys/a") is None
    assert root.names("sys/a") == ()
    assert reasons(root) == [("sys/a", "denied")] * 2
    assert root.text("sys/" + "self/" * 30 + "nothing") is None
    assert root.text("sys/" + "self/" * 60 + "nothing") is None
    assert reasons(root)[2:] == [("sys/" + "self/" * 60 + "nothing", "denied")]


def fifo(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))  # zero: it never ends


def unix_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize("make", [fifo, device, unix_socket, Path.mkdir], ids=lambda make: str(make.__name__))
def test_what_is_no_file_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    try:
        make(tmp_path / "it")
    except PermissionError:
        pytest.skip("making device nodes needs CAP_MKNOD")
    root = SysRoot(tmp_path)
    assert (root.text("it"), root.raw("it"), root.parse("it", integer), root.names("it"), root.text("it/below")) == (
        None,
        None,
        None,
        (),
        None,
    )
    with pytest.raises(Unavailable):
        root.require("it")
    assert root.inode("it") == (tmp_path / "it").stat().st_ino
    assert root.socket("it") == (str(tmp_path / "it") if make is unix_socket else None)


@pytest.mark.parametrize("make", [fifo, Path.mkdir], ids=lambda make: str(make.__name__))
def test_a_mark_that_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / MARK)
    with pytest.raises(Unavailable) as caught:
        SysRoot(tmp_path)
    assert caught.value.reason == "failed"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"abc\0\0\n\0", "abc\n"),
        (b"\xff\xfe1\n", "\\xff\\xfe1\n"),
        (b"caf\xc3\xa9", "café"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),
        (b"\\x41", "\\x41"),
    ],
)
def test_bytes(tmp_path: Path, data: bytes, text: str) -> None:
    root = grow(tmp_path, {"a": data})
    assert (root.text("a"), root.require("a"), root.raw("a")) == (text, text, data)


@given(st.binary())
def test_any_bytes_are_text_that_can_be_encoded(data: bytes) -> None:
    assert "\0" not in decode(data)
    decode(data).encode()


def test_large_files(tmp_path: Path) -> None:
    for name, size in (("pieces", 200_000), ("full", MAX_FILE_BYTES), ("over", MAX_FILE_BYTES + 1), ("vast", 1 << 40)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    root = SysRoot(tmp_path)
    assert len(root.raw("pieces") or b"") == 200_000
    assert len(root.raw("full") or b"") == MAX_FILE_BYTES
    assert (root.raw("over"), root.text("vast")) == (None, None)
    assert reasons(root) == [("over", "failed"), ("vast", "failed")]
    assert "larger than" in root.refusals[0].detail


def test_a_file_that_never_ends() -> None:
    """It grows faster than it is read: no pass waits for its end, nor keeps what was read."""
    root = SysRoot()
    assert root.raw("dev/zero") is None
    assert reasons(root) == [("dev/zero", "failed")]


def test_denied() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = grow(Path(place), {"proc/secret": "1\n"})
        os.chmod(place, 0o711)  # noqa: S103
        os.chmod(f"{place}/proc/secret", 0)
        if os.geteuid() == 0:
            # Mode bits keep nothing from root: be nobody for the read.
            os.seteuid(65534)
        try:
            assert root.text("proc/secret") is None
            with pytest.raises(Unavailable) as caught:
                root.require("proc/secret")
        finally:
            if os.getuid() == 0:
                os.seteuid(0)
    assert caught.value.reason == "denied"
    assert [(refusal.reason, refusal.detail) for refusal in root.refusals] == [("denied", "Permission denied")]


def test_malformed_names_its_path(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match=r"^sys/n: expected a number, got 'x'$"):
        grow(tmp_path, {"sys/n": "x"}).parse("sys/n", integer)


def test_each_view_has_its_own_refusals(outside: Path) -> None:
    root = SysRoot(outside)
    one, other = root.watch(), root.watch()
    assert one.text("../secret") is None
    one.note("sys/x", "unsupported", "why")
    assert (reasons(one), reasons(other), reasons(root)) == ([("../secret", "denied"), ("sys/x", "unsupported")], [], [])
    assert reasons(one.watch()) == []


def test_names_are_sorted_and_told_apart(tmp_path: Path) -> None:
    root = grow(tmp_path, {"d/b": "", "d/a/": "", "d/c/": ""})
    os.mkdir(os.fsencode(tmp_path) + b"/d/\xff")
    assert root.names("d") == ("a", "b", "c", "\udcff")
    assert root.directories("d") == ("a", "c", "\udcff")
    assert root.names("d/\udcff") == ()
    assert root.inode("d/\udcff") == os.stat(os.fsencode(tmp_path) + b"/d/\xff").st_ino
    root.text("d/\udcff")
    root.refusals[0].path.encode()


@pytest.mark.parametrize("path", ["/", "//", "/proc/..", "/."])
def test_this_host(path: str) -> None:
    root = SysRoot(path)
    assert (root.path, root.live) == ("/", True)
    assert root.text("proc/self/stat")
    assert root.reply("x", int, lambda: 3) == 3


def test_a_root_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in ("absent", "file"):
        with pytest.raises(Unavailable) as caught:
            SysRoot(tmp_path / path)
        assert caught.value.reason == "absent"


class Answer(Fact, frozen=True):
    cpus: CpuSet
    name: str


def explode() -> Answer:
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
    """What a pass might ask, and what it is told."""

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
    told = ask(recorder)
    recorder.close()
    return told


def test_a_recording_replays_what_was_told(tmp_path: Path, origin: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    told = record(origin, first)
    root = SysRoot(first)
    assert not root.live
    assert root.mark is not None
    assert (root.mark.taken_at, root.mark.version) == (1700000000.5, "9")
    assert everything(root) == told
    assert everything(root.watch()) == told
    # A recording of the recording says the same.
    assert record(first, second) == told
    assert everything(SysRoot(second)) == told
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

    told = record(origin, tmp_path / "into", ask)
    assert told == ("denied", "run/x.sock: Permission denied", "run as root")
    assert ask(SysRoot(tmp_path / "into")) == told


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
def test_a_bad_mark_is_said(tmp_path: Path, mark: bytes) -> None:
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


def test_a_mark_outside_is_not_read(outside: Path) -> None:
    (outside.parent / "mark").write_text(A_MARK)
    (outside / MARK).symlink_to("../mark")
    with pytest.raises(Unavailable) as caught:
        SysRoot(outside)
    assert caught.value.reason == "denied"


def test_on_a_recording_no_socket_is_given(tmp_path: Path) -> None:
    unix_socket(tmp_path / "x.sock")
    assert SysRoot(tmp_path).socket("x.sock") is not None
    assert recorded(tmp_path, {}).socket("x.sock") is None


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
    assert set(mark) == {"format", "taken_at", "version", "page_bytes", "read_times", "inodes", "links", "refusals"}
    assert mark["refusals"]["proc/fifo"]["reason"] == "failed"


def test_links(tmp_path: Path) -> None:
    root = grow(tmp_path / "live", {"sys/a/real": "1", "sys/d/x": ""})
    (tmp_path / "live/sys/a/way").symlink_to("../d")
    (tmp_path / "live/sys/a/out").symlink_to("/etc")
    assert [root.link(f"sys/a/{name}") for name in ("way", "out", "real", "none")] == ["../d", "/etc", None, None]

    def ask(root: SysRoot) -> object:
        return root.link("sys/a/way"), root.link("sys/a/real"), root.text("sys/a/way/x"), root.text("sys/a/real")

    told = record(tmp_path / "live", tmp_path / "into", ask)
    again = SysRoot(tmp_path / "into")
    assert ask(again) == told
    assert again.names("sys/a") == ("real", "way")
    assert (again.names("sys"), again.link("sys/a/out")) == (("a",), None)


def test_a_root_that_nobody_holds_is_closed(tmp_path: Path) -> None:
    def held() -> bool:
        return str(tmp_path) in {os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")}

    view = SysRoot(tmp_path).watch()
    assert view.text("absent") is None
    assert held()
    del view
    gc.collect()
    assert not held()


def test_renames_elsewhere_do_not_matter(tmp_path: Path) -> None:
    """The kernel gives up on a link that leads through ".." when anything on the machine is renamed meanwhile."""
    root = grow(tmp_path / "root", {"sys/devices/a/class": "1", "sys/bus/": ""})
    (tmp_path / "root/sys/bus/a").symlink_to(f"../{'devices/../' * 20}devices/a")
    (tmp_path / "one").touch()
    code = "import os\nwhile True:\n os.rename('one', 'other')\n os.rename('other', 'one')"
    storm = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    try:
        assert [text for _ in range(1000) if (text := root.text("sys/bus/a/class")) != "1"] == []
    finally:
        storm.kill()
        storm.wait(30)
    assert root.refusals == []
