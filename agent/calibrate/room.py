"""How much memory a run may touch: at most 1 GiB, a tenth of what is available, and half of the room in the agent's own control groups."""

from __future__ import annotations

from collectors import proc_vm
from collectors.root import SysRoot

_MOST_BYTES = 1 << 30
FEWEST_BYTES = 16 << 20


def room_bytes(root: SysRoot) -> int:
    """Bytes that a run may touch, a power of two; 0 if that is less than 16 MiB or not known."""
    available = proc_vm.parse_meminfo(root.text("proc/meminfo") or "").get("MemAvailable")
    if available is None:
        return 0
    bounds = [_MOST_BYTES, available // 10, *(headroom // 2 for headroom in _headrooms(root))]
    room = 1 << max(0, min(bounds)).bit_length() >> 1
    return room if room >= FEWEST_BYTES else 0


def _headrooms(root: SysRoot) -> list[int]:
    """Bytes left below the limits of the agent's group and its ancestors: memory.max and memory.current, on v1 memory.*_in_bytes."""
    headrooms = []
    for line in (root.text("proc/self/cgroup") or "").splitlines():
        if line.count(":") < 2:
            continue
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mount = "sys/fs/cgroup/memory" if controllers else "sys/fs/cgroup"
        limit, usage = ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
        while True:
            bound, used = (root.text(f"{mount}{path}/{name}") for name in (limit, usage))
            if bound is not None and used is not None and bound.strip().isdecimal() and used.strip().isdecimal():
                headrooms.append(max(0, int(bound) - int(used)))
            if path in ("", "/"):
                break
            path = path.rpartition("/")[0]
    return headrooms
