"""agent/normalise/plausible.py: what cannot be true of any host, through a whole pass."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.collect.host_facts import HostFacts
from agent.collect.sample import Sample
from agent.collect.workload_facts import WorkloadFacts
from agent.config import Config
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.facts.proc_task import Thread
from agent.model.host import Host
from agent.normalise.plausible import plausible
from agent.session import Session, take_host, take_sample, take_snapshot
from collectors.cgroup import Cgroups
from collectors.cgroup.group import Group
from collectors.cgroup.others import Stall
from collectors.proc_sys import Kernel
from collectors.proc_task import TaskGroup
from collectors.taskstats import Account
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from tests.unit.small_machines import NODE, node, regular
from tests.unit.tree import recorded

UPTIME = {"proc/uptime": "1000.00 4000.00\n"}


def look(path: Path, files: dict[str, str]) -> Host:
    return take_host(Session(root=recorded(path, regular(1, 4, 1) | files), config=Config(root=str(path))))


def gap(host: Host, source: str) -> str:
    return next(gap.detail for gap in host.gaps if gap.source == source and gap.reason == "failed")


@pytest.mark.parametrize(
    ("place", "mode"), [(0, "user_seconds"), (3, "idle_seconds"), (4, "iowait_seconds"), (7, "steal_seconds"), (8, "guest_seconds")]
)
def test_a_cpu_is_not_older_than_its_host(tmp_path: Path, place: int, mode: str) -> None:
    ticks = ["1000"] * 10
    ticks[place] = "10000000"
    host = look(tmp_path, UPTIME | {"proc/stat": f"cpu0 {' '.join(ticks)}\ncpu1 {' '.join(['99000'] * 10)}\n"})
    first, second = host.logical.cpu.times
    assert [name for name in first.__struct_fields__ if getattr(first, name) is None] == [mode]
    assert set(second.modes) == {990.0}
    assert gap(host, "proc_stat") == f"proc/stat: cpu0: {mode} of 100000.0 is more than the 1000 s since boot (/proc/uptime)"


def test_without_an_uptime_nobody_knows_how_old_is_too_old(tmp_path: Path) -> None:
    host = look(tmp_path, {"proc/stat": "cpu0 10000000 2 3 4\n"})
    assert host.logical.cpu.times[0].user_seconds == 100000.0
    assert "proc_stat" not in {gap.source for gap in host.gaps}


@pytest.mark.parametrize("kind", ["cpu", "memory", "io", "irq"])
def test_nobody_waited_for_longer_than_the_host_is_up(tmp_path: Path, kind: str) -> None:
    files = {f"proc/pressure/{name}": "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n" for name in ("cpu", "memory", "io", "irq")}
    files[f"proc/pressure/{kind}"] += "some avg10=0.00 avg60=0.00 avg300=0.00 total=5000000000\n"
    host = look(tmp_path, UPTIME | files)
    assert host.logical.pressure is not None
    assert {getattr(host.logical.pressure, name) for name in host.logical.pressure.__struct_fields__} == {host.logical.pressure.irq}
    assert f"proc/pressure/{kind}: some_usec of 5000000000 is more than the 1000 s" in gap(host, "proc_pressure")


def test_a_run_queue_is_not_older_than_its_host(tmp_path: Path) -> None:
    """Tasks together may wait for longer."""
    text = "version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 5000000000000 1 1\ncpu1 0 0 0 0 0 0 1 9000000000000 1\n"
    host = look(tmp_path, UPTIME | {"proc/schedstat": text})
    assert [queue.cpu for queue in host.logical.cpu.run_queues] == [1]
    assert "proc/schedstat: cpu0: run time of 5000000000000 ns" in gap(host, "proc_schedstat")


def test_what_stands_at_its_bound_stays_beside_what_is_above(tmp_path: Path) -> None:
    """1 % and ten seconds more than 1000 s are possible, of one CPU or resource whatever another one of them says."""
    most = {"ticks": 102_000, "usec": 1_020_000_000, "ns": 1_020_000_000_000}
    above = {unit: bound + 1 for unit, bound in most.items()}
    zone = "Node 0, zone {}\n  pages free {}\n        present 40\n        managed 39\n"
    files = {
        "proc/stat": "".join(f"cpu{cpu} {' '.join([str(times['ticks'])] * 10)}\n" for cpu, times in enumerate((above, most))),
        "proc/schedstat": f"version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 {above['ns']} 1 1\ncpu1 0 0 0 0 0 0 {most['ns']} 1 1\n",
        "proc/pressure/memory": f"some avg10=0.00 total={above['usec']}\nfull avg10=0.00 total={most['usec']}\n",
        "proc/pressure/io": f"some avg10=0.00 total={most['usec']}\nfull avg10=0.00 total={above['usec']}\n",
        "proc/meminfo": "MemTotal: 9 kB\nMemFree: 10 kB\nMemAvailable: 9 kB\nSwapTotal: 4 kB\nSwapFree: 4 kB\nSwapCached: 5 kB\n",
        "proc/zoneinfo": zone.format("DMA", 41) + zone.format("Normal", 40),
    }
    host = look(tmp_path, UPTIME | files)
    cpu, memory, pressure = host.logical.cpu, host.logical.memory, host.logical.pressure
    assert [{*time.modes} for time in cpu.times] == [{None}, {1020.0}]
    assert [(queue.cpu, queue.run_ns) for queue in cpu.run_queues] == [(1, most["ns"])]
    assert pressure is not None
    assert [(stall.some_usec, stall.full_usec) for stall in (pressure.memory, pressure.io) if stall] == [
        (None, most["usec"]),
        (most["usec"], None),
    ]
    assert {*memory.meminfo_bytes} == {"MemTotal", "MemAvailable", "SwapTotal", "SwapFree"}
    assert [(zone.free_pages, zone.managed_pages) for zone in memory.zones] == [(None, 39), (40, 39)]


@pytest.mark.parametrize(
    ("meminfo", "left", "words"),
    [
        ("MemTotal: 0 kB\nMemFree: 18446744073708785356 kB\nMemAvailable: 0 kB\n", {"MemAvailable": 0}, "MemTotal of 0"),
        (
            "MemTotal: 100 kB\nMemFree: 101 kB\nCached: 5 kB\n",
            {"MemTotal": 100 << 10, "Cached": 5 << 10},
            "MemFree of 103424 bytes is more than",
        ),
        ("MemTotal: 9 kB\nSwapTotal: 4 kB\nSwapFree: 5 kB\n", {"MemTotal": 9 << 10, "SwapTotal": 4 << 10}, "SwapFree of 5120 bytes"),
        ("MemTotal: 9 kB\nMemAvailable: 10 kB\n", {"MemTotal": 9 << 10}, "MemAvailable of 10240 bytes is more than MemTotal, 9216"),
    ],
)
def test_no_part_of_the_memory_is_more_than_all(tmp_path: Path, meminfo: str, left: dict[str, int], words: str) -> None:
    host = look(tmp_path, {"proc/meminfo": meminfo})
    assert host.logical.memory.meminfo_bytes == left
    assert host.physical.memory.total_bytes == left.get("MemTotal")
    assert any(words in gap.detail for gap in host.gaps if gap.source == "proc_vm")


def test_what_is_promised_may_be_more_than_all(tmp_path: Path) -> None:
    meminfo = "MemTotal: 100 kB\nMemFree: 100 kB\nCommitted_AS: 1000 kB\nVmallocTotal: 34359738367 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    host = look(tmp_path, {"proc/meminfo": meminfo})
    assert len(host.logical.memory.meminfo_bytes) == 6
    assert not [gap for gap in host.gaps if gap.reason == "failed"]


def test_a_node_has_no_more_free_than_it_has(tmp_path: Path) -> None:
    files = node(0, "0-3", 8) | {f"{NODE}/online": "0\n"}
    files[f"{NODE}/node0/meminfo"] += "Node 0 MemFree: 9 kB\n"
    host = look(tmp_path, files)
    assert [(node.memory_bytes, node.free_bytes) for node in host.physical.nodes] == [(8 << 10, None)]
    assert gap(host, "sys_node") == "node0/meminfo: free_bytes of 9216 is more than MemTotal, 8192"


def test_no_more_is_swapped_than_fits(tmp_path: Path) -> None:
    text = "Filename Type Size Used Priority\n/a partition 10 11 -2\n/b partition 10 10 -3\n"
    host = look(tmp_path, {"proc/swaps": text})
    assert [swap.name for swap in host.logical.memory.swaps or ()] == ["/b"]
    assert gap(host, "proc_swaps") == "proc/swaps: /a: 11264 bytes used of 10240"


def test_a_zone_has_no_more_free_than_is_present(tmp_path: Path) -> None:
    text = "Node 0, zone   Normal\n  pages free     50\n        present  40\n        managed  39\n"
    host = look(tmp_path, {"proc/meminfo": "MemTotal: 9 kB\n", "proc/zoneinfo": text})
    assert [(zone.free_pages, zone.managed_pages) for zone in host.logical.memory.zones] == [(None, 39)]
    assert "node 0, zone Normal: free_pages of 50 is more than the 40" in gap(host, "proc_vm")


HEAD = "           CPU0       CPU1\n"


@pytest.mark.parametrize(
    ("files", "source", "words"),
    [
        (
            {"proc/interrupts": f"{HEAD} 24: 1 2 PCI-MSI eth0\n 24: 3 4 PCI-MSI eth1\n 25: 5 6 PCI-MSI eth2\n"},
            "proc_interrupts",
            "2 lines of 24",
        ),
        ({"proc/interrupts": f"{HEAD}NMI: 1 2 Non-maskable\nNMI: 1 2 Non-maskable\n 25: 5 6 x\n"}, "proc_interrupts", "2 lines of NMI"),
        ({"proc/softirqs": f"{HEAD}NET_RX: 1 2\nNET_RX: 3 4\nTIMER: 5 6\n"}, "proc_softirqs", "proc/softirqs: 2 lines of NET_RX"),
        ({"proc/stat": "cpu0 1 2 3 4\ncpu1 1 2 3 4\ncpu1 2 2 3 4\n"}, "proc_stat", "proc/stat: 2 lines of 1"),
        (
            {"proc/schedstat": "version 15\n" + "cpu0 0 0 0 0 0 0 1 2 3\n" * 3 + "cpu1 0 0 0 0 0 0 1 2 3\n"},
            "proc_schedstat",
            "3 lines of 0",
        ),
        ({"proc/swaps": "Filename\n/a file 9 1 -2\n/a file 9 2 -3\n/b file 9 1 -4\n"}, "proc_swaps", "proc/swaps: 2 lines of /a"),
        (
            {
                "proc/meminfo": "MemTotal: 9 kB\n",
                "proc/zoneinfo": "Node 0, zone DMA\n  pages free 1\n" * 2 + "Node 0, zone Normal\n  pages free 1\n",
            },
            "proc_vm",
            "proc/zoneinfo: 2 lines of (0, 'DMA')",
        ),
    ],
)
def test_two_things_of_one_name_make_no_two_series(tmp_path: Path, files: dict[str, str], source: str, words: str) -> None:
    session = Session(root=recorded(tmp_path, regular(1, 2, 1) | files), config=Config(root=str(tmp_path)))
    document = take_snapshot(session)
    text = exposition(document, Run(), TextCache()).decode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if line[0] != "#"]
    assert len(set(series)) == len(series)
    assert words in next(gap.detail for gap in document.gaps if gap.source == source)
    # The one that stands alone stays.
    cpu, memory = document.logical.cpu, document.logical.memory
    others = (cpu.interrupts, cpu.softirqs, cpu.times, cpu.run_queues, memory.swaps or (), memory.zones)
    assert [len(kind) for kind in others if kind] == [1]


OF_A_GROUP = ("usage_usec", "user_usec", "system_usec", "throttled_usec", "own_throttled_usec", "burst_used_usec")


def sample(**changed: int | None) -> Sample:
    """A group, a thread and an account on a host of one CPU, up for a hundred seconds: what is not given stands at 5."""
    count = defaultdict(lambda: 5, changed)
    cpu = replace(WorkloadCpu(), **{name: count[name] for name in OF_A_GROUP})
    stalls = {"cpu": Stall(1, 1), "io": Stall(count["some_usec"], count["full_usec"])}
    groups = (Group(path="/a", cpu=cpu, pressure=stalls), Group(path="/b", cpu=WorkloadCpu(usage_usec=1)))
    tasks = (
        TaskGroup(pid=7, tasks=(Thread(tid=7, run_ns=1, delay_ns=1), Thread(tid=8, run_ns=count["run_ns"], delay_ns=count["delay_ns"]))),
    )
    accounts = (Account(7, 1, 1, count["account_ns"]),)
    facts = WorkloadFacts(cgroups=Cgroups(groups=groups, version="v2", controllers={}), tasks=tasks, accounts=accounts)
    return Sample(host=HostFacts(kernel=Kernel(uptime_seconds=100.0)), workloads=facts)


# The most that can be true of them.
AT_BOUND = dict.fromkeys((*OF_A_GROUP, "some_usec", "full_usec"), 111_000_000)
AT_BOUND |= dict.fromkeys(("run_ns", "delay_ns", "account_ns"), 111_000_000_000)


@pytest.mark.parametrize(
    ("changed", "source", "words"),
    [
        *(
            ({name: 10**9}, "cgroup", f"cpu.stat of /a: {name} of 1000000000 is more than the 100 s since boot (/proc/uptime) on all CPUs")
            for name in OF_A_GROUP
        ),
        ({"some_usec": 10**9}, "cgroup", "io.pressure of /a: some_usec"),
        ({"full_usec": 10**9}, "cgroup", "io.pressure of /a: full_usec"),
        ({"run_ns": 10**12}, "proc_task", "proc/7/task/8/schedstat: run_ns of 1000000000000"),
        ({"delay_ns": 10**12}, "proc_task", "proc/7/task/8/schedstat: delay_ns"),
        ({"account_ns": 10**12}, "taskstats", "process 7: run_ns of 1000000000000"),
    ],
)
def test_nothing_of_a_workload_is_older_than_the_host(changed: dict[str, int], source: str, words: str) -> None:
    """It costs that one counter."""
    sound = sample()
    assert plausible(sound) == (sound, ())
    assert plausible(sound)[0] is sound
    cut, gaps = plausible(sample(**changed))
    assert [gap.source for gap in gaps] == [source]
    assert words in gaps[0].detail
    assert cut == sample(**dict.fromkeys(changed))
    # Counters that were never there are no more than the host's age.
    bare = dict.fromkeys((*OF_A_GROUP, "some_usec", "full_usec", "run_ns", "delay_ns", "account_ns"))
    assert plausible(sample(**bare))[1] == ()
    assert plausible(sample(**bare | changed))[0] == sample(**bare)
    assert plausible(sample(**AT_BOUND | changed))[0] == sample(**AT_BOUND | dict.fromkeys(changed))


@pytest.mark.parametrize("uptime", ["1000.00 4000.00\n", ""])
def test_what_stands_at_its_bound_is_possible(tmp_path: Path, uptime: str) -> None:
    """1 % and ten seconds more than 1000 s; all of the memory free, all of the swap used. A sound sample is no new one."""
    ticks, usec, ns = 102_000, 1_020_000_000, 1_020_000_000_000
    stalls = f"some avg10=0.00 avg60=0.00 avg300=0.00 total={usec}\nfull avg10=0.00 avg60=0.00 avg300=0.00 total={usec}\n"
    zone = "Node 0, zone   Normal\n  pages free     40\n        present  40\n        managed  39\n"
    files = {
        "proc/uptime": uptime,
        "proc/stat": f"cpu0 {' '.join([str(ticks)] * 10)}\n",
        "proc/schedstat": f"version 15\ntimestamp 1\ncpu0 0 0 0 0 0 0 {ns} {9 * ns} 1\n",
        **{f"proc/pressure/{name}": stalls for name in ("cpu", "memory", "io", "irq")},
        "proc/meminfo": "MemTotal: 9 kB\nMemFree: 9 kB\nMemAvailable: 9 kB\nSwapTotal: 4 kB\nSwapFree: 4 kB\n",
        "proc/zoneinfo": zone,
        "proc/swaps": "Filename Type Size Used Priority\n/a partition 10 10 -2\n",
        f"{NODE}/online": "0\n",
        **{name: text + "Node 0 MemFree: 8 kB\n" * name.endswith("meminfo") for name, text in node(0, "0-3", 8).items()},
    }
    facts = take_sample(Session(root=recorded(tmp_path, regular(1, 1, 1) | files), config=Config(root=str(tmp_path))))
    for kind in ("stat", "schedstat", "pressures", "memory", "swaps", "nodes"):
        assert getattr(facts.host, kind)
    assert plausible(facts)[0] is facts
    most = sample(**AT_BOUND)
    assert plausible(most) == (most, ())
    assert plausible(most)[0] is most
