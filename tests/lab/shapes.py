"""The machines that tiny guests are: each a set of QEMU arguments, and what is odd about it."""

from __future__ import annotations

from dataclasses import dataclass

# Emulated AMD has no topology extensions, so no threads within a core; with 57 address bits TCG only gets slower.
CPU = "max,la57=off,vendor=GenuineIntel"


@dataclass(frozen=True)
class Shape:
    name: str
    arguments: tuple[str, ...]
    append: str = ""  # to the kernel's command line
    machine: str = "q35"


def _node(number: int, cpus: str = "", mebibytes: int = 0, more: str = "") -> tuple[str, ...]:
    """One NUMA node, with memory of its own unless that is 0."""
    node = f"node,nodeid={number}" + "".join(f",cpus={span}" for span in cpus.split()) + more
    if not mebibytes:
        return ("-numa", node)
    return ("-object", f"memory-backend-ram,id=m{number},size={mebibytes}M", "-numa", f"{node},memdev=m{number}")


def _distances(table: tuple[tuple[int, ...], ...]) -> tuple[str, ...]:
    return tuple(
        word
        for source, row in enumerate(table)
        for target, value in enumerate(row)
        for word in ("-numa", f"dist,src={source},dst={target},val={value}")
    )


def _initiators(rows: tuple[tuple[int, int, int, int], ...]) -> tuple[str, ...]:
    """HMAT's locality: initiator, target, nanoseconds, MiB/s."""
    return tuple(
        word
        for initiator, target, latency, bandwidth in rows
        for kind in (f"data-type=access-latency,latency={latency}", f"data-type=access-bandwidth,bandwidth={bandwidth}M")
        for word in ("-numa", f"hmat-lb,initiator={initiator},target={target},hierarchy=memory,{kind}")
    )


# Two threads a core, two dies a socket, a node a die; it is farther from socket 0 to socket 1 than back.
DIES = Shape(
    "dies",
    (
        *("-smp", "16,sockets=2,dies=2,cores=2,threads=2", "-m", "1024"),
        *(word for number in range(4) for word in _node(number, f"{number * 4}-{number * 4 + 3}", 256)),
        *_distances(((10, 12, 21, 31), (12, 10, 21, 21), (22, 21, 10, 12), (31, 21, 12, 10))),
        *("-smbios", "type=1,manufacturer=Stratascope,product=Two Sockets,version=1"),
        *("-smbios", "type=2,manufacturer=Stratascope Boards,product=Four Dies"),
    ),
)

# Node 2 has memory only, slower and near to node 0; a cache of memory lies before node 0.
HMAT = Shape(
    "hmat",
    (
        *("-smp", "4,sockets=2,cores=2,threads=1", "-m", "768"),
        *_node(0, "0-1", 256),
        *_node(1, "2-3", 256),
        *_node(2, "", 256, ",initiator=0"),
        *_initiators(
            ((0, 0, 100, 102400), (0, 1, 200, 51200), (0, 2, 350, 20480), (1, 0, 200, 51200), (1, 1, 100, 102400), (1, 2, 400, 10240))
        ),
        *("-numa", "hmat-cache,node-id=0,size=10M,level=1,associativity=direct,policy=write-back,line=64"),
    ),
    machine="q35,hmat=on",
)

# Eight sockets and nodes; every other node has CPUs only.
MEMORYLESS = Shape(
    "memoryless",
    (
        *("-smp", "16,sockets=8,cores=2,threads=1", "-m", "1024"),
        *(word for number in range(8) for word in _node(number, f"{number * 2}-{number * 2 + 1}", 0 if number % 2 else 256)),
    ),
)

# Six of eight CPUs are plugged in and three are started: 2 without 3, its other thread.
OFFLINE = Shape("offline", ("-smp", "6,maxcpus=8,sockets=1,cores=4,threads=2", "-m", "512"), append="maxcpus=3")

UMA = Shape("uma", ("-smp", "2,sockets=1,cores=2,threads=1", "-m", "384"))

SHAPES = (DIES, HMAT, MEMORYLESS, OFFLINE, UMA)
