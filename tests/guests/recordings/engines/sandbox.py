"""An embedder with a linear memory for each argument, grown to so many pages; it publishes each, where the agent's library is to be had.

The first statement is true, the second tells of less than there is, the third of memory where none begins. Its guests write to some of
their pages over and over, and sleep in between.
"""

import contextlib
import ctypes
import sys
import time

import wasmtime

TOUCHED_BYTES = 9 * 4096
GROW = f"""(module (memory 1 40) (func (export "grow") (param i32) (result i32) (local i32)
  (loop
    (i32.store8 (local.get 1) (i32.const 1))
    (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 4096))) (i32.const {TOUCHED_BYTES}))))
  local.get 0 memory.grow drop memory.size) (export "memory" (memory 0)))"""

store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, GROW)
guests = []
for number, pages in enumerate(map(int, sys.argv[1:])):
    exports = wasmtime.Instance(store, module, []).exports(store)
    grow, memory = exports["grow"], exports["memory"]
    assert isinstance(grow, wasmtime.Func)
    assert isinstance(memory, wasmtime.Memory)
    print(grow(store, pages - 1), end=" ")
    guests.append(grow)
    with contextlib.suppress(ImportError):
        from collectors.wasm_stats import publish

        slot = publish(f"guest-{number}", module="grow.wasm", tenant=f"tenant-{number}", store=1, maximum_pages=40)
        base = ctypes.addressof(memory.data_ptr(store).contents)
        slot.tell(*((base, pages << 16), (base, 1 << 16), (1 << 16, 1 << 16))[number % 3], fuel=1000 + number)
print(flush=True)
while True:
    for grow in guests:
        grow(store, 0)
    time.sleep(0.5)
