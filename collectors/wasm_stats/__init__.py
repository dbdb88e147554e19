"""What an embedder of WebAssembly says of its own instances, in a sealed memfd of its process.

An embedder imports `publish` from here, which needs nothing but the standard library and makes the file (`embedder`); the agent reads
it (`statements`). `table` is the format, which both know. Everything in it is a claim: names and settings are nowhere else to be
had, sizes are the kernel's to say.

    from collectors.wasm_stats import publish

    slot = publish("resize-1", module="resize.wasm", tenant="acme")
    ...
    slot.update(memory, store)      # wherever the guest has returned to its host
    slot.withdraw()                 # with the instance
"""

from collectors.wasm_stats.embedder import Slot, publish

__all__ = ["Slot", "publish"]
