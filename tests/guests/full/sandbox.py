"""An embedder with a linear memory for each argument, grown to so many pages. It prints what `memory.size` answers in each of them.

Of each, its guest writes to the first nine pages of the host's.
"""

import signal
import sys

import wasmtime

TOUCHED_BYTES = 9 * 4096
GROW = f"""(module (memory 1) (func (export "grow") (param i32) (result i32) (local i32)
  (loop
    (i32.store8 (local.get 1) (i32.const 1))
    (br_if 0 (i32.lt_u (local.tee 1 (i32.add (local.get 1) (i32.const 4096))) (i32.const {TOUCHED_BYTES}))))
  local.get 0 memory.grow drop memory.size))"""

store = wasmtime.Store(wasmtime.Engine())
module = wasmtime.Module(store.engine, GROW)
instances = []
for pages in map(int, sys.argv[1:]):
    instances.append(wasmtime.Instance(store, module, []))
    grow = instances[-1].exports(store)["grow"]
    assert isinstance(grow, wasmtime.Func)
    print(grow(store, pages - 1), end=" ")
print(flush=True)
signal.pause()
