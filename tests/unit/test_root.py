"""collectors/root: the door, and that nothing is opened beside it."""

from __future__ import annotations

import gc
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.root import MARK, MAX_FILE_BYTES, SysRoot, Unavailable, decode
from collectors.text import Malformed, flat_keyed, integer
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
    root = grow(tmp_path, {"sys/n": "x"})
    assert root.parse("sys/n", integer) is None
    assert [str(error) for error in root.malformed] == ["sys/n: expected a number, got 'x'"]
    with pytest.raises(Malformed, match=r"^sys/n: expected a number, got 'x'$"):
        root.require_parsed("sys/n", integer)


def test_a_malformed_line_costs_that_line(tmp_path: Path) -> None:
    root = grow(tmp_path, {"sys/n": "a 1\nb: 2 kB\n\nc 3\nd\n", "sys/m": "a\nb\n"})
    assert root.parse("sys/n", flat_keyed) == {"a": 1, "c": 3} == root.require_parsed("sys/n", flat_keyed)
    assert root.parse("sys/m", flat_keyed) is None
    assert [(str(error), error.more) for error in root.malformed] == [
        ("sys/n:2: expected 'key number', got 'b: 2 kB'", 1),
        ("sys/n:2: expected 'key number', got 'b: 2 kB'", 1),
        ("sys/m:1: expected 'key number', got 'a'", 1),
    ]
    with pytest.raises(Malformed, match=r"^sys/m:1: expected 'key number', got 'a'$"):
        root.require_parsed("sys/m", flat_keyed)


def test_each_view_has_its_own_refusals(outside: Path) -> None:
    root = SysRoot(outside)
    view, other = root.watch(), root.watch()
    assert view.text("../secret") is None
    view.note("sys/x", "unsupported", "why")
    assert (reasons(view), reasons(other), reasons(root)) == ([("../secret", "denied"), ("sys/x", "unsupported")], [], [])
    assert reasons(view.watch()) == []


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
