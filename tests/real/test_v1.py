"""Containers of Docker, Podman and containerd on control groups v1: each number of the document is its file's, in the document's unit.

What counts is read before and after the agent looks. Between two looks operators do to Docker's what they do; the second one, and the
scrape before it, show it.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from agent.config import Config
from agent.service import Service
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.views.json import render
from tests.lab import engines, host
from tests.lab.crowd import TOP as TOP_V1
from tests.need import lack, need

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]

CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "freezer")
MIB, PAGE_BYTES = 1 << 20, 4096
# A v1 limit that was never set is as large as a counter of pages can be.
UNSET = 1 << 62

Document = dict[str, Any]
Files = dict[str, str]
Fact = Callable[[Files], float | None]


def files(group: str) -> Files:
    """Every file of a group in the hierarchies of v1. Some are there to be written only."""
    found: Files = {}
    for controller in CONTROLLERS:
        for path in (TOP_V1 / controller / group.strip("/")).iterdir():
            with suppress(OSError):
                found[f"{controller}/{path.name}"] = path.read_text()
    return found


def word(file: str, scale: int = 1) -> Fact:
    """A number in `scale` of the document's; v1 writes "no limit" in three ways."""

    def fact(found: Files) -> float | None:
        text = found.get(file, "").strip()
        if not text:
            return None
        return math.inf if text == "max" or int(text) < 0 or int(text) >= UNSET else int(text) // scale

    return fact


def keyed(file: str, key: str, scale: int = 1) -> Fact:
    def fact(found: Files) -> float | None:
        lines = dict(line.split(" ", 1) for line in found.get(file, "").splitlines())
        return int(lines[key]) // scale if key in lines else None

    return fact


def swap(what: str) -> Fact:
    """v1 counts memory and swap together."""

    def fact(found: Files) -> float | None:
        both, memory = word(f"memory/memory.memsw.{what}")(found), word(f"memory/memory.{what}")(found)
        return None if both is None or memory is None else math.inf if both == math.inf else max(0.0, both - memory)

    return fact


def refaults(found: Files) -> float | None:
    parts = [keyed("memory/memory.stat", f"total_workingset_refault_{kind}")(found) for kind in ("anon", "file")]
    return None if None in parts else sum(part for part in parts if part is not None)


def frozen(found: Files) -> float:
    return found["freezer/freezer.state"].strip() == "FROZEN"


TABLES: dict[str, dict[str, Fact]] = {
    "cpu": {
        "quota_usec": word("cpu/cpu.cfs_quota_us"),
        "period_usec": word("cpu/cpu.cfs_period_us"),
        "burst_usec": word("cpu/cpu.cfs_burst_us"),
        "shares": word("cpu/cpu.shares"),
        "idle": word("cpu/cpu.idle"),
        "rt_runtime_usec": word("cpu/cpu.rt_runtime_us"),
        "rt_period_usec": word("cpu/cpu.rt_period_us"),
        "periods": keyed("cpu/cpu.stat", "nr_periods"),
        "throttled_periods": keyed("cpu/cpu.stat", "nr_throttled"),
        "bursts": keyed("cpu/cpu.stat", "nr_bursts"),
        # Nanoseconds on v1.
        "usage_usec": word("cpuacct/cpuacct.usage", 1000),
        "user_usec": word("cpuacct/cpuacct.usage_user", 1000),
        "system_usec": word("cpuacct/cpuacct.usage_sys", 1000),
        "throttled_usec": keyed("cpu/cpu.stat", "throttled_time", 1000),
        "own_throttled_usec": keyed("cpu/cpu.stat.local", "throttled_time", 1000),
        "burst_used_usec": keyed("cpu/cpu.stat", "burst_time", 1000),
    },
    "memory": {
        "max_bytes": word("memory/memory.limit_in_bytes"),
        "soft_limit_bytes": word("memory/memory.soft_limit_in_bytes"),
        "swap_max_bytes": swap("limit_in_bytes"),
        "swap_bytes": swap("usage_in_bytes"),
        "swappiness": word("memory/memory.swappiness"),
        "oom_kill_disable": keyed("memory/memory.oom_control", "oom_kill_disable"),
        "under_oom": keyed("memory/memory.oom_control", "under_oom"),
        "current_bytes": word("memory/memory.usage_in_bytes"),
        "peak_bytes": word("memory/memory.max_usage_in_bytes"),
        "kernel_bytes": word("memory/memory.kmem.usage_in_bytes"),
        "anon_bytes": keyed("memory/memory.stat", "total_rss"),
        "file_bytes": keyed("memory/memory.stat", "total_cache"),
        "page_faults": keyed("memory/memory.stat", "total_pgfault"),
        "major_faults": keyed("memory/memory.stat", "total_pgmajfault"),
        "refaults": refaults,
    },
    "pids": {
        "current": word("pids/pids.current"),
        "max": word("pids/pids.max"),
        "max_events": keyed("pids/pids.events", "max"),
    },
    "group": {
        "frozen": frozen,
        "freeze": word("freezer/freezer.self_freezing"),
        "threads": lambda found: len(found["freezer/tasks"].split()),
    },
}
# What goes up and down may have been elsewhere between two reads.
_GAUGES = ("current_bytes", "kernel_bytes", "anon_bytes", "file_bytes", "swap_bytes", "current", "threads")


