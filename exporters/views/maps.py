"""The map from hardware threads to the kernel's CPU numbers, and the way back, in as few rows as possible."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct

from agent.model.physical import Physical
from agent.model.values import CpuSet


class MapRow(Struct, kw_only=True):
    """Threads of one ordinal on the cores of a package and node: `cpus[k]` is the thread of `cores[k]`.

    `cores` are the kernel's numbers, or (`numbered` false) positions in the package, where these numbers are not unique.
    """

    package: str
    nodes: CpuSet
    thread: int
    numbered: bool
    cores: list[int]
    cpus: list[int]


def physical_to_logical(physical: Physical) -> list[MapRow]:
    """A row for each package, set of near nodes and ordinal of thread."""
    rows: dict[object, MapRow] = {}
    near: dict[int, list[int]] = {}
    for node in physical.nodes:
        for cpu in node.cpus or ():
            near.setdefault(cpu, []).append(node.os_index)
    for position, package in enumerate(physical.packages):
        cores = [core for core in physical.cores if core.package == position]
        numbered = len({core.os_index for core in cores if core.os_index is not None}) == len(cores)
        for place, core in enumerate(cores):
            number = core.os_index if numbered and core.os_index is not None else place
            for thread, cpu in enumerate(core.cpus):
                nodes = CpuSet(near.get(cpu, ()))
                key = (position, nodes, thread)
                name = str(position if package.os_index is None else package.os_index)
                row = rows.setdefault(key, MapRow(package=name, nodes=nodes, thread=thread, numbered=numbered, cores=[], cpus=[]))
                row.cores.append(number)
                row.cpus.append(cpu)
    return list(rows.values())


def logical_to_physical(rows: list[MapRow], limit: int) -> list[MapRow]:
    """The rows by CPU number: split into runs of consecutive CPUs, unless these are more than `limit`."""
    runs = sorted((run for row in rows for run in _runs(row)), key=lambda row: row.cpus[0])
    return runs if len(runs) <= limit else sorted(rows, key=lambda row: row.cpus[0])


def _runs(row: MapRow) -> Iterator[MapRow]:
    start = 0
    for end in range(1, len(row.cpus) + 1):
        if end == len(row.cpus) or row.cpus[end] != row.cpus[end - 1] + 1:
            yield MapRow(
                package=row.package,
                nodes=row.nodes,
                thread=row.thread,
                numbered=row.numbered,
                cores=row.cores[start:end],
                cpus=row.cpus[start:end],
            )
            start = end
