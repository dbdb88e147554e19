"""Runtimes that are not wasmtime's own, nor Node or wasmer: what is found of them, and what is not, printed as precision and recall.

Deno, Bun and workerd are packages of npm, and are tested when asked for (-m npm). What cannot be told of them is not guessed: they are
named as capable, and none of their memories is claimed, nor anything else as one.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from collectors import wasm_maps
from collectors.root import SysRoot
from collectors.wasm_maps import WasmCache
from tests.need import TOP, lack, which
from tests.real.test_serve import free_port
from tests.real.test_wasm_programs import NODE
from tests.real.wasm_judge import Score, installed

pytestmark = pytest.mark.real

INTEGRITY = {
    "@deno/linux-x64-glibc@2.9.6": "3md4TKLCuzsLDmfOoC5KN7NAZaxSVkMgm64vg6foD00JBADCpYS2/5QqXfzgnP5ZQz3iLP9vBQJtEgc116OAoQ==",
    "@oven/bun-linux-x64@1.4.5": "IWX9BELoGHAUtMonkeSaNaZwXzRk+oDw6Mk+HBFXd3KHYIBNBsIGRupMZPcgNoDbJpLu6gAJjIoIVPZtt1aJ1g==",
    "@cloudflare/workerd-linux-64@1.20261117.1": "gZLA8X11m/luZwn+YA3+mDu61vdxNJzpksP/QZqjydKTQ+VUCulsK5gtn9Bqst1p3KJu2kafQpJ1nDQv4B23jA==",
}
"""SHA-512 of npm's archives."""


def packed(name: str) -> Path:
    """A directory with what this package of npm's holds, kept from run to run; nothing of it is installed."""
    npm = which("npm") or lack("npm", "apt-get install npm")
    place = TOP / ".cache" / name.replace("/", "-")
    if not place.is_dir():
        with tempfile.TemporaryDirectory() as directory:
            done = subprocess.run([npm, "pack", "--silent", name], cwd=directory, capture_output=True, check=False, timeout=200)
            archives = [*Path(directory).glob("*.tgz")]
            if done.returncode or not archives:
                lack(name, f"npm pack {name} said {done.stderr.decode(errors='replace')[-300:]}")
            assert base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode() == INTEGRITY[name]
            shutil.unpack_archive(archives[0], f"{directory}/made", filter="data")
            place.parent.mkdir(exist_ok=True)
            shutil.move(f"{directory}/made/package", place)
    return place


def program(name: str, path: str) -> Path:
    found = packed(name) / path
    found.chmod(0o755)
    return found


@contextmanager
def held(command: list[str | Path]) -> Iterator[tuple[int, list[int]]]:
    """A process that has said which memories it holds, and waits."""
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield process.pid, json.loads(process.stdout.readline())
        finally:
            process.kill()


@pytest.mark.npm
@pytest.mark.parametrize(
    ("runtime", "name", "path", "arguments"),
    [
        ("deno", "@deno/linux-x64-glibc@2.9.6", "deno", ["run", "--quiet"]),
        ("bun", "@oven/bun-linux-x64@1.4.5", "bin/bun", ["run"]),
    ],
)
def test_memories_that_cannot_be_told_are_not_claimed(tmp_path: Path, runtime: str, name: str, path: str, arguments: list[str]) -> None:
    script = tmp_path / "held.mjs"
    script.write_text(f'import process from "node:process";\n{NODE}')
    with held([program(name, path), *arguments, script]) as (pid, truth):
        (found,) = wasm_maps.read(SysRoot(), {pid: None}, WasmCache()).processes
    assert len(truth) == 44
    assert (found.runtime, found.memories) == (runtime, ())
    print(f"{runtime}: {Score(missed=len(truth))}")