class Looks:
    """What the agent said, twice, with what the files held before and after."""

    def __init__(self, config: Config, engine: host.Docker) -> None:
        self.config, self.engine, self.root = config, engine, SysRoot()
        self.service = Service(self.root, config)
        self.metrics: list[str] = []
        self.documents: list[dict[str, Document]] = []
        self.files: list[tuple[dict[str, Files], dict[str, Files]]] = []
        self.inspected: list[dict[str, Document]] = []

    def look(self, ids: dict[str, str]) -> None:
        """`ids` and their groups."""
        self.metrics.append(self.service.metrics(False, 5.0).decode())
        before = {id_: files(group) for id_, group in ids.items()}
        found = json.loads(render(take_snapshot(Session(root=self.root, config=self.config))))["workloads"]
        after = {id_: files(group) for id_, group in ids.items()}
        self.documents.append({one["id"]: one for one in found})
        self.files.append((before, after))
        self.inspected.append({id_: self.engine.inspect(id_) for id_ in ids if self.documents[-1][id_]["runtime"] == "docker"})


@pytest.fixture(scope="module")
def looks(docker: host.Docker, podman: engines.Podman, containerd: engines.Containerd) -> Iterator[tuple[Looks, dict[str, str]]]:
    """The two looks, and the containers' ids by name."""
    need(cpus=2)
    if not (TOP_V1 / "memory").is_dir():
        lack("control groups v1", "a host with the v1 hierarchies; guests have v2")
    tight, bare = "/docker/tight/docker", "c0de" * 16
    around = [(TOP_V1 / controller / tight.strip("/")) for controller in CONTROLLERS]
    for place in around:
        place.mkdir(parents=True)
    for controller, name, value in (
        ("cpu", "cpu.cfs_quota_us", 40000),
        ("memory", "memory.limit_in_bytes", 96 * MIB),
        ("pids", "pids.max", 40),
    ):
        (TOP_V1 / controller / "docker/tight" / name).write_text(str(value))
    # A v1 cpuset begins empty, and takes no process then.
    for place in (TOP_V1 / "cpuset" / name for name in ("docker", "docker/tight", "docker/tight/docker")):
        for name in ("cpuset.cpus", "cpuset.mems"):
            (place / name).write_text((place.parent / name).read_text())
    ids: dict[str, str] = {}
    try:
        burner = ("--cpus", "0.5", "--cpuset-cpus", "0", "--memory", "64m", "--memory-reservation", "32m", "--cpu-shares", "512")
        spin = ("sh", "-c", "while :; do :; done")
        ids["burner"] = docker.run("--name", "burner", *burner, "--pids-limit", "100", command=spin)
        # A quota above its parent's is refused on v1, a limit of memory is not.
        ids["inner"] = docker.run("--name", "inner", "--cgroup-parent", tight, "--memory", "128m")
        ids["hog"] = docker.run("--name", "hog", "--memory", "32m", "--memory-swap", "32m")
        ids["pod"] = podman.run("--name", "pod", "--cpus", "0.3", "--cpuset-cpus", "1", "--memory", "96m", "--pids-limit", "50")
        limits = ("--cpu-quota", "25000", "--cpu-period", "50000", "--memory-limit", str(64 * MIB))
        containerd.run(bare, "--cgroup", f"/lab/cri-containerd-{bare}.scope", *limits)
        ids["bare"] = bare
        groups = {ids[name]: f"/docker/{ids[name]}" for name in ("burner", "hog")} | {ids["inner"]: f"{tight}/{ids['inner']}"}
        groups |= {ids["pod"]: podman.inspect(ids["pod"])["State"]["CgroupPath"], bare: f"/lab/cri-containerd-{bare}.scope"}
        found = Looks(Config(docker=(docker.host, podman.url), interval_seconds=0), docker)
        time.sleep(1)
        found.look(groups)
        docker.cli("update", "--cpus", "0.25", "--memory", "96m", "--memory-swap", "96m", "burner")
        with suppress(subprocess.SubprocessError):
            docker.exec("hog", "dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1")
        docker.cli("rename", "hog", "eater")
        docker.cli("restart", "--time", "0", "inner")
        podman.remove(ids["pod"])
        # Not the burner: who is out of quota does not get as far as to be frozen, and the runtime gives up.
        docker.cli("pause", "eater")
        del groups[ids["pod"]]
        time.sleep(1.1)
        found.look(groups)
        docker.cli("unpause", "eater")
        yield found, ids
    finally:
        for name in ("burner", "inner", "eater", "hog"):
            with suppress(subprocess.SubprocessError):
                docker.remove(name)
        with suppress(subprocess.SubprocessError):
            containerd.remove(bare)
        for place in around:
            with suppress(OSError):
                place.rmdir()
                place.parent.rmdir()


