"""Pools of explicit huge pages: /sys/kernel/mm/hugepages for the host, nodeN/hugepages for each node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst. A page size without a directory has no pool: absent, not 0.
"""

from __future__ import annotations

from agent.model.values import Fact
from collectors.sysroot import SysRoot, Unavailable
from collectors.text import integer

HOST = "sys/kernel/mm/hugepages"
NODE = "sys/devices/system/node"


class HugePagePool(Fact, frozen=True):
    """`total` and `free` are pages; `node` is None for the host's pool, which is the sum over its nodes."""

    page_bytes: int
    node: int | None = None
    total: int | None = None
    free: int | None = None


def read(root: SysRoot) -> tuple[HugePagePool, ...]:
    pools = _pools(root, HOST, None)
    for name in root.names(NODE):
        if name[:4] == "node" and name[4:].isdecimal() and len(name) < 10:
            pools += _pools(root, f"{NODE}/{name}/hugepages", int(name[4:]))
    if not pools:
        raise Unavailable("absent", HOST, "a kernel with CONFIG_HUGETLBFS")
    return tuple(sorted(pools, key=lambda pool: (-1 if pool.node is None else pool.node, pool.page_bytes)))


def _pools(root: SysRoot, directory: str, node: int | None) -> list[HugePagePool]:
    pools = []
    for name in root.names(directory):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        if size.isdecimal() and len(size) < 12:
            here = f"{directory}/{name}"
            total = root.parse(f"{here}/nr_hugepages", integer)
            pools.append(HugePagePool(int(size) << 10, node, total, root.parse(f"{here}/free_hugepages", integer)))
    return pools
