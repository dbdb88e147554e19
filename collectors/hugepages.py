"""Pools of explicit huge pages: /sys/kernel/mm/hugepages for the host, nodeN/hugepages for each node.

Source: Documentation/admin-guide/mm/hugetlbpage.rst. A page size without a directory has no pool: absent, not 0.
"""

from __future__ import annotations

import re

from agent.model.facts.hugepages import HugePagePool
from agent.model.values import Fact, is_number
from collectors.root import SysRoot, Unavailable
from collectors.text import unsigned

HOST = "sys/kernel/mm/hugepages"
NODE = "sys/devices/system/node"
_SIZE = re.compile(r"[1-9][0-9]{0,10}")

# A node's pool has the first three.
_FILES = {
    "total_pages": "nr_hugepages",
    "free_pages": "free_hugepages",
    "surplus_pages": "surplus_hugepages",
    "overcommit_pages": "nr_overcommit_hugepages",
    "reserved_pages": "resv_hugepages",
}
_NODE_COUNTS = ("total_pages", "free_pages", "surplus_pages")


class HugePagePools(Fact, frozen=True):
    """The host's pools, each the sum over its nodes, and those of each node; the smallest pages first."""

    host: tuple[HugePagePool, ...] = ()
    by_node: dict[int, tuple[HugePagePool, ...]] = {}


def read(root: SysRoot) -> HugePagePools:
    numbers = sorted(int(name[4:]) for name in root.names(NODE) if name[:4] == "node" and is_number(name[4:]))
    by_node = {number: pools for number in numbers if (pools := _pools(root, f"{NODE}/node{number}/hugepages", _NODE_COUNTS))}
    result = HugePagePools(_pools(root, HOST, tuple(_FILES)), by_node)
    if result == HugePagePools():
        raise Unavailable("absent", HOST, "a kernel with CONFIG_HUGETLBFS")
    return result


def _pools(root: SysRoot, directory: str, counted: tuple[str, ...]) -> tuple[HugePagePool, ...]:
    pools = []
    for name in root.names(directory):
        size = name.removeprefix("hugepages-").removesuffix("kB")
        if _SIZE.fullmatch(size):
            path = f"{directory}/{name}"
            counts = {field: root.parse(f"{path}/{_FILES[field]}", unsigned) for field in counted}
            pools.append(HugePagePool(page_bytes=int(size) << 10, **counts))
    return tuple(sorted(pools, key=lambda pool: pool.page_bytes))
