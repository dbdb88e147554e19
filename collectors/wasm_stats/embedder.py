"""The embedder's side: publishes memories in the table of its process. Runs in the embedder, and imports nothing of the agent.

One table a process, made when the first memory is published. It has no path and goes with its process; the child of a fork gets one
of its own, with what its parent had published, since it has copies of its parent's memories.
"""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from ctypes import addressof
from errno import EINVAL
from mmap import mmap
from time import CLOCK_BOOTTIME, clock_gettime_ns
from typing import Any

from collectors.wasm_stats.table import (
    BODY,
    COUNT,
    DROPPED_AT,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    NAME,
    NAME_BYTES,
    SLOT_BYTES,
    UNKNOWN,
    USED_AT,
    VERSION,
    slot_of,
)

SLOTS = 1024
# Since Linux 6.3 ("mm/memfd: add MFD_NOEXEC_SEAL and MFD_EXEC"); hosts may refuse a memfd without it.
_NOEXEC_SEAL = 8
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW


def publish(
    instance: str,
    *,
    module: str = "",
    tenant: str = "",
    store: int | None = None,
    maximum_pages: int | None = None,
    page_bytes: int = 1 << 16,
) -> Slot:
    """A slot for one memory of one instance, empty until its first `update`. Names are cut to 48 bytes of UTF-8.

    OSError where this process may not have a memfd. Beyond a thousand memories at once, what is published is counted and not kept.
    """
    names = tuple(name.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore").encode() for name in (instance, module, tenant))
    return _the_table().slot(names, _number(store), _number(maximum_pages), page_bytes)


class Slot:
    """What is said of one memory. The thread that runs the guest updates it, where the guest has returned to its host.

    That thread is shown as one that runs guest code. `grows` counts the updates that found the memory grown.
    """

    __slots__ = ("_fixed", "_grows", "_names", "_place", "_size", "_table", "_writings")

    def __init__(
        self, table: _Table, place: int | None, writings: int, names: tuple[bytes, ...], store: int, maximum_pages: int, page_bytes: int
    ) -> None:
        self._table = table
        self._place = place
        self._writings = writings
        self._names = names
        self._fixed = page_bytes, store, maximum_pages
        self._grows = 0
        self._size: int | None = None

    def update(self, memory: Any, store: Any = None, **limits: int | None) -> None:
        """Of a `wasmtime.Memory` with its store, or of a `wasmtime.SharedMemory`, which has none; the rest is as for `tell`."""
        owner = () if store is None else (store,)
        self.tell(addressof(memory.data_ptr(*owner).contents), memory.data_len(*owner), **limits)

    def tell(
        self,
        base: int,
        size_bytes: int,
        *,
        fuel: int | None = None,
        epoch_deadline: int | None = None,
        epoch_ticks: int | None = None,
    ) -> None:
        """Where the memory begins and how large it is; the fuel that is left, the epoch's deadline, and how far the epoch has come."""
        place = self._place
        if place is None:
            return
        if self._size is not None and size_bytes > self._size:
            self._grows += 1
        self._size = size_bytes
        page_bytes, store, maximum_pages = self._fixed
        self._write(
            place,
            BODY.pack(
                1,
                page_bytes,
                store,
                base,
                size_bytes,
                maximum_pages,
                UNKNOWN if fuel is None else fuel,
                UNKNOWN if epoch_deadline is None else epoch_deadline,
                UNKNOWN if epoch_ticks is None else epoch_ticks,
                self._grows,
                clock_gettime_ns(CLOCK_BOOTTIME),
                threading.get_native_id(),
                *self._names,
            ),
        )

    def withdraw(self) -> None:
        """Nothing is said of it any more, and its slot is free for another."""
        place, self._place = self._place, None
        if place is not None:
            self._write(place, _NOTHING)
            self._table.release(place, self._writings)

    def _write(self, place: int, body: bytes) -> None:
        self._writings = self._writings % 0xFFFFFFFF + 1
        self._table.write(place, slot_of(self._writings, body))


class _Table:
    """The table of this process. The lock is for giving out slots: each has one writer."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.used = 0
        self.dropped = 0
        self.free: list[tuple[int, int]] = []
        self.lock = threading.Lock()
        self.memory = _sealed(HEADER_BYTES + slots * SLOT_BYTES)
        self._begin()

    def slot(self, names: tuple[bytes, ...], store: int, maximum_pages: int, page_bytes: int) -> Slot:
        with self.lock:
            place: int | None
            place, writings = self.free.pop() if self.free else (self.used, 0)
            if place >= self.slots:
                place = None
                self.dropped += 1
                COUNT.pack_into(self.memory, DROPPED_AT, self.dropped)
            elif place == self.used:
                self.used += 1
                COUNT.pack_into(self.memory, USED_AT, self.used)
        return Slot(self, place, writings, names, store, maximum_pages, page_bytes)

    def release(self, place: int, writings: int) -> None:
        with self.lock:
            self.free.append((place, writings))

    def write(self, place: int, slot: bytes) -> None:
        at = HEADER_BYTES + place * SLOT_BYTES
        self.memory[at : at + SLOT_BYTES] = slot

    def renew(self) -> None:
        """In the child of a fork: a table of its own. The lock may have been another thread's, which is not here any more."""
        self.lock = threading.Lock()
        parents = self.memory
        length = HEADER_BYTES + self.used * SLOT_BYTES
        # Without a memfd the child tells nobody, and its parent's table is still not its to write.
        self.memory = mmap(-1, len(parents))
        with suppress(OSError):
            self.memory = _sealed(len(parents))
        self.memory[HEADER_BYTES:length] = parents[HEADER_BYTES:length]
        self._begin()
        parents.close()

    def _begin(self) -> None:
        HEADER.pack_into(self.memory, 0, b"", VERSION, HEADER_BYTES, SLOT_BYTES, self.slots, self.used)
        COUNT.pack_into(self.memory, DROPPED_AT, self.dropped)
        self.memory[: len(MAGIC)] = MAGIC


_NOTHING = bytes(BODY.size)
_made: list[_Table] = []
_making = threading.Lock()


def _the_table() -> _Table:
    with _making:
        if not _made:
            table = _Table(SLOTS)
            os.register_at_fork(before=_making.acquire, after_in_parent=_making.release, after_in_child=_in_child)
            _made.append(table)
        return _made[0]


def _in_child() -> None:
    _making.release()
    _made[0].renew()


def _sealed(size: int) -> mmap:
    """Memory that others may map or read, of a size that nobody can change: its readers need not fear for it."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        file = os.memfd_create(NAME, flags | _NOEXEC_SEAL)
    except OSError as error:
        if error.errno != EINVAL:
            raise
        file = os.memfd_create(NAME, flags)
    try:
        os.ftruncate(file, size)
        # mmap keeps a descriptor of its own.
        memory = mmap(file, size)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        return memory
    finally:
        os.close(file)


def _number(value: int | None) -> int:
    return UNKNOWN if value is None else value
