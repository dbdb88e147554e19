"""What virtual machines cost: the reader of domains beside the bare calls of libvirt for the same facts, and a scrape of many machines.

Machines are paused ones and some that run, under a libvirtd of the lab's own. Times are the least of several rounds, taken in turn.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.collect.caches import Caches
from agent.collect.sources import WORKLOADS
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from collectors import libvirt_domains
from collectors.libvirt_domains import DomainCache
from collectors.root import SysRoot
from tests.lab import boot, host

RUNNING = 10
COUNTS = (30, 40, 100)
ROUNDS = 11


def bare(connection: Any) -> None:
    """What never blocks, of each domain."""
    for domain in connection.listAllDomains(1):
        domain.info()
        domain.XMLDesc(0)
        domain.vcpus()
        domain.vcpuPinInfo(0)
        domain.emulatorPinInfo(0)


def least(*asks: Callable[[], object]) -> list[tuple[float, float]]:
    """Milliseconds of wall clock and of CPU of each, in turn."""
    found = [(float("inf"), float("inf"))] * len(asks)
    for _ in range(ROUNDS):
        for place, ask in enumerate(asks):
            began, used = time.perf_counter(), time.process_time()
            ask()
            wall, cpu = (time.perf_counter() - began) * 1e3, (time.process_time() - used) * 1e3
            found[place] = (min(found[place][0], wall), min(found[place][1], cpu))
    return found


def measure(daemon: host.Libvirt, connection: Any, count: int) -> float:
    config, root, caches, cache = Config(libvirt=(daemon.uri,), only=tuple(sorted(WORKLOADS))), SysRoot(), Caches(), DomainCache()
    calls, reader, scrape = least(
        lambda: bare(connection),
        lambda: libvirt_domains.ask(cache, daemon.uri),
        lambda: normalise(take(root, config, caches, 10.0, detail="metrics")),
    )
    print(
        f"{count} domains: bare calls {calls[0]:.1f} ms, reader {reader[0]:.1f} ms ({reader[0] / calls[0]:.2f} times),"
        f" a scrape of all workloads {scrape[0]:.1f} ms, {scrape[1]:.1f} ms of CPU"
    )
    return scrape[1]


def main(counts: tuple[int, ...] = COUNTS) -> None:
    import libvirt

    with host.libvirtd() as daemon, tempfile.TemporaryDirectory() as place:
        rom = boot.firmware(Path(place) / "idle")
        costs, started = [], 0
        for count in counts:
            for number in range(started, count):
                xml = boot.domain_xml(f"bench-{number}", rom, vcpus=2, memory_mib=32, pins={0: "0"})
                path = Path(place) / "domain.xml"
                path.write_text(xml)
                daemon.virsh("create", str(path), *([] if number < RUNNING else ["--paused"]))
            started = count
            connection = libvirt.openReadOnly(daemon.uri)
            costs.append(measure(daemon, connection, count))
            connection.close()
        if len(costs) > 1:
            print(f"{counts[-1]} domains cost {costs[-1] / costs[0]:.2f} times what {counts[0]} do")


if __name__ == "__main__":
    main()
