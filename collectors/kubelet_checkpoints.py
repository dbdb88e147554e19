"""What the kubelet gave to containers: /var/lib/kubelet/cpu_manager_state and memory_manager_state.

Source: Kubernetes, pkg/kubelet/cm/cpumanager/state and pkg/kubelet/cm/memorymanager/state (checkpoint.go): JSON that only root may read,
and that is replaced as a whole. Entries are by container id before 1.18, then by pod uid and container name; newer ones have entries of
whole pods beside them (`podEntries`), and may hold the object again as text in `data`: that is the one that counts. Checksums are of Go's
own print of its structs, and are not checked. Go does not distinguish case in names of fields (`defaultCpuSet`, `defaultCPUSet`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from agent.model.facts.kubelet_checkpoints import CpuGrant, CpuManager, KubeletCheckpoints, MemoryGrant, MemoryManager
from agent.model.values import MAX_ID, CpuSet
from collectors.root import SysRoot, Unavailable
from collectors.text import Malformed, printable

T = TypeVar("T")

CPU = "var/lib/kubelet/cpu_manager_state"
MEMORY = "var/lib/kubelet/memory_manager_state"

MAX_BYTES = 1 << 20
MAX_ENTRIES = 4096


def read(root: SysRoot) -> KubeletCheckpoints:
    """Both files, each without the entries that are not understood. `Unavailable` where neither is there."""
    cpu, memory = root.parse(CPU, parse_cpu, blank=True), root.parse(MEMORY, parse_memory, blank=True)
    if cpu is None and memory is None and not root.refusals and not root.malformed:
        raise Unavailable("absent", f"no {CPU}, no {MEMORY}")
    return KubeletCheckpoints(cpu=cpu, memory=memory)


def parse_cpu(text: str) -> CpuManager:
    """cpu_manager_state of any version."""
    record, faults = _checkpoint(text), list[str]()
    grants = [
        CpuGrant(pod, container, cpus)
        for pod, container, value in _entries(record, faults, by_id=True)
        if (cpus := _understood(_cpus_of_pod if container is None else _cpus, value, faults))
    ]
    policy = _understood(_text, _field(record, "policyName"), faults)
    shared = _understood(_cpus, _field(record, "defaultCpuSet"), faults)
    return _checked(CpuManager(policy=policy, shared_cpus=shared, grants=tuple(grants)), faults)


def parse_memory(text: str) -> MemoryManager:
    """memory_manager_state of any version. What each node has left (`machineState`) is not read: the kernel says it."""
    record, faults = _checkpoint(text), list[str]()
    grants = [
        MemoryGrant(pod, container, nodes)
        for pod, container, value in _entries(record, faults)
        if pod is not None and (nodes := _understood(_nodes_of_pod if container is None else _nodes, value, faults))
    ]
    policy = _understood(_text, _field(record, "policyName"), faults)
    return _checked(MemoryManager(policy=policy, grants=tuple(grants)), faults)


def _checkpoint(text: str) -> dict[str, object]:
    """The object in the file, or the one in its `data`."""
    record = _decoded(text)
    data = _field(record, "data")
    if data is None or data == "":
        return record
    if not isinstance(data, str):
        raise Malformed(f"data: expected text, got {_shown(data)}")
    return _decoded(data)


def _decoded(text: str) -> dict[str, object]:
    if len(text) > MAX_BYTES:
        raise Malformed(f"larger than {MAX_BYTES >> 20} MiB")
    try:
        return msgspec.json.decode(text, type=dict[str, object])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(f"expected a checkpoint's JSON, got {text[:40]!r} ({error})") from None


def _field(record: dict[str, object], name: str) -> object:
    """A field under any case; None where it is absent or null."""
    if name in record:
        return record[name]
    return next((value for key, value in record.items() if key.lower() == name.lower()), None)


def _entries(record: dict[str, object], faults: list[str], by_id: bool = False) -> Iterator[tuple[str | None, str | None, object]]:
    """Pod uid, container name and what is entered; without a uid the container's id, without a container the pod as a whole."""
    count = 0
    for owner, value in _items(_field(record, "entries"), "entries", faults):
        if by_id and isinstance(value, str):
            inner: list[tuple[str | None, str | None, object]] = [(None, owner, value)]
        else:
            inner = [(owner, container, entered) for container, entered in _items(value, owner, faults)]
        count += max(len(inner), 1)
        _require_few(count)
        yield from inner
    for owner, value in _items(_field(record, "podEntries"), "podEntries", faults):
        count += 1
        _require_few(count)
        yield owner, None, value


def _require_few(count: int) -> None:
    if count > MAX_ENTRIES:
        raise Malformed(f"more than {MAX_ENTRIES} entries")


def _items(value: object, name: str, faults: list[str]) -> list[tuple[str, object]]:
    if value is None:
        return []
    if not isinstance(value, dict):
        faults.append(f"{name[:80]!r}: expected an object, got {_shown(value)}")
        return []
    return [(printable(key), inner) for key, inner in value.items()]


def _understood(kind: Callable[[object], T], value: object, faults: list[str]) -> T | None:
    """`kind(value)`; None of null, and of what is noted because it is not one."""
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError as error:
        faults.append(str(error))
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected text, got {_shown(value)}")
    return printable(value[:80])


def _cpus(value: object) -> CpuSet:
    """ "0-1,4-15", as the kernel writes it, too."""
    return CpuSet.parse_list(_text_of(value))


def _text_of(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"expected a list of CPUs, got {_shown(value)}")
    return value


def _cpus_of_pod(value: object) -> CpuSet:
    return _cpus(_member(value, "cpuSet"))


def _nodes(value: object) -> CpuSet:
    """The nodes of all its ordinary memory; huge pages have blocks of their own. A part of them would be wrong."""
    if not isinstance(value, list):
        raise ValueError(f"expected blocks of memory, got {_shown(value)}")
    nodes = CpuSet()
    for block in value:
        if _text(_member(block, "type")) != "memory":
            continue
        affinity = _member(block, "numaAffinity")
        if not isinstance(affinity, list) or not affinity or not all(_is_node(node) for node in affinity):
            raise ValueError(f"expected numbers of nodes, got {_shown(affinity)}")
        nodes |= CpuSet(affinity)
    return nodes


def _nodes_of_pod(value: object) -> CpuSet:
    return _nodes(_member(value, "memoryBlocks"))


def _is_node(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MAX_ID


def _member(value: object, name: str) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"expected an object, got {_shown(value)}")
    return _field(value, name)


def _shown(value: object) -> str:
    return type(value).__name__ if isinstance(value, (dict, list)) else repr(value)[:60]


def _checked(value: T, faults: list[str]) -> T:
    """`value`, what the other entries came to: in a `Malformed` where some were left out."""
    if faults:
        raise Malformed(faults[0], rest=value, more=len(faults) - 1)
    return value
