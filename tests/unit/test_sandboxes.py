"""agent/normalise: processes with linear memories, on a drawn tree."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import jsonschema
import pytest
from msgspec.json import encode
from msgspec.structs import replace

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.device import RuntimeProcesses
from agent.model.finding import Finding
from agent.model.host import Host, Identity
from agent.model.logical import KernelCpu as LogicalCpu
from agent.model.logical import KernelMemory as LogicalMemory
from agent.model.logical import Logical
from agent.model.physical import Cpus, Physical
from agent.model.physical import MainMemory as PhysicalMemory
from agent.model.sandbox import Published, Statement
from agent.model.values import CpuSet, encode_value
from agent.model.workload import Workload
from agent.normalise import normalise
from agent.normalise.findings import findings
from agent.overhead.explain import explain as explained
from agent.overhead.window import Window
from agent.session import Session, snapshot_of, take_window
from collectors.root import MARK, SysRoot
from collectors.wasm_maps.layouts import GIB, MIB
from collectors.wasm_stats import table
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import elements, explain
from exporters.views.json import render, schema
from tests.unit.test_workloads import HOST, group, thread
from tests.unit.tree import A_MARK, recorded
from tests.unit.wasm_space import ORIGIN, PAGE, Space, running, slab

NAMES = {10: "parent", 11: "child", 12: "pool", 13: "idle", 14: "bun"}
PARENTS = {10: 1, 11: 10, 12: 1, 13: 1, 14: 1}


def host(root: Path, **files: str | None) -> Host:
    """The drawn host with other files, or without those that are None."""
    table = [{"pid": pid, "parent_pid": PARENTS[pid], "name": name, "started_at": 5.0, "threads": 1} for pid, name in NAMES.items()]
    memory = Space().memory(2 * PAGE)
    bun = "1000-2000 r-xp 00000000 00:01 7     /usr/bin/bun\n"
    maps = {
        10: running(memory),
        11: running(Space().memory(2 * PAGE).hole().memory(PAGE)),
        12: running(slab(PAGE)),
        13: running(Space()),
        14: bun,
    }
    tree = dict(HOST) | {"replies/processes.json": json.dumps(table)}
    for pid in NAMES:
        tree |= thread(pid, pid, NAMES[pid])
        tree |= {f"proc/{pid}/statm": f"{2 << 20} 1 1 1 0 1 0\n", f"proc/{pid}/maps": maps[pid], f"proc/{pid}/numa_maps": "1000 default\n"}
        tree |= {f"proc/{pid}/smaps_rollup": "1000-2000 ---p 0 0 0 [rollup]\nRss: 4 kB\nAnonHugePages: 0 kB\nSwap: 0 kB\n"}
    drawn = {path: text for path, text in (tree | files).items() if text is not None}
    return normalise(take(recorded(root, drawn), Config(root=str(root)), Caches()))


def test_whose_memories_they_are(tmp_path: Path) -> None:
    found = host(tmp_path)
    memories = {workload.name: [(memory.size_bytes, memory.state) for memory in workload.memories] for workload in found.workloads}
    assert memories == {
        "parent": [(2 * PAGE, "memory")],
        "child": [(2 * PAGE, "inherited"), (PAGE, "memory")],
        "pool": [(PAGE, "accessible")],
    }
    assert found.devices.memory.runtimes == (RuntimeProcesses("bun", 1, None, False), RuntimeProcesses("wasmtime", 4, 3, True))


def test_who_holds_a_runtime_is_not_counted_in_part(tmp_path: Path) -> None:
    """A process of little address space that may not be looked into hides no memory, but perhaps a runtime."""
    refusal = {"path": "proc/14/maps", "reason": "denied", "detail": "Permission denied"}
    mark = json.loads(A_MARK) | {"refusals": {"proc/14/maps": refusal}}
    found = host(tmp_path, **{MARK: json.dumps(mark), "proc/14/statm": "1000 1 1 1 0 1 0\n", "proc/14/maps": None})
    assert found.devices.memory.runtimes == (RuntimeProcesses("wasmtime", None, 3, True),)
    assert found.devices.memory.logical_memories == 4
    # The count that is missing has a gap.
    (gap,) = {*found.gaps} - {*host(tmp_path / "whole").gaps}
    assert (gap.source, gap.reason) == ("wasm_maps", "denied")
    assert "proc/14/maps" in gap.detail


def test_reserved_is_not_memory(tmp_path: Path) -> None:
    child = next(workload for workload in host(tmp_path).workloads if workload.name == "child")
    assert (child.memory.reserved_bytes, child.memory.guard_bytes) == (2 * (4 * GIB + 64 * MIB), 2 * 64 * MIB)
    assert (child.memory.allotted_bytes, child.memory.backing_huge_bytes, child.memory.backing_swapped_bytes) == (3 * PAGE, None, None)


BASE = ORIGIN + 32 * MIB
LATE_NS = 99_000_000_000


def stating(*statements: dict[str, object], torn: int = 0, dropped: int = 0) -> bytes:
    """The file of a table with these memories stated, at 50 seconds since boot unless they say when."""
    slots = b""
    for one in statements:
        numbers = {"store": 7, "base": BASE, "size": 2 * PAGE, "maximum": table.UNKNOWN, "fuel": table.UNKNOWN, "deadline": table.UNKNOWN}
        numbers |= {"ticks": table.UNKNOWN, "grows": 0, "written": 50_000_000_000, "tid": 1}
        numbers |= {key: value for key, value in one.items() if isinstance(value, int)}
        names = [str(one.get(key, "")).encode() for key in ("instance", "module", "tenant")]
        page_bytes = numbers.pop("page_bytes", PAGE)
        slots += table.slot_of(1, table.BODY.pack(1, page_bytes, *numbers.values(), *names))
    slots += b"\xff" * table.SLOT_BYTES * torn
    head = table.HEADER.pack(table.MAGIC, 1, table.HEADER_BYTES, table.SLOT_BYTES, 1024, len(statements) + torn)
    return (head + table.COUNT.pack(dropped)).ljust(table.HEADER_BYTES, b"\0") + slots


def published(root: Path, data: bytes, **files: str | None) -> Workload:
    """The first process, its embedder publishing at an address of its own; a thread of it is number 1 in its PID namespace."""
    addresses = "7e0000000000-7e0000041000"
    memory = Space().memory(2 * PAGE)
    mapped = f"{addresses} rw-s 00000000 00:01 9   /memfd:wasmstat.v1 (deleted)\n"
    place = root / f"proc/10/map_files/{addresses}"
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    status = thread(10, 10, "parent")["proc/10/status"] + "NSpid:\t10\t1\n"
    there = {"proc/10/maps": mapped + running(memory), "proc/10/status": status, "proc/uptime": "60.00 100.00\n"}
    return next(workload for workload in host(root, **(there | files)).workloads if workload.name == "parent")


def told(workload: Workload) -> tuple[Finding, ...]:
    hardware = Physical(cpus=Cpus(online=CpuSet()), memory=PhysicalMemory())
    return findings((workload,), hardware, Logical(cpu=LogicalCpu(), memory=LogicalMemory()), Identity())


def test_what_an_embedder_states_is_joined_and_dated(tmp_path: Path) -> None:
    full: dict[str, object] = {
        "instance": "resize",
        "module": "m.wasm",
        "tenant": "acme",
        "maximum": 16,
        "fuel": 5,
        "deadline": 3,
        "ticks": 2,
    }
    found = published(tmp_path, stating(full, torn=2, dropped=3))
    (memory,) = found.memories
    (one,) = memory.stated
    assert one == Statement(
        instance="resize",
        base=f"{BASE:#x}",
        size_bytes=2 * PAGE,
        module="m.wasm",
        tenant="acme",
        store=7,
        maximum_pages=16,
        fuel=5,
        epoch_deadline=3,
        epoch_ticks=2,
        tid=10,
        seconds_ago=10.0,
    )
    assert found.published == Published(1, 3, 2)
    assert [(task.tid, task.role, task.role_origin) for task in found.threads] == [(10, "guest", "configured")]
    # What no other source knows changes nothing that they say.
    silent = next(workload for workload in host(tmp_path / "silent").workloads if workload.name == "parent")
    same = replace(found, memories=silent.memories, published=None, threads=silent.threads, stack=silent.stack, growth=silent.growth)
    assert replace(same, memory=silent.memory) == silent
    assert same.memory == silent.memory


@pytest.mark.parametrize(
    ("stated", "mismatch"),
    [
        ({"size": 2 * PAGE}, None),
        ({"size": 2 * PAGE - 1}, None),
        ({"size": PAGE}, "behind"),
        ({"size": 2 * PAGE + 1}, "ahead"),
        ({"size": 1 << 63}, "ahead"),
        ({"size": 1 << 63, "written": LATE_NS}, None),
        ({"maximum": 2}, None),
        ({"maximum": 1}, "beyond"),
        ({"maximum": 1, "written": LATE_NS}, None),
        ({"base": 0, "size": 0}, None),
        ({"base": BASE + PAGE}, "nowhere"),
        ({"base": (1 << 64) - 1, "size": (1 << 64) - 1, "written": (1 << 64) - 1}, None),
    ],
)
def test_the_kernel_says_how_large_it_is(tmp_path: Path, stated: dict[str, object], mismatch: str | None) -> None:
    found = published(tmp_path, stating({"instance": "it"} | stated))
    assert found.published is not None
    (one,) = (*found.memories[0].stated, *found.published.elsewhere)
    assert one.mismatch == mismatch
    assert (found.memories[0].size_bytes, found.memory.allotted_bytes) == (2 * PAGE, 2 * PAGE)
    assert [finding.id for finding in told(found)] == (["statement_mismatch"] if mismatch not in (None, "behind") else [])


@pytest.mark.parametrize(("count", "end"), [(4, f"'g': no memory begins at {BASE + PAGE * 4:#x}"), (5, ", and 1 more")])
def test_contradictions_that_are_not_shown_are_counted(tmp_path: Path, count: int, end: str) -> None:
    wrong = [{"instance": name, "base": BASE + PAGE * number} for number, name in enumerate("defgh"[:count], 1)]
    (finding,) = told(published(tmp_path, stating(*wrong)))
    assert finding.evidence.count("no memory begins at") == 4
    assert finding.evidence.endswith(end)


@pytest.mark.parametrize("base", [BASE, 0, (1 << 64) - 1])
@pytest.mark.parametrize("number", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 2, (1 << 64) - 1])
def test_numbers_that_no_embedder_has(tmp_path: Path, base: int, number: int) -> None:
    """As large as they fit: the document and the metrics are whole."""
    keys = ("store", "size", "maximum", "fuel", "deadline", "ticks", "grows", "written", "tid")
    one: dict[str, object] = {"instance": "x", "base": base, "page_bytes": min(number, (1 << 32) - 1)}
    found = published(tmp_path, stating(one | dict.fromkeys(keys, number)))
    assert found.memory.allotted_bytes == 2 * PAGE
    window = take_window(Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path))))
    everything = snapshot_of(Window(after=window.after), 0.0)
    document = json.loads(render(everything))
    jsonschema.Draft202012Validator(json.loads(schema())).validate(document)
    assert b"strata_workload_statements{" in exposition(everything, Run(), TextCache())


def test_without_the_uptime_nothing_is_compared(tmp_path: Path) -> None:
    found = published(tmp_path, stating({"instance": "it", "size": 1 << 40}), **{"proc/uptime": None})
    assert [(one.mismatch, one.seconds_ago) for one in found.memories[0].stated] == [(None, None)]


def test_a_memory_that_several_share_is_each_one_s(tmp_path: Path) -> None:
    found = published(tmp_path, stating({"instance": "one"}, {"instance": "two"}))
    assert [one.instance for one in found.memories[0].stated] == ["one", "two"]


def test_a_hostile_name_is_only_a_name(tmp_path: Path) -> None:
    hostile = '"}\n# TYPE x counter\n\x1b[2J\u202e'
    publishes = published(tmp_path, stating({"instance": hostile, "tenant": hostile, "size": 1 << 40}))
    document = json.loads(encode(publishes, enc_hook=encode_value))
    assert document["memories"][0]["stated"][0]["instance"] == hostile
    (finding,) = told(publishes)
    assert finding.evidence.isprintable()
    window = take_window(Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path))))
    for openmetrics in (False, True):
        assert b"TYPE x" not in exposition(snapshot_of(Window(after=window.after), 0.0), Run(), TextCache(), openmetrics)
    its = next(workload for workload in window.after.workloads if workload.id == publishes.id)
    shown = explain.render(explained(window, its, ()), width=100, terminal=False, encoding="utf-8")
    assert b"\x1b" not in shown
    assert "\u202e" not in shown.decode()


@pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"wasmstat", os.urandom(4096), stating({"instance": "it"})[:-1]])
def test_a_table_that_is_none_names_nothing(tmp_path: Path, data: bytes) -> None:
    found = published(tmp_path, data)
    assert [memory.stated for memory in found.memories] == [()]


NO_LIMITS = "Limit                     Soft Limit           Hard Limit           Units     \n"


def limits(data: str = "unlimited", space: str = "unlimited") -> str:
    rows = (("Max data size", data), ("Max stack size", "8388608"), ("Max address space", space))
    return NO_LIMITS + "".join(f"{name:<26}{soft:<21}{'unlimited':<21}{'bytes':<10}\n" for name, soft in rows)


def bounds(workload: Workload) -> dict[str, tuple[float, float | None]]:
    assert workload.growth
    return {bound.name: (bound.limit_bytes, bound.room_bytes) for bound in workload.growth.bounds}


def test_the_limit_that_leaves_the_least_room(tmp_path: Path) -> None:
    status = thread(10, 10, "parent")["proc/10/status"] + "VmData:\t 1024 kB\nVmSize:\t 8192 kB\n"
    there = {"proc/10/status": status, "proc/10/limits": limits(f"{3 << 20}", f"{1 << 40}")}
    stated = stating({"instance": "it", "maximum": 16})
    unstated = published(tmp_path / "a", stating({"instance": "it"}), **there)
    assert bounds(unstated) == {"process_data": (3 << 20, 2 << 20), "process_address_space": (1 << 40, (1 << 40) - (8 << 20))}
    found = published(tmp_path / "b", stated, **there)
    assert bounds(found) == bounds(unstated) | {"declared_maxima": (16 * PAGE, 14 * PAGE)}
    lie = published(tmp_path / "c", stating({"instance": "it", "maximum": 1}), **there)
    assert bounds(lie) == bounds(unstated)
    # What the groups around allow is not known here: it may be less.
    assert [one.growth and one.growth.binding for one in (found, unstated, lie)] == [None] * 3
    shown = {element.name: elements.stated(element) for layer in found.stack.memory for element in layer.elements}
    assert shown["what bounds their growth"] == "their declared maxima: 896 KiB more, RLIMIT_DATA: 2 MiB more"


def test_the_group_around_may_be_the_tightest(tmp_path: Path) -> None:
    slice_ = group("/tight.slice", "memory", **{"memory.max": f"{8 << 20}", "memory.current": f"{7 << 20}", "cgroup.procs": ""})
    inner = group("/tight.slice/it.service", "memory", **{"memory.max": "max", "memory.current": "4096", "cgroup.procs": "10"})
    around = {"proc/10/cgroup": "0::/tight.slice/it.service\n", "proc/10/limits": limits()}
    found = published(tmp_path, stating({"instance": "it", "maximum": 1 << 16}), **slice_, **inner, **around)
    assert found.growth
    assert bounds(found)["cgroup_memory"] == (8 << 20, 1 << 20)
    assert bounds(found)["process_data"] == (math.inf, math.inf)
    (one,) = (bound for bound in found.growth.bounds if bound.name == found.growth.binding)
    assert (one.name, one.set_by) == ("cgroup_memory", "/tight.slice")
    shown = {element.name: elements.stated(element) for layer in found.stack.memory for element in layer.elements}
    assert shown["what bounds their growth"] == "the memory limit: 1 MiB more"
    unstated = published(tmp_path / "unstated", stating({"instance": "it"}), **slice_, **inner, **around)
    assert unstated.growth
    assert unstated.growth.binding is None


def test_a_slot_of_a_pool_has_an_end(tmp_path: Path) -> None:
    pool = next(workload for workload in host(tmp_path).workloads if workload.name == "pool")
    assert bounds(pool) == {"pool_slots": (4 * GIB, 4 * GIB - PAGE)}


def test_without_limits_nothing_binds(tmp_path: Path) -> None:
    child = next(workload for workload in host(tmp_path, **{"proc/11/limits": limits()}).workloads if workload.name == "child")
    assert child.growth
    assert child.growth.binding is None


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("tokio-rt-worker", "executor"),
        ("tokio-runtime-w", "executor"),
        ("TokioTaskManage", "executor"),
        ("V8 DefaultWorke", "compiler"),
        ("V8Worker", "compiler"),
        ("JITWorker", "compiler"),
        ("HeapHelper", "collector"),
        ("python", None),
        ("my JITWorker", None),
    ],
)
def test_what_a_thread_does_by_its_name(tmp_path: Path, name: str, role: str | None) -> None:
    found = next(workload for workload in host(tmp_path, **thread(10, 20, name)).workloads if workload.name == "parent")
    assert [(one.role, one.role_origin) for one in found.threads] == [(None, None), (role, role and "inferred")]


def test_what_a_thread_does_by_its_stack(tmp_path: Path) -> None:
    """Of two threads that wait, one has a stack of the size that Rust makes; a third one runs, and shows none."""
    space = Space().memory(PAGE).hole().closed(4096).open(2 * MIB).hole().stack()
    low = next(vma.start for vma in space.vmas if vma.end - vma.start == 2 * MIB)
    top = space.vmas[-1].end
    words = " ".join(["202", *["0x0"] * 6])
    threads = thread(10, 20, "python") | thread(10, 21, "python") | thread(10, 22, "python")
    calls = {20: f"{words} {low + 2 * MIB - 64:#x} 0x7f00\n", 21: f"-1 {top - 64:#x} 0x7f00\n", 22: "running\n"}
    there = threads | {"proc/10/maps": running(space)} | {f"proc/10/task/{tid}/syscall": call for tid, call in calls.items()}
    found = next(workload for workload in host(tmp_path, **there).workloads if workload.name == "parent")
    assert {one.tid: (one.role, one.role_origin) for one in found.threads} == {
        10: (None, None),
        20: ("compiler", "inferred"),
        21: (None, None),
        22: (None, None),
    }
    shown = {element.name: (elements.stated(element), element.origin) for layer in found.stack.cpu for element in layer.elements}
    assert shown["what its threads do"] == ("1 compiler (0.001 s, 1 waiting), 3 not told (0.003 s, 3 waiting)", "inferred")
