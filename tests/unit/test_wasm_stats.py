"""collectors/wasm_stats: the table of an embedder, as it is written, as it is read, and as anybody might forge it."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from ctypes import addressof, c_char
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, fcntl
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from collectors.proc_pid.maps import parse_maps
from collectors.root import SysRoot
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from collectors.wasm_maps import runtimes
from collectors.wasm_stats import embedder, table
from collectors.wasm_stats.embedder import Slot
from collectors.wasm_stats.statements import StatementSlot, StatementTable, parse, read, used

U64 = st.integers(0, table.UNKNOWN)
SEALS = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW


@pytest.fixture
def made() -> embedder._Table:
    return embedder._Table(3)


def slot(made: embedder._Table, instance: str = "one", module: str = "m.wasm", tenant: str = "acme", maximum: int | None = None) -> Slot:
    names = tuple(name.encode() for name in (instance, module, tenant))
    return made.slot(names, 7, table.UNKNOWN if maximum is None else maximum, 1 << 16)


def seen(made: embedder._Table) -> StatementTable:
    return parse(1, used(bytes(made.memory)))


def test_what_is_stated_is_read(made: embedder._Table) -> None:
    one, other = slot(made, maximum=16), slot(made, "two", "", "")
    assert seen(made) == StatementTable(1, ())
    one.tell(0x7F00, 65536, fuel=0, epoch_deadline=9, epoch_ticks=8)
    other.tell(0, 0)
    first, second = seen(made).statements
    assert first == StatementSlot(
        instance="one",
        module="m.wasm",
        tenant="acme",
        base=0x7F00,
        size_bytes=65536,
        page_bytes=65536,
        grows=0,
        written_ns=first.written_ns,
        tid=os.getpid(),
        store=7,
        maximum_pages=16,
        fuel=0,
        epoch_deadline=9,
        epoch_ticks=8,
    )  # fuel that is used up is no fuel that is not counted
    assert (second.instance, second.module, second.maximum_pages, second.fuel, second.epoch_deadline) == ("two", "", None, None, None)
    for size in (65536, 3 * 65536, 3 * 65536, 4 * 65536):
        one.tell(0x7F00, size)
    assert (seen(made).statements[0].size_bytes, seen(made).statements[0].grows) == (4 * 65536, 2)


def test_a_full_table_counts_what_it_drops(made: embedder._Table) -> None:
    slots = [slot(made, str(number)) for number in range(5)]
    for one in slots:
        one.tell(65536, 65536)
    assert [one.instance for one in seen(made).statements] == ["0", "1", "2"]
    assert seen(made).dropped == 2
    slots[1].withdraw()
    slots[1].withdraw()
    slots[1].tell(1, 1)
    assert [one.instance for one in seen(made).statements] == ["0", "2"]
    again = slot(made, "again")
    assert [one.instance for one in seen(made).statements] == ["0", "2"]
    again.tell(65536, 65536)
    assert [one.instance for one in seen(made).statements] == ["0", "again", "2"]


@given(at=st.integers(0, table.SLOT_BYTES - 1), bit=st.integers(0, 7))
def test_a_slot_with_a_wrong_bit_is_torn(at: int, bit: int) -> None:
    made = embedder._Table(1)
    slot(made).tell(65536, 65536)
    data = bytearray(made.memory)
    data[table.HEADER_BYTES + at] ^= 1 << bit
    assert parse(1, bytes(data)) == StatementTable(1, (), torn=1)


@given(first=st.lists(U64, min_size=10, max_size=10), second=st.lists(U64, min_size=10, max_size=10), at=st.integers(0, table.SLOT_BYTES))
def test_half_of_one_writing_and_half_of_the_next_is_torn_or_one_of_them(first: list[int], second: list[int], at: int) -> None:
    one, other = (
        table.slot_of(number, table.BODY.pack(1, 65536, *values, b"a", b"b", b"c")) for number, values in ((1, first), (2, second))
    )
    body = table.body_of(other[:at] + one[at:])
    assert body is None or body in (one[8:-4], other[8:-4])


header = st.tuples(
    st.sampled_from([table.MAGIC, b"", b"wasmstau"]),
    st.sampled_from([1, 2, (1 << 32) - 1]),
    st.sampled_from([256, 0, (1 << 32) - 1]),
    st.sampled_from([256, 0]),
    st.sampled_from([3, 0, (1 << 32) - 1]),
    st.sampled_from([3, 0, (1 << 32) - 1]),
).map(lambda fields: table.HEADER.pack(*fields).ljust(table.HEADER_BYTES, b"\xff"))
whole = st.binary(min_size=table.BODY.size, max_size=table.BODY.size).map(lambda body: table.slot_of(5, body))
slots = st.lists(st.one_of(whole, st.binary(min_size=table.SLOT_BYTES, max_size=table.SLOT_BYTES)), max_size=4).map(b"".join)


@given(data=st.one_of(st.binary(max_size=600), st.tuples(header, slots, st.binary(max_size=9)).map(b"".join)))
@example(data=b"")
@example(data=table.HEADER.pack(table.MAGIC, 1, 256, 256, 1 << 31, 1 << 31).ljust(256, b"\0"))
def test_any_bytes_are_read_or_malformed(data: bytes) -> None:
    kept = used(data)
    assert data.startswith(kept)
    with suppress(Malformed):
        found = parse(1, kept)
        assert len(found.statements) + found.torn <= max(0, len(data) - table.HEADER_BYTES + table.SLOT_BYTES) // table.SLOT_BYTES
        for one in found.statements:
            for name in (one.instance, one.module, one.tenant):
                # Each byte that is not UTF-8 is four signs.
                assert len(name.encode()) <= 4 * table.NAME_BYTES
                assert "\0" not in name


@pytest.mark.parametrize("name", ["é" * 100, "\udcff", "a\0b", '"}\n', ""])
def test_a_name_is_cut_where_a_letter_ends(name: str, monkeypatch: pytest.MonkeyPatch, made: embedder._Table) -> None:
    monkeypatch.setattr(embedder, "_made", [made])
    embedder.publish(name, tenant=name).tell(0, 0)
    (one,) = seen(made).statements
    expected = name.encode("utf-8", "replace")[:48].decode("utf-8", "ignore").partition("\0")[0]
    assert one.instance == one.tenant == expected


@pytest.fixture
def mine(made: embedder._Table) -> str:
    """Where this process has mapped the table."""
    slot(made).tell(65536, 65536)
    start = addressof(c_char.from_buffer(made.memory))
    (mapped,) = (vma for vma in parse_maps(Path("/proc/self/maps").read_text()) if vma.start == start)
    assert mapped.path == f"{runtimes.TABLE} (deleted)" == f"/memfd:{table.NAME} (deleted)"
    return f"{mapped.start:x}-{mapped.end:x}"


def test_the_kernel_s_link_leads_to_it(mine: str) -> None:
    root = SysRoot()
    (published,) = read(root, {os.getpid(): mine})
    assert [one.instance for one in published.statements] == ["one"]
    assert root.refusals == []


def test_where_map_files_is_refused_its_descriptor_leads_to_it(made: embedder._Table) -> None:
    slot(made, "by descriptor").tell(65536, 65536)
    root = SysRoot()
    names = {one.instance for table_ in read(root, {os.getpid(): "1-2"}) for one in table_.statements}
    assert names
    assert root.refusals == []


def test_a_recording_replays_what_is_in_use(mine: str, tmp_path: Path) -> None:
    recorder = Recorder("/", tmp_path, 0.0, "0")
    live = read(recorder, {os.getpid(): mine})
    recorder.close()
    assert read(SysRoot(tmp_path), {os.getpid(): mine}) == live
    assert (tmp_path / f"proc/{os.getpid()}/map_files/{mine}").stat().st_size == table.HEADER_BYTES + table.SLOT_BYTES


@pytest.mark.parametrize(
    ("size", "seals", "refusal"),
    [
        (4096, SEALS, None),
        (4096, 0, "not sealed"),
        (4096, F_SEAL_SEAL | F_SEAL_GROW, "not sealed"),
        (table.MAX_BYTES + 1, SEALS, f"larger than {table.MAX_BYTES} bytes"),
    ],
)
def test_only_what_cannot_shrink_is_read(size: int, seals: int, refusal: str | None) -> None:
    fd = os.memfd_create("forged", os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl(fd, F_ADD_SEALS, seals)
        root = SysRoot()
        data = root.sealed(f"proc/{os.getpid()}/fd/{fd}", table.MAX_BYTES, bytes)
        assert (data is None) == (refusal is not None)
        assert [one.detail for one in root.refusals] == [refusal] * (refusal is not None)
    finally:
        os.close(fd)


def test_nothing_else_is_opened(tmp_path: Path) -> None:
    """In a foreign tree the link may be anything: a file of a file system, a pipe that would hold us, another directory."""
    root = tmp_path / "root"
    (root / "proc/7/map_files").mkdir(parents=True)
    (tmp_path / "secret").write_text("not for you")
    os.mkfifo(tmp_path / "pipe")
    for name, target in (("1-2", "secret"), ("3-4", "pipe"), ("5-6", "missing"), ("7-8", "root")):
        os.symlink(tmp_path / target, root / "proc/7/map_files" / name)
    os.symlink(tmp_path, root / "proc/8")
    door = SysRoot(root)
    found = [door.sealed(f"proc/7/map_files/{name}", 1 << 20, bytes) for name in ("1-2", "3-4", "5-6", "7-8")]
    found.append(door.sealed("proc/8/secret", 1 << 20, bytes))
    assert found == [None] * 5
    assert [one.detail for one in door.refusals] == ["not sealed", "not a regular file", "not a regular file", "leads outside the root"]


def test_the_child_of_a_fork_has_a_table_of_its_own(made: embedder._Table) -> None:
    one = slot(made)
    one.tell(65536, 65536)
    made.lock.acquire()  # by a thread that the child will not have
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        made.renew()
        inherited = [(statement.instance, statement.size_bytes) for statement in seen(made).statements]
        one.tell(65536, 5 * 65536)
        slot(made, "child's").tell(65536, 1)
        names = [(statement.instance, statement.size_bytes) for statement in seen(made).statements]
        os.write(writer, repr((inherited, names)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    made.lock.release()
    expected = [("one", 65536)], [("one", 5 * 65536), ("child's", 1)]
    assert os.read(reader, 1 << 10).decode() == repr(expected)
    assert [(statement.instance, statement.size_bytes) for statement in seen(made).statements] == [("one", 65536)]
    os.close(reader)
    os.close(writer)


EMBEDDER = """
import os, sys
from collectors.wasm_stats import publish
packages = ("agent", "exporters", "msgspec", "rich", "docker", "wasmtime")
print(sorted(name for name in sys.modules if name.partition(".")[0] in packages), flush=True)
slot = publish("parent's")
slot.tell(65536, 65536)
child = os.fork()
if not child:
    from collectors.root import SysRoot
    from collectors.wasm_stats import statements
    pid = os.getpid()
    lines = [line.split() for line in open("/proc/self/maps") if "wasmstat.v1" in line]
    assert len(lines) == 1, lines
    slot.tell(65536, 2 * 65536)
    child_s, = statements.read(SysRoot(), {pid: lines[0][0]})
    print([(one.instance, one.size_bytes, one.tid == pid) for one in child_s.statements], flush=True)
    os._exit(0)
os.waitpid(child, 0)
"""


def test_an_embedder_gets_the_library_and_nothing_of_the_agent() -> None:
    """And the fork of one, as Python forks it, publishes by itself."""
    done = subprocess.run([sys.executable, "-c", EMBEDDER], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines() == ["[]", '[("parent\'s", 131072, True)]'], done.stderr