WORKER = """
import module from "held.wasm";
const held = new WebAssembly.Instance(module);
held.exports.memory.grow(7);
export default { fetch() { return new Response(String(held.exports.memory.buffer.byteLength)); } };
"""
SERVED = """
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:PORT", http = (), service = "main")]);
const worker :Workerd.Worker = (compatibilityDate = "2026-01-01",
  modules = [(name = "main.js", esModule = embed "main.js"), (name = "held.wasm", wasm = embed "held.wasm")]);
"""


@pytest.mark.npm
def test_workerd(tmp_path: Path) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    port = free_port()
    (tmp_path / "held.wasm").write_bytes(bytes(wasmtime.wat2wasm('(module (memory (export "memory") 3))')))
    (tmp_path / "main.js").write_text(WORKER)
    (tmp_path / "config.capnp").write_text(SERVED.replace("PORT", str(port)))
    command: list[str | Path] = [program("@cloudflare/workerd-linux-64@1.20261117.1", "bin/workerd"), "serve", tmp_path / "config.capnp"]
    with subprocess.Popen(command) as process:
        try:
            assert asked(port) == str(10 << 16)
            (found,) = wasm_maps.read(SysRoot(), {process.pid: None}, WasmCache()).processes
        finally:
            process.kill()
    assert (found.runtime, found.memories) == ("workerd", ())
    print(f"workerd: {Score(missed=1)}")


def asked(port: int) -> str:
    end = time.monotonic() + 30
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.1)


EXTISM = """
import ctypes, json, sys
lib = ctypes.CDLL(sys.argv[1])
lib.extism_plugin_new.restype = lib.extism_plugin_output_data.restype = ctypes.c_void_p
lib.extism_plugin_output_length.restype = ctypes.c_uint64
module, said = bytes.fromhex(sys.argv[2]), []
for _ in range(5):
    plugin = ctypes.c_void_p(lib.extism_plugin_new(module, ctypes.c_uint64(len(module)), None, ctypes.c_uint64(0), False, None))
    assert plugin and lib.extism_plugin_call(plugin, b"grown", b"", ctypes.c_uint64(0)) == 0
    said.append(int(ctypes.string_at(lib.extism_plugin_output_data(plugin), lib.extism_plugin_output_length(plugin))))
print(json.dumps(said), flush=True)
sys.stdin.read()
"""
# Says how many bytes its memory has, in decimal, through Extism's own memory.
GROWN = """(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store (param i64 i32)))
  (import "extism:host/env" "output_set" (func $say (param i64 i64)))
  (memory (export "memory") 3)
  (func (export "grown") (result i32) (local $left i32) (local $at i64) (local $end i64)
    (drop (memory.grow (i32.const 7)))
    (local.set $left (i32.mul (memory.size) (i32.const 65536)))
    (local.set $end (i64.add (call $alloc (i64.const 10)) (i64.const 10)))
    (local.set $at (local.get $end))
    (loop $again
      (local.set $at (i64.sub (local.get $at) (i64.const 1)))
      (call $store (local.get $at) (i32.add (i32.const 48) (i32.rem_u (local.get $left) (i32.const 10))))
      (local.set $left (i32.div_u (local.get $left) (i32.const 10)))
      (br_if $again (local.get $left)))
    (call $say (local.get $at) (i64.sub (local.get $end) (local.get $at)))
    (i32.const 0)))
"""


def test_extism() -> None:
    """wasmtime in a library of another name. Each plugin has a memory of Extism's beside its own."""
    wasmtime = pytest.importorskip("wasmtime")
    (library,) = installed("extism-sys==1.41.0").glob("extism_sys/*.so")
    with held([sys.executable, "-c", EXTISM, library, bytes(wasmtime.wat2wasm(GROWN)).hex()]) as (pid, truth):
        (found,) = wasm_maps.read(SysRoot(), {pid: None}, WasmCache()).processes
    assert truth == [10 << 16] * 5
    assert found.runtime == "wasmtime"
    sizes = [memory.size_bytes for memory in found.memories]
    print(sizes)
    assert sizes.count(10 << 16) == 5
