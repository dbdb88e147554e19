"""Latency and bandwidth between the CPUs of one memory node and the memory of another.

mbind(2) sets the node before the first touch, move_pages(2) without a list of nodes returns where the pages are. The binding is a
preference: a strict binding to a full node would invoke the OOM killer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import time

from agent.calibrate.bench import Bench, Findings, Skip, pinned
from agent.calibrate.chunks import NoTime, sampled, slope
from agent.calibrate.kernels import LINE_BYTES, LOADS, PAGE_BYTES, Chase
from agent.model.calibration import NodePair
from agent.model.values import CpuSet

_NUMBERS = {"x86_64": (237, 279), "aarch64": (235, 239)}
"""Numbers of mbind and move_pages: arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h."""
_MPOL_DEFAULT, _MPOL_PREFERRED = 0, 1
_STREAM_BYTES = 64 << 20
_LIBC = ctypes.CDLL(None, use_errno=True)


def pairs(bench: Bench, chase: Chase) -> Findings:
    """Latency and bandwidth for each pair of nodes. Raises Skip with one node, NoTime if no pair was measured in time."""
    nodes = {node.os_index: node for node in bench.physical.nodes}
    if len(nodes) < 2:
        raise Skip("one memory node: nothing is remote")
    if platform.machine() not in _NUMBERS:
        raise Skip(f"the numbers of mbind and move_pages are not known for {platform.machine()}")
    cpu_nodes = [(index, cpus) for index, node in nodes.items() if (cpus := (node.cpus or CpuSet()) & bench.allowed)]
    memory_nodes = [index for index, node in nodes.items() if node.memory_bytes]
    measured: list[NodePair] = []
    seconds_each = (bench.until - time.monotonic()) / max(1, len(cpu_nodes) * len(memory_nodes))
    try:
        for memory_node in memory_nodes:
            try:
                if not _lay(bench, chase, memory_node):
                    continue
            except NoTime:
                break
            for cpu_node, cpus in cpu_nodes:
                until = min(bench.until, time.monotonic() + seconds_each)
                with pinned(cpus):
                    try:
                        latency = slope(chase.follow, until).times(1 / LOADS)
                        stream = sampled(lambda: chase.stream(min(chase.room_bytes, _STREAM_BYTES)), until, 12)
                    except NoTime:
                        continue
                measured.append(NodePair(cpu_node, memory_node, latency.point, min(chase.room_bytes, _STREAM_BYTES) / stream.point))
    finally:
        _bind(chase, None)
        chase.fresh(chase.room_bytes, huge=False)
    if not measured and time.monotonic() >= bench.until:
        raise NoTime
    if not measured:
        raise Skip("no memory came to lie where it should: not allowed by the cpuset, or the nodes are full")
    return Findings(nodes=tuple(measured))


def _lay(bench: Bench, chase: Chase, node: int) -> bool:
    """Lays a chain over the whole room on `node`; False where its memory is not on that node."""
    chase.fresh(chase.room_bytes, huge=True)
    if not _bind(chase, node):
        return False
    chase.lay(chase.room_bytes // LINE_BYTES, bench.until)
    return _lies(chase, node)


def _bind(chase: Chase, node: int | None) -> bool:
    mask = (ctypes.c_ulong * 16)()
    if node is not None:
        if node >= 1024:
            return False
        mask[node // 64] = 1 << node % 64
    mode = _MPOL_DEFAULT if node is None else _MPOL_PREFERRED
    arguments = (ctypes.c_long(_NUMBERS[platform.machine()][0]), ctypes.c_void_p(chase.address), ctypes.c_ulong(chase.room_bytes))
    if node is None:
        return bool(_LIBC.syscall(*arguments, mode, None, ctypes.c_ulong(0), 0) == 0)
    return bool(_LIBC.syscall(*arguments, mode, mask, ctypes.c_ulong(1024), 0) == 0)


def _lies(chase: Chase, node: int) -> bool:
    """Whether a sample of 64 pages of the room is on `node`."""
    count = 64
    step = chase.room_bytes // count // PAGE_BYTES * PAGE_BYTES
    addresses = (ctypes.c_void_p * count)(*(chase.address + step * number for number in range(count)))
    status = (ctypes.c_int * count)()
    call = ctypes.c_long(_NUMBERS[platform.machine()][1])
    if _LIBC.syscall(call, os.getpid(), ctypes.c_ulong(count), addresses, None, status, 0) != 0:
        return False
    return all(where == node for where in status)