def number(value: object) -> float | None:
    return None if value is None else float(value) if isinstance(value, bool | int | float) else math.inf if value == "max" else math.nan


@pytest.mark.parametrize("look", [0, 1], ids=["first", "second"])
@pytest.mark.parametrize("name", ["burner", "inner", "hog", "pod", "bare"])
def test_every_limit_and_counter_is_the_files(looks: tuple[Looks, dict[str, str]], name: str, look: int) -> None:
    found, ids = looks
    if (name, look) == ("pod", 1):
        assert ids["pod"] not in found.documents[1]
        return
    one = found.documents[look][ids[name]]
    before, after = (each[ids[name]] for each in found.files[look])
    equal = between = 0
    for part, table in TABLES.items():
        for field, fact in table.items():
            low, high, ours = fact(before), fact(after), number(one[part].get(field))
            if low == high:
                assert ours == low, (part, field)
                equal += 1
            elif field not in _GAUGES:
                assert low is not None, (part, field)
                assert high is not None, (part, field)
                assert ours is not None, (part, field)
                assert low <= ours <= high, (part, field)
                between += 1
    assert one["memory"]["events"].keys() == {"max", "oom_kill"}
    for key, event in (("max", word("memory/memory.failcnt")), ("oom_kill", keyed("memory/memory.oom_control", "oom_kill"))):
        assert event(before) == one["memory"]["events"][key] == event(after)
    # Pages on v1: bytes in the document, of the group with its descendants.
    lines = [line.split() for line in after["memory/memory.numa_stat"].splitlines() if line.startswith("hierarchical_")]
    kinds = {kind.partition("=")[0].removeprefix("hierarchical_"): [part.split("=") for part in parts] for kind, *parts in lines}
    pages = {kind: {node[1:]: int(count) * PAGE_BYTES for node, count in nodes} for kind, nodes in kinds.items()}
    assert one["memory"]["by_node"].keys() == pages.keys()
    if before["memory/memory.numa_stat"] == after["memory/memory.numa_stat"]:
        assert one["memory"]["by_node"] == pages
        assert one["placement"]["memory_by_node"] == pages["total"]
    assert one["placement"]["allowed_cpus"] == after["cpuset/cpuset.effective_cpus"].strip()
    assert one["placement"]["allowed_nodes"] == after["cpuset/cpuset.effective_mems"].strip()
    print(f"{name} ({one['runtime']}): {equal} numbers equal, {between} between before and after, of {one['cgroup']}")
    assert equal + between > 35


