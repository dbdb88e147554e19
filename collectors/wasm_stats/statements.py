"""The agent's side: what embedders state of their instances, by /proc/PID/map_files (proc(5)) or, where that is refused, /proc/PID/fd."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent.model.values import Fact
from collectors.root import SysRoot
from collectors.text import Malformed, printable
from collectors.wasm_stats.table import (
    BODY,
    COUNT,
    DROPPED_AT,
    HEADER,
    HEADER_BYTES,
    MAGIC,
    MAX_BYTES,
    MAX_SLOTS,
    NAME,
    SLOT_BYTES,
    UNKNOWN,
    VERSION,
    body_of,
)

MAX_DESCRIPTORS = 4096
# A writing takes a microsecond: what is not whole three times in a row is not written by our library.
_TRIES = 3


class StatementSlot(Fact, frozen=True, kw_only=True):
    """One slot. `written_ns` is time since boot, `tid` the thread that wrote it, in its own PID namespace."""

    instance: str
    module: str
    tenant: str
    base: int
    size_bytes: int
    page_bytes: int
    grows: int
    written_ns: int
    tid: int
    store: int | None = None
    maximum_pages: int | None = None
    fuel: int | None = None
    epoch_deadline: int | None = None
    epoch_ticks: int | None = None


class StatementTable(Fact, frozen=True):
    """The table of one process. `dropped`: memories that found it full. `torn`: slots that were not whole at any look."""

    pid: int
    statements: tuple[StatementSlot, ...]
    dropped: int = 0
    torn: int = 0


def read(root: SysRoot, mapped: Mapping[int, str]) -> tuple[StatementTable, ...]:
    """The tables of these processes, by the range of addresses ("7f00-7f10") at which each has mapped its own."""
    return tuple(table for pid, addresses in sorted(mapped.items()) if (table := _table(root, pid, addresses)) is not None)


def _table(root: SysRoot, pid: int, addresses: str) -> StatementTable | None:
    path = f"proc/{pid}/map_files/{addresses}"
    data = root.sealed(path, MAX_BYTES, used)
    if data is None:
        by_descriptor = _descriptor(root, pid)
        if by_descriptor is None:
            return None
        root.drop_refusal(path)
        path = by_descriptor
        data = root.sealed(path, MAX_BYTES, used)
    table = None
    for again in range(_TRIES):
        if again:
            data = root.sealed(path, MAX_BYTES, used)
        if not data:
            break
        try:
            table = parse(pid, data)
        except Malformed as error:
            root.note_malformed(path, error)
            return None
        if not table.torn:
            break
    return table


def _descriptor(root: SysRoot, pid: int) -> str | None:
    """map_files needs CAP_CHECKPOINT_RESTORE, before Linux 5.9 CAP_SYS_ADMIN; fd what maps needs, and to be let into the directory."""
    names = root.names(f"proc/{pid}/fd")
    paths = (f"proc/{pid}/fd/{name}" for name in names[:MAX_DESCRIPTORS])
    return next((path for path in paths if (root.link(path) or "").startswith(f"/memfd:{NAME}")), None)


def used(data: bytes) -> bytes:
    """The header and the slots that were ever in use: the rest is empty, however large the table."""
    return data[: HEADER_BYTES + min(_header(data)[1], MAX_SLOTS) * SLOT_BYTES]


def _header(data: bytes) -> tuple[int, int]:
    """Version, and the slots that were ever in use; none of a table that is being made."""
    if len(data) < HEADER_BYTES or data[: len(MAGIC)] == bytes(len(MAGIC)):
        return VERSION, 0
    magic, version, header_bytes, slot_bytes, slots, in_use = HEADER.unpack_from(data)
    if magic != MAGIC or (version == VERSION and (header_bytes, slot_bytes) != (HEADER_BYTES, SLOT_BYTES)):
        # Not ours, whatever its name says; its first bytes are all that a recording needs.
        return 0, 0
    return version, min(in_use, slots)


def parse(pid: int, data: bytes) -> StatementTable:
    version, in_use = _header(data)
    if version != VERSION:
        raise Malformed(f"expected version {VERSION} of the table, got {version or 'something else'}")
    slots = [data[at : at + SLOT_BYTES] for at in range(HEADER_BYTES, min(HEADER_BYTES + in_use * SLOT_BYTES, len(data)), SLOT_BYTES)]
    bodies = [body_of(slot) if len(slot) == SLOT_BYTES else None for slot in slots[:MAX_SLOTS]]
    (dropped,) = COUNT.unpack_from(data, DROPPED_AT) if in_use else (0,)
    return StatementTable(pid, tuple(_statements(filter(None, bodies))), dropped, bodies.count(None))


def _statements(bodies: Iterator[bytes]) -> Iterator[StatementSlot]:
    for body in bodies:
        in_use, page_bytes, store, base, size, maximum, fuel, deadline, ticks, grows, written, tid, *names = BODY.unpack(body)
        if in_use:
            instance, module, tenant = (_name(name) for name in names)
            yield StatementSlot(
                instance=instance,
                module=module,
                tenant=tenant,
                base=base,
                size_bytes=size,
                page_bytes=page_bytes,
                grows=grows,
                written_ns=written,
                tid=tid,
                store=_stated(store),
                maximum_pages=_stated(maximum),
                fuel=_stated(fuel),
                epoch_deadline=_stated(deadline),
                epoch_ticks=_stated(ticks),
            )


def _stated(value: int) -> int | None:
    return None if value == UNKNOWN else value


def _name(data: bytes) -> str:
    """Up to its first NUL. Whoever shows it escapes what its own format must."""
    return printable(data.partition(b"\0")[0].decode("utf-8", "backslashreplace"))
