"""collectors/wasm_stats in a real embedder: nothing that is read is torn, and what is stated is joined with what the kernel shows."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.finding import Finding
from agent.model.workload import Workload
from agent.normalise import normalise
from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache
from collectors.wasm_stats import statements
from collectors.wasm_stats.statements import StatementSlot
from tests.need import TOP, need
from tests.real.wasm_embedder import INSTANCES, PAGES, THREADS, seal

pytestmark = pytest.mark.real

GUESTS = THREADS * INSTANCES
READS = 1_000_000
SOURCES = ("processes", "proc_sys", "wasm_maps", "wasm_stats", "proc_task", "proc_limits", "proc_syscall")


class Embedder:
    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.first: dict[str, Any] = self.answer()
        self.pid: int = self.first["pid"]

    def answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())

    def ask(self, word: str) -> Any:
        assert self._process.stdin
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        return self.answer()

    def look(self) -> tuple[Workload, list[Finding]]:
        """As the agent sees it."""
        host = normalise(take(SysRoot(), Config(only=SOURCES), Caches()))
        assert [gap for gap in host.gaps if gap.source in ("wasm_maps", "wasm_stats") and str(self.pid) in gap.detail] == []
        (its,) = (workload for workload in host.workloads if workload.pid == self.pid)
        return its, [finding for finding in host.findings if finding.workload == its.id]


@pytest.fixture(scope="module")
def embedder() -> Iterator[Embedder]:
    pytest.importorskip("wasmtime")
    command = [sys.executable, "-m", "tests.real.wasm_embedder"]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Embedder(process)
        finally:
            process.kill()


def whole(one: StatementSlot) -> bool:
    """Whether all of it was written at once."""
    named = re.fullmatch(r"guest (\d+)\.\d+", one.instance)
    if not named or one.size_bytes % 65536 or not 1 <= one.size_bytes // 65536 <= PAGES:
        return False
    number = int(named[1])
    names = (one.module, one.tenant, one.store, one.maximum_pages) == (f"m{number}.wasm", f"tenant {number}", number, PAGES)
    # The first updates measure what one costs, and state nothing besides.
    return names and (one.fuel is None or (one.fuel, one.epoch_ticks) == seal(one.base, one.size_bytes, number))


def test_a_million_reads_under_load(embedder: Embedder) -> None:
    root = SysRoot()
    (process,) = wasm_maps.read(root, {embedder.pid: None}, WasmCache()).processes
    assert process.table
    read = torn = passes = false = changed = 0
    last: dict[int | None, StatementSlot] = {}
    began, ran = time.monotonic(), time.thread_time()
    while read < READS:
        (table,) = statements.read(root, {embedder.pid: process.table})
        passes += 1
        read += len(table.statements) + table.torn
        torn += table.torn
        for one in table.statements:
            if one != last.get(one.store):
                last[one.store] = one
                changed += 1
                false += not whole(one)
    seconds, cpu = time.monotonic() - began, time.thread_time() - ran
    print(
        f"\n{read} slots read in {seconds:.1f} s, {changed} of them written since the look before: {false} false, {torn} torn and left out;"
        f" one update {embedder.first['microseconds']:.1f} us, one look at {GUESTS} slots {cpu / passes * 1e6:.0f} us, checks and all"
    )
    assert false == 0
    assert changed > READS / 100
    assert torn < read / 100
    assert root.refusals == []


def test_what_runs_is_never_contradicted(embedder: Embedder) -> None:
    """Guests grow, come and go while the agent looks: what it compares was stated before it looked."""
    seen = joined = behind = 0
    for _ in range(20):
        its, findings = embedder.look()
        stated = [one for memory in its.memories for one in memory.stated]
        assert its.published
        seen += its.published.statements
        joined += len(stated)
        behind += sum(one.mismatch == "behind" for one in stated)
        assert findings == []
        assert {one.mismatch for one in stated} <= {None, "behind"}
    print(f"\nunder load: {joined} of {seen} statements are at a memory that the kernel shows, {behind} behind a guest that had grown")
    assert joined > 0.95 * seen


def test_the_embedder_s_threads_run_guests(embedder: Embedder) -> None:
    its, _ = embedder.look()
    roles = {thread.tid: thread.role for thread in its.threads}
    print(f"\nthreads: {sorted(str(role) for role in roles.values())}")
    assert {tid: roles[tid] for tid in embedder.first["tids"]} == dict.fromkeys(embedder.first["tids"], "guest")
    assert set(roles.values()) <= {"guest", "compiler", None}


def test_what_is_stated_is_what_the_kernel_shows(embedder: Embedder) -> None:
    """At rest: each memory has its names, and the three accounts of its size are one."""
    truth = {base: (number, size) for number, base, size in embedder.ask("stop")}
    its, findings = embedder.look()
    found = {int(memory.base, 16): memory for memory in its.memories}
    assert found.keys() == truth.keys()
    for base, (number, size) in truth.items():
        (one,) = found[base].stated
        assert (found[base].size_bytes, one.size_bytes, one.mismatch) == (size, size, None)
        assert (one.module, one.tenant, one.maximum_pages) == (f"m{number}.wasm", f"tenant {number}", PAGES)
    assert (findings, its.published and its.published.elsewhere) == ([], ())
    assert its.growth
    room = {bound.name: bound.room_bytes for bound in its.growth.bounds}
    assert room["declared_maxima"] == sum(PAGES * 65536 - size for _, size in truth.values())
    print(f"\nat rest: {len(truth)} of {len(truth)} memories named, sizes as stated, as mapped and as the engine has them")


def test_a_lie_is_told_and_believed_by_nobody(embedder: Embedder) -> None:
    before, _ = embedder.look()
    liar, loser = embedder.ask("lie")
    # The uptime that it is compared by is cut to a hundredth.
    time.sleep(0.05)
    its, (finding,) = embedder.look()
    assert [(memory.base, memory.size_bytes) for memory in its.memories] == [(memory.base, memory.size_bytes) for memory in before.memories]
    mismatches = {one.store: one.mismatch for memory in its.memories for one in memory.stated if one.mismatch}
    assert its.published
    assert (mismatches, [(one.store, one.mismatch) for one in its.published.elsewhere]) == ({liar: "ahead"}, [(loser, "nowhere")])
    print(f"\n{finding.text}: {finding.evidence}")
    assert finding.id == "statement_mismatch"


def test_an_embedder_in_a_container_is_known_by_the_host_s_numbers() -> None:
    """In a PID namespace of its own, as in every container, its threads have other numbers than here."""
    pytest.importorskip("wasmtime")
    need("unshare", root=True)
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "tests.real.wasm_embedder"]
    with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            embedder = Embedder(process)
            assert embedder.pid == 1
            (child,) = (SysRoot().text(f"proc/{process.pid}/task/{process.pid}/children") or "").split()
            embedder.pid = int(child)
            end, threads = time.monotonic() + 20, set[int]()
            # The first thread published what the others run: until each has said so itself, it is one of them.
            while len(threads) != THREADS and time.monotonic() < end:
                its, findings = embedder.look()
                threads = {thread.tid for thread in its.threads if thread.role == "guest"}
        finally:
            process.kill()
    assert len(threads) == THREADS
    assert not threads & set(embedder.first["tids"])
    assert its.published
    assert (its.published.statements, findings) == (GUESTS, [])