def test_limits_are_what_docker_was_asked_for(looks: tuple[Looks, dict[str, str]]) -> None:
    found, _ = looks
    for documents, inspected in zip(found.documents, found.inspected, strict=True):
        for id_, its in inspected.items():
            one, asked = documents[id_], its["HostConfig"]
            cpu, memory = one["cpu"], one["memory"]
            assert (one["name"], one["image"], one["state"], one["pid"]) == (
                its["Name"].removeprefix("/"),
                its["Config"]["Image"],
                its["State"]["Status"],
                its["State"]["Pid"],
            )
            facts = [(cpu["quota_usec"] / cpu["period_usec"], asked["NanoCpus"] / 1e9)] if asked["NanoCpus"] else []
            facts += [(memory["max_bytes"], asked["Memory"])] if asked["Memory"] else []
            facts += [(memory["swap_max_bytes"], asked["MemorySwap"] - asked["Memory"])] if asked["Memory"] else []
            facts += [(memory["soft_limit_bytes"], asked["MemoryReservation"])] if asked["MemoryReservation"] else []
            facts += [(one["placement"]["allowed_cpus"], asked["CpusetCpus"])] if asked["CpusetCpus"] else []
            facts += [(cpu["shares"], asked["CpuShares"] or 1024)]
            facts += [(one["pids"]["max"], asked["PidsLimit"])] if (asked["PidsLimit"] or 0) > 0 else []
            for said, wanted in facts:
                assert said == wanted, its["Name"]


def test_limits_are_the_tightest_of_all_around(looks: tuple[Looks, dict[str, str]]) -> None:
    found, ids = looks
    for documents in found.documents:
        inner = documents[ids["inner"]]
        assert (inner["cpu"]["limit_cpus"], inner["memory"]["limit_bytes"], inner["pids"]["limit"]) == (0.4, 96 * MIB, 40)
        assert {inner[part]["limited_by"] for part in ("cpu", "memory", "pids")} == {"/docker/tight"}
        assert (inner["cpu"]["quota_usec"], inner["memory"]["max_bytes"], inner["pids"]["max"]) == ("max", 128 * MIB, "max")
    # The kernel's own word for it.
    _, after = found.files[1]
    assert keyed("memory/memory.stat", "hierarchical_memory_limit")(after[ids["inner"]]) == 96 * MIB


def test_what_operators_do_is_in_the_next_scrape(looks: tuple[Looks, dict[str, str]]) -> None:
    found, ids = looks
    (then, now), (_, files_now) = found.documents, found.files[1]

    def both(family: str, name: str, label: str = "") -> tuple[float, float]:
        series = re.escape(f'{family}{{workload="{ids[name]}"{label}}} ')
        values = [float(re.findall(rf"^{series}(\S+)$", text, re.MULTILINE)[0]) for text in found.metrics]
        print(f"{family} of {name} {label}: {values[0]:g}, then {values[1]:g}")
        return values[0], values[1]

    assert both("strata_workload_cpu_limit_cpus", "burner") == (0.5, 0.25)
    assert both("strata_workload_memory_limit_bytes", "burner") == (64 * MIB, 96 * MIB)
    before, after = both("strata_workload_cpu_throttled_periods_total", "burner")
    assert before < after <= (keyed("cpu/cpu.stat", "nr_throttled")(files_now[ids["burner"]]) or 0)
    before, after = both("strata_workload_cpu_throttled_seconds_total", "burner")
    assert before < after
    before, after = both("strata_workload_memory_events_total", "hog", ',event="oom_kill"')
    assert (before, after) == (0, keyed("memory/memory.oom_control", "oom_kill")(files_now[ids["hog"]]))
    assert after >= 1
    assert (then[ids["hog"]]["name"], now[ids["hog"]]["name"]) == ("hog", "eater")
    assert f'strata_workload_info{{workload="{ids["hog"]}",paradigm="containerization",runtime="docker",name="eater"' in found.metrics[1]
    assert then[ids["inner"]]["identity"] != now[ids["inner"]]["identity"]
    assert then[ids["inner"]]["started_seconds"] < now[ids["inner"]]["started_seconds"]
    eater = now[ids["hog"]]
    assert (then[ids["hog"]]["group"]["frozen"], eater["group"]["frozen"], eater["state"]) == (False, True, "paused")
    assert (ids["pod"] in found.metrics[0], ids["pod"] in found.metrics[1]) == (True, False)
    # runc's threads, which ended when it became the container's first process, are that one's, too.
    cpu = eater["cpu"]
    assert cpu["process_run_ns"] > cpu["run_ns"]
    assert cpu["process_delay_ns"] > cpu["delay_ns"]
    before, after = both("strata_workload_run_delay_seconds_total", "hog")
    assert before <= after == cpu["process_delay_ns"] / 1e9
