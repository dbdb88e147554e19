"""collectors/wasm_maps/programs.py: runtimes in binaries whose names say nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.model.runtimes import WASM_RUNTIMES
from collectors import wasm_maps
from collectors.proc_pid.maps import Vma, parse_maps
from collectors.root import MARK, SysRoot
from collectors.root.recorder import Recorder
from collectors.wasm_maps import WasmCache
from collectors.wasm_maps.detection import detect
from collectors.wasm_maps.layouts import GIB, KIB
from collectors.wasm_maps.programs import shape
from tests.unit.tree import A_MARK
from tests.unit.wasm_space import PAGE, WASMTIME, Space, maps, write

WASMER = {"pre": 0, "reach": 8 * GIB + 64 * KIB}


def embedder(space: Space) -> str:
    return maps([Vma(0x5000, 0x6000, "r-xp", "/opt/acme embedder"), *space.vmas])


@pytest.mark.parametrize(
    ("space", "program", "runtime"),
    [
        (Space().memory(PAGE), b"\x7fELF wasm-memory-image \xff", "wasmtime"),
        (Space().memory(PAGE), b".wasmtime.engine", "wasmtime"),
        (Space().memory(PAGE), b"wasmtime", None),
        (Space().memory(PAGE), b"wasmer_vm", None),
        (Space().memory(PAGE), None, None),
        (Space().memory(0), b"wasm-memory-image", None),
        (Space().closed(9 * GIB).open(PAGE).closed(3 * GIB), b"wasm-memory-image wasmer_vm", None),
        (Space().memory(PAGE, **WASMER), b"wasmer_vm wasm-memory-image", "wasmer"),
        (Space().memory(PAGE, 2 * GIB, 8 * GIB), b"WasmMemoryObject", "v8"),
    ],
)
def test_the_map_and_the_program_agree_on_a_runtime(tmp_path: Path, space: Space, program: bytes | None, runtime: str | None) -> None:
    (tmp_path / MARK).write_text(A_MARK)
    write(tmp_path, 1, maps=embedder(space))
    if program is not None:
        (tmp_path / "proc/1/exe").write_bytes(program)
    found = wasm_maps.read(SysRoot(tmp_path), {1: None}, WasmCache()).processes
    assert [(one.runtime, one.evidence, len(one.memories)) for one in found] == [(runtime, "/opt/acme embedder", 1)] * (runtime is not None)


def test_a_small_process_is_not_looked_into(tmp_path: Path) -> None:
    (tmp_path / MARK).write_text(A_MARK)
    write(tmp_path, 1, pages=1000, maps=embedder(Space().memory(PAGE)))
    (tmp_path / "proc/1/exe").write_bytes(b"wasm-memory-image")
    assert wasm_maps.read(SysRoot(tmp_path), {1: None}, WasmCache()).processes == ()


def linked(root: Path, pid: int, program: Path) -> None:
    """As the kernel links it."""
    write(root, pid, maps=embedder(Space().memory(PAGE)))
    (root / f"proc/{pid}/exe").symlink_to(program)


def test_a_program_is_read_once_as_long_as_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, program = tmp_path / "root", tmp_path / "program"
    # Across the pieces in which it is read.
    program.write_bytes(b"x" * ((1 << 20) - 5) + b"wasm-memory-image")
    for pid in (1, 2):
        linked(root, pid, program)
    other = tmp_path / "other"
    other.write_bytes(b"wasm-memory-imag")
    linked(root, 3, other)
    reads: list[int] = []
    real = os.read

    def read(fd: int, size: int) -> bytes:
        if size == 1 << 20:
            reads.append(fd)
        return real(fd, size)

    monkeypatch.setattr("os.read", read)
    starts: dict[int, float | None] = {1: 1.0, 2: 1.0, 3: 1.0}
    cache = WasmCache()
    first = wasm_maps.read(SysRoot(root), starts, cache)
    assert [one.pid for one in first.processes] == [1, 2]
    assert len(reads) == 3 + 2  # to the end of each
    reads.clear()
    again = wasm_maps.read(SysRoot(root), starts, cache)
    assert ([one.pid for one in again.processes], reads) == ([1, 2], [])
    program.write_bytes(b"another")
    assert wasm_maps.read(SysRoot(root), starts, cache).processes == ()
    assert reads


def test_a_recording_holds_the_words_and_no_names_of_others(tmp_path: Path) -> None:
    root, program, into = tmp_path / "root", tmp_path / "program", tmp_path / "into"
    program.write_bytes(b"secret wasm-memory-image secret")
    linked(root, 1, program)
    other = tmp_path / "other"
    other.write_bytes(b"secret")
    linked(root, 2, other)
    recorder = Recorder(root, into, 0.0, "0")
    live = wasm_maps.read(recorder, dict.fromkeys([1, 2]), WasmCache()).processes
    recorder.close()
    assert [one.pid for one in live] == [1]
    assert wasm_maps.read(SysRoot(into), dict.fromkeys([1, 2]), WasmCache()).processes == live
    assert [(into / f"proc/{pid}/exe").read_bytes() for pid in (1, 2)] == [b"wasm-memory-image", b""]
    assert "acme" not in (into / "proc/2/maps").read_text()


def test_a_shape_is_a_map_without_names() -> None:
    text = "7f00-8f00 r-xp 00001000 fe:01 12                    /a b/c (deleted)\n8f00-9f00 rw-p 00000000 00:00 0 \n"
    text += "9f00-af00 rw-p 00000000 00:00 0                          [heap]\n"
    assert parse_maps(shape(text.encode()).decode()) == [
        Vma(0x7F00, 0x8F00, "r-xp", "/"),
        Vma(0x8F00, 0x9F00, "rw-p", ""),
        Vma(0x9F00, 0xAF00, "rw-p", "[heap]"),
    ]


def test_what_is_learnt_needs_a_name() -> None:
    """A reservation that an embedder chose is found where the runtime is known, and is no reason to search a program."""
    space = Space().memory(PAGE, 64 * KIB, GIB).memory(PAGE, 64 * KIB, GIB)
    assert len(detect(space.vmas, WASMTIME)) == 2
    assert {runtime.name for runtime in WASM_RUNTIMES if runtime.code_words} == {"wasmtime", "wasmer", "spidermonkey", "v8"}
