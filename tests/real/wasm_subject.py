"""Runs as a program of its own, with whatever wasmtime is on its path: makes memories as it is told and says which they are.

A line of JSON on stdin is a request: a process is forked for it, which prints its memories at once and again each time that a line
tells it by how many pages to grow them; an empty line ends it.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from contextlib import suppress
from typing import Any

import wasmtime


def line() -> str:
    """Unbuffered: parent and child read the same stdin in turn."""
    data = b""
    while not data.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            os._exit(0)
        data += byte
    return data.decode().strip()


def say(answer: object) -> None:
    os.write(1, json.dumps(answer).encode() + b"\n")


def engine(settings: dict[str, Any]) -> Any:
    config = wasmtime.Config()
    pool = settings.pop("pool", None)
    for name, value in settings.items():
        setattr(config, name, value)
    if pool is not None:
        # The pool has no property in Python; the library's C API has it.
        from wasmtime import _ffi

        allocation = _ffi.wasmtime_pooling_allocation_config_new()
        for name, value in pool.items():
            getattr(_ffi, f"wasmtime_pooling_allocation_config_{name}_set")(allocation, value)
        _ffi.wasmtime_pooling_allocation_strategy_set(config.ptr(), allocation)
    return wasmtime.Engine(config)


class Held:
    """One store with its memories: instances of a module, those of the host, or shared ones."""

    def __init__(self, made: Any, wanted: list[dict[str, Any]]) -> None:
        self.store = wasmtime.Store(made)
        self.memories: list[Any] = []
        self.others: list[Any] = []
        for one in wanted:
            declared = one.get("declared", ["1"])
            for _ in range(one.get("count", 1)):
                if one.get("host"):
                    self.memories.append(wasmtime.Memory(self.store, wasmtime.MemoryType(wasmtime.Limits(int(declared[0]), None))))
                    continue
                if one.get("shared"):
                    self.memories.append(wasmtime.SharedMemory(made, wasmtime.MemoryType(wasmtime.Limits(1, 1000), shared=True)))
                    continue
                body = "".join(f'(memory (export "m{number}") {text})' for number, text in enumerate(declared))
                if one.get("data"):
                    body += '(data (i32.const 70000) "image")'
                if one.get("gc"):
                    body += '(type $s (struct (field i32))) (func (export "f") (drop (struct.new $s (i32.const 1))))'
                module = wasmtime.Module(made, f"(module {body})")
                if one.get("file"):
                    place = os.path.join(one["file"], f"{os.getpid()}.cwasm")
                    with open(place, "wb") as file:
                        file.write(module.serialize())
                    module = wasmtime.Module.deserialize_file(made, place)
                    os.unlink(place)
                exports: Any = wasmtime.Instance(self.store, module, []).exports(self.store)
                if one.get("gc"):
                    exports["f"](self.store)
                    self.others.append(exports)
                self.memories += [exports[f"m{number}"] for number in range(len(declared))]

    def owner(self, memory: Any) -> tuple[Any, ...]:
        """What its methods want to be told first: a shared memory is no store's, and older versions have none."""
        return () if type(memory).__name__ == "SharedMemory" else (self.store,)

    def grow(self, pages: int) -> None:
        for memory in self.memories:
            # A memory at its limit stays as it is.
            with suppress(wasmtime.WasmtimeError):
                memory.grow(*self.owner(memory), pages)

    def truth(self) -> list[tuple[int, int]]:
        found = []
        for memory in self.memories:
            owner = self.owner(memory)
            found.append((ctypes.addressof(memory.data_ptr(*owner).contents), memory.data_len(*owner)))
        return found


def noise(threads: int) -> None:
    """Threads, each with its stack and its arena."""
    stop, ready = threading.Event(), threading.Barrier(threads + 1)

    def work() -> None:
        held = [bytes(100_000) for _ in range(3)]
        ready.wait()
        stop.wait()
        del held

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    ready.wait()


def serve(request: dict[str, Any]) -> None:
    noise(request.get("noise", 0))
    engines = [engine(settings) for settings in request.get("engines", [{}])]
    freed = [Held(made, request["memories"]) for made in engines for _ in range(request.get("freed", 0))]
    held = [Held(made, request["memories"]) for made in engines]
    for one in freed:
        one.store.close()
    while True:
        say({"pid": os.getpid(), "truth": [pair for one in held for pair in one.truth()]})
        word = line()
        if not word:
            os._exit(0)
        for one in held:
            one.grow(int(word))


def main() -> None:
    while True:
        request = json.loads(line())
        child = os.fork()
        if child:
            _, status = os.waitpid(child, 0)
            if status:
                # The engine gave up with its process.
                say({"error": f"ended with {os.waitstatus_to_exitcode(status)}"})
            continue
        try:
            serve(request)
        except Exception as error:
            say({"error": f"{type(error).__name__}: {error}"})
        finally:
            os._exit(0)


if __name__ == "__main__":
    main()
