"""Pools of explicit huge pages: /sys/kernel/mm/hugepages for the host, nodeN/hugepages for each node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst. A page size without a directory has no pool: absent, not 0.
"""

from __future__ import annotations

import re

from agent.model.values import Fact, is_number
from collectors.root import SysRoot, Unavailable
from collectors.text import integer

HOST = "sys/kernel/mm/hugepages"
NODE = "sys/devices/system/node"
_SIZE = re.compile(r"[1-9][0-9]{0,10}")

# A node's pool has the first three.
_FILES = {
    "total": "nr_hugepages",
    "free": "free_hugepages",
    "surplus": "surplus_hugepages",
    "overcommit": "nr_overcommit_hugepages",
    "reserved": "resv_hugepages",
}
_NODE_COUNTS = ("total", "free", "surplus")


class HugePagePool(Fact, frozen=True, kw_only=True):
    """Counts of pages; `node` is None for the host's pool, which is the sum over its nodes.

    `surplus` pages are in `total` and go back when they are freed; up to `overcommit` of them may come; `reserved` are promised
    and not handed out yet. The last two are of the host only.
    """

    page_bytes: int
    node: int | None = None
    total: int | None = None
    free: int | None = None
    surplus: int | None = None
    overcommit: int | None = None
    reserved: int | None = None


def read(root: SysRoot) -> tuple[HugePagePool, ...]:
    pools = _pools(root, HOST, None)
    for name in root.names(NODE):
        if name[:4] == "node" and is_number(name[4:]):
            pools += _pools(root, f"{NODE}/{name}/hugepages", int(name[4:]))
    if not pools:
        raise Unavailable("absent", HOST, "a kernel with CONFIG_HUGETLBFS")
    return tuple(sorted(pools, key=lambda pool: (-1 if pool.node is None else pool.node, pool.page_bytes)))


def _pools(root: SysRoot, directory: str, node: int | None) -> list[HugePagePool]:
    pools = []
    for name in root.names(directory):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        if _SIZE.fullmatch(size):
            here = f"{directory}/{name}"
            names = _FILES if node is None else _NODE_COUNTS
            counts = {name: root.parse(f"{here}/{_FILES[name]}", integer) for name in names}
            pools.append(HugePagePool(page_bytes=int(size) << 10, node=node, **counts))
    return pools
