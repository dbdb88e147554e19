"""Containers on control groups v2, of Docker, Podman, containerd, systemd-run and nspawn: what the agent says of them, and who agrees.

One guest does what `containers/job` says: the agent looks, operators do what they do, it looks again. Each test is a few facts of that
minute, and prints them. What counts is read before and after the agent's look: it saw something between the two.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.guests.containers_table import HUGE, TABLES, Fact, Files, keyed, stall, word
from tests.lab import full, full_image, host

pytestmark = [pytest.mark.real, pytest.mark.timeout(2400)]

PARTS = Path(__file__).with_name("containers")
LIMIT_SECONDS = 1500  # three minutes are usual on two CPUs that are free
LOOKS = ("first", "second")
MIB = 1 << 20
PAGE_BYTES = 4096

Document = dict[str, Any]


@pytest.fixture(scope="module")
def out(result: full.Result) -> Path:
    return result.out


def plan(place: Path) -> full.Plan:
    """What the job works with."""
    image = place / "busybox.tar"
    image.write_bytes(host.busybox_image())
    files = {"site": full_image.site(place), "busybox.tar": image, "files.py": PARTS / "files.py"}
    return full.Plan(PARTS / "job", files, LIMIT_SECONDS)


def loaded(out: Path, name: str) -> Any:
    return json.loads((out / name).read_bytes())


def workloads(out: Path, look: str) -> dict[str, Document]:
    """By name; Podman's socket is not served, so its containers are known by the kernel alone."""
    names = {its["Id"]: its["Name"] for its in loaded(out, f"podman.{look}")}
    found = loaded(out, f"snapshot.{look}")["workloads"]
    return {names.get(one["id"], one["name"]): one for one in found}


def home(one: Document) -> str:
    """The group that has a workload's limits: Podman's is within its scope."""
    cgroup: str = one["cgroup"]
    return f"{cgroup}/container" if one["runtime"] == "podman" else cgroup


def metrics(out: Path, look: str) -> dict[tuple[str, str, str], float]:
    """Every series of a workload: family, workload, its other label."""
    found: dict[tuple[str, str, str], float] = {}
    for family in text_string_to_metric_families((out / f"metrics.{look}").read_text()):
        for sample in family.samples:
            if "workload" in sample.labels and not sample.name.endswith("_info"):
                workload, *others = sample.labels.values()
                assert (sample.name, workload, ",".join(others)) not in found, "a series that is doubled"
                found[sample.name, workload, ",".join(others)] = sample.value
    return found


# What goes up and down may have been elsewhere between two looks.
_GAUGES = ("current_bytes", "kernel_bytes", "anon_bytes", "file_bytes", "current", "threads")


def number(value: object) -> float | None:
    return None if value is None else float(value) if isinstance(value, bool | int | float) else math.inf if value == "max" else math.nan


def within(low: float | None, ours: float | None, high: float | None) -> bool:
    return low is not None and ours is not None and high is not None and low <= ours <= high


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "name", ["near", "inner", "burner", "pod", "next", "ctr1", "busy.service", "within.service", "nest", "hog", "eater"]
)
def test_every_limit_and_counter_is_the_kernel_s(out: Path, look: str, name: str) -> None:
    """No number is missing, none is left over, and each is what the file held, or something between what it held before and after."""
    here = workloads(out, look)
    if (name, look) in {("pod", "second"), ("hog", "second"), ("next", "first"), ("eater", "first")}:
        assert name not in here
        return
    one = here[name]
    before, after = (loaded(out, f"{when}.{look}")[home(one)] for when in ("before", "after"))
    equal = between = 0
    for part, table in TABLES.items():
        for field, fact in table.items():
            low, high, ours = fact(before), fact(after), number(one[part].get(field))
            if low == high:
                assert ours == low, (part, field)
                equal += 1
            elif field not in _GAUGES:
                assert within(low, ours, high), (part, field)
                between += 1
    for field, file in (("events", "memory.events"), ("own_events", "memory.events.local"), ("swap_events", "memory.swap.events")):
        for key, value in one["memory"][field].items():
            assert within(keyed(file, key)(before), value, keyed(file, key)(after)), (file, key)
            equal += 1
    for kind in ("some", "full"):
        low, high = (stall("io.pressure", kind)(files) for files in (before, after))
        assert within(low, one.get(f"io_pressure_{kind}_usec"), high)
        between += 1
    sizes = {re.sub(r"\D.*", "", name.split(".")[1]): name.split(".")[1] for name in before if re.fullmatch(r"hugetlb\.\w+\.max", name)}
    pages = {str(its["page_bytes"] >> (30 if its["page_bytes"] >= 1 << 30 else 20)): its for its in one.get("huge_pages", ())}
    assert pages.keys() == sizes.keys()
    for digits, its in pages.items():
        for field, of in HUGE.items():
            assert number(its.get(field)) == of(sizes[digits])(before), (sizes[digits], field)
            equal += 1
        nodes = dict(part.split("=") for part in before[f"hugetlb.{sizes[digits]}.numa_stat"].split()[1:])
        assert {f"N{node}": str(size) for node, size in its["by_node"].items()} == nodes
    # The kernel counts of a process what of its threads ended, too: none has run or waited less than its threads that live.
    cpu = one["cpu"]
    assert cpu["process_run_ns"] >= cpu["run_ns"]
    assert cpu["process_delay_ns"] >= cpu["delay_ns"]
    assert {key: len(nodes) for key, nodes in one["memory"]["by_node"].items()} == {
        line.split()[0]: 2 for line in before["memory.numa_stat"].splitlines()
    }
    assert str(one["placement"]["allowed_cpus"]) == after["cpuset.cpus.effective"].strip()
    assert str(one["placement"]["allowed_nodes"]) == after["cpuset.mems.effective"].strip()
    print(f"{name} ({one['runtime']}): {equal} numbers equal, {between} between before and after, of {home(one)}")
    assert equal + between > 50


def tightest(tree: dict[str, Files], path: str, limit: Fact) -> tuple[float, str | None]:
    """Of a group and all above it, by the files alone; and the lowest group whose it is."""
    found: tuple[float, str | None] = (math.inf, None)
    while path:
        own = limit(tree.get(path, {}))
        if own is not None and own < found[0]:
            found = (own, path)
        path = path.rpartition("/")[0]
    return found


@pytest.mark.parametrize("look", LOOKS)
def test_limits_are_the_tightest_of_all_around(out: Path, look: str) -> None:
    tree = loaded(out, f"after.{look}")

    def cpus(files: Files) -> float | None:
        quota, period = word("cpu.max")(files), word("cpu.max", 1)(files)
        return None if quota is None or period is None else quota / period

    for name, one in workloads(out, look).items():
        for what, limit, part, field in (
            ("CPUs", cpus, "cpu", "limit_cpus"),
            ("bytes", word("memory.max"), "memory", "limit_bytes"),
            ("tasks", word("pids.max"), "pids", "limit"),
        ):
            theirs, whose = tightest(tree, home(one), limit)
            ours = number(one[part][field]), one[part].get("limited_by")
            print(f"{name}: {ours[0]:g} {what} by {ours[1]} = {theirs:g} by {whose}")
            assert ours == (theirs, whose)
    slice_bound = {name: one for name, one in workloads(out, look).items() if one["cgroup"].startswith("/tight.slice/")}
    assert slice_bound.keys() == {"inner", "within.service"}
    for one in slice_bound.values():
        assert (one["cpu"]["limit_cpus"], one["memory"]["limit_bytes"], one["pids"]["limit"]) == (0.4, 96 * MIB, 40)
        assert one["cpu"]["quota_usec"] / one["cpu"]["period_usec"] >= 1
        assert one["memory"]["max_bytes"] >= 128 * MIB


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_limits_are_what_the_engine_was_asked_for(out: Path, look: str, engine: str) -> None:
    ours = {one["id"]: one for one in workloads(out, look).values() if one["runtime"] == engine}
    theirs = {its["Id"]: its for its in loaded(out, f"{engine}.{look}")}
    assert ours.keys() == theirs.keys()
    for id_, its in theirs.items():
        one, asked = ours[id_], its["HostConfig"]
        cpu, memory = one["cpu"], one["memory"]
        facts = {"pid": (one["pid"], its["State"]["Pid"])}
        if asked["NanoCpus"]:
            facts["CPUs"] = (cpu["quota_usec"] / cpu["period_usec"], asked["NanoCpus"] / 1e9)
        if asked["Memory"]:
            facts["memory"] = (memory["max_bytes"], asked["Memory"])
            facts["swap"] = (memory["swap_max_bytes"], asked["MemorySwap"] - asked["Memory"])
        if asked["MemoryReservation"]:
            facts["reservation"] = (memory["low_bytes"], asked["MemoryReservation"])
        if asked["CpusetCpus"]:
            facts["cpuset"] = (one["placement"]["allowed_cpus"], asked["CpusetCpus"])
        if asked["CpusetMems"]:
            facts["nodes"] = (one["placement"]["allowed_nodes"], asked["CpusetMems"])
        if asked["CpuShares"]:
            # The runtime's own conversion, of 2..262144 to 1..10000 (opencontainers/cgroups, ConvertCPUSharesToCgroupV2Value).
            facts["weight"] = (cpu["weight"], 1 + (asked["CpuShares"] - 2) * 9999 // 262142)
        if (asked["PidsLimit"] or 0) > 0:
            facts["tasks"] = (one["pids"]["max"], asked["PidsLimit"])
        if engine == "docker":
            facts["name"] = (one["name"], its["Name"].removeprefix("/"))
            facts["image"] = (one["image"], its["Config"]["Image"])
            facts["state"] = (one["state"], its["State"]["Status"])
        print(f"{engine} {its['Name']}: {', '.join(f'{what} {said}' for what, (said, _) in facts.items())}")
        for what, (said, wanted) in facts.items():
            assert said == wanted, (its["Name"], what)


def test_containers_of_ctr_systemd_run_and_nspawn(out: Path) -> None:
    found = workloads(out, "first")
    said = {
        name: (one["paradigm"], one["runtime"], one["cgroup"], one["cpu"]["limit_cpus"], one["memory"]["limit_bytes"] // MIB)
        for name, one in found.items()
        if one["runtime"] not in ("docker", "podman")
    }
    for name, facts in said.items():
        print(f"{name}: {facts}")
    assert said == {
        "ctr1": ("containerization", "containerd", "/lab/ctr1", 0.2, 48),
        "busy.service": ("process", "systemd", "/system.slice/busy.service", 0.25, 64),
        "within.service": ("process", "systemd", "/tight.slice/within.service", 0.4, 96),
        "nest": ("containerization", "nspawn", "/machine.slice/machine-nest.scope", 0.4, 80),
    }
    busy = found["busy.service"]
    assert (busy["cpu"]["weight"], busy["memory"]["low_bytes"], busy["memory"]["high_bytes"]) == (50, 16 * MIB, 48 * MIB)
    assert (busy["pids"]["max"], busy["placement"]["allowed_cpus"]) == (20, "3")


@pytest.mark.parametrize("look", LOOKS)
def test_memory_by_node_is_what_numastat_says(out: Path, look: str) -> None:
    """numastat adds up what the process maps: its own memory, which is charged to it, and the program's file, which is the engine's."""
    near = workloads(out, look)["near"]
    anon, pages = {0: 0, 1: 0}, {0: 0, 1: 0}
    for line in (out / f"numa_maps.{look}").read_text().splitlines():
        known = dict(re.findall(r"(\S+)=(\S+)", line))
        for node in pages:
            count = int(known.get(f"N{node}", 0))
            pages[node] += count
            # Of a mapping that is its own only in part, the rest is the file's: mapped= says so.
            anon[node] += 0 if "mapped" in known else count if "anon" in known else 0
    shared = sum(int(known) for known in re.findall(r"anon=(\d+) .*mapped=", (out / f"numa_maps.{look}").read_text()))
    total = re.findall(r"^Total +(\S+) +(\S+) ", (out / f"numastat.{look}").read_text(), re.MULTILINE)[-1]
    ours = {node: near["memory"]["by_node"]["anon"][str(node)] for node in pages}
    for node, theirs in enumerate(map(float, total)):
        print(
            f"near, node {node}: {ours[node]} bytes its own (memory.numa_stat), {theirs} MB mapped (numastat -p), "
            f"{anon[node]} of {pages[node]} pages its own (numa_maps)"
        )
        assert abs(theirs - pages[node] * PAGE_BYTES / MIB) <= 0.02
        assert 0 <= ours[node] // PAGE_BYTES - anon[node] <= shared
    assert ours[1] >= 48 * MIB
    assert ours[0] == 0


def test_memory_is_remote_when_its_cpus_are_moved(out: Path) -> None:
    """Its own memory is all on node 1. What its engine reads and writes to start it is page cache of the group, on whatever node."""
    for look, cpus, far in (("first", "2-3", "0"), ("second", "0-1", "1")):
        near = workloads(out, look)["near"]
        scraped = metrics(out, look)["strata_workload_memory_remote_ratio", near["id"], ""]
        placement, kinds = near["placement"], near["memory"]["by_node"]
        print(f"near: CPUs {placement['allowed_cpus']}, memory {placement['memory_by_node']}, remote {scraped}")
        assert (placement["allowed_cpus"], placement["allowed_nodes"]) == (cpus, "1")
        pages = {node: kinds["anon"][node] + kinds["file"][node] for node in ("0", "1")}
        assert placement["remote_memory_ratio"] == pages[far] / sum(pages.values()) == scraped
        assert kinds["anon"]["0"] == 0
        assert kinds["file"]["0"] < MIB
        assert kinds["anon"]["1"] >= 48 * MIB


def test_what_operators_do_is_in_the_next_scrape(out: Path) -> None:
    first, second = metrics(out, "first"), metrics(out, "second")
    then, now = workloads(out, "first"), workloads(out, "second")
    tree = loaded(out, "scraped.second")
    burner, hog, inner = now["burner"], now["eater"], now["inner"]

    def both(family: str, id_: str, label: str = "") -> tuple[float, float]:
        found = first[family, id_, label], second[family, id_, label]
        print(f"{family} of {id_[:12]} {label}: {found[0]:g}, then {found[1]:g}")
        return found

    print("docker update --cpus 0.25 --memory 96m")
    assert both("strata_workload_cpu_limit_cpus", burner["id"]) == (0.5, 0.25)
    assert both("strata_workload_memory_limit_bytes", burner["id"]) == (64 * MIB, 96 * MIB)

    print("throttling")
    before, after = both("strata_workload_cpu_throttled_periods_total", burner["id"])
    # Paused, it is throttled no more.
    assert before < after == keyed("cpu.stat", "nr_throttled")(tree[burner["cgroup"]])
    before, after = both("strata_workload_cpu_throttled_seconds_total", burner["id"])
    assert before < after

    print("an OOM kill")
    assert (out / "oom").read_text() == "137\n"
    before, after = both("strata_workload_memory_events_total", hog["id"], "oom_kill")
    assert (before, after) == (0, keyed("memory.events", "oom_kill")(tree[hog["cgroup"]]))
    assert after >= 1

    print("docker rename, restart and pause, ctr tasks pause")
    assert then["hog"]["id"] == hog["id"]
    assert then["hog"]["identity"] == hog["identity"]
    assert re.search(rf'strata_workload_info{{workload="{hog["id"]}",.*name="eater"', (out / "metrics.second").read_text())
    assert then["inner"]["id"] == inner["id"]
    assert then["inner"]["identity"] != inner["identity"]
    assert then["inner"]["started_seconds"] < inner["started_seconds"]
    assert (then["burner"]["group"]["frozen"], burner["group"]["frozen"], burner["state"]) == (False, True, "paused")
    assert (then["ctr1"]["group"]["frozen"], now["ctr1"]["group"]["frozen"]) == (False, True)

    print("podman rm, podman run")
    ids = [{workload for _, workload, _ in found} for found in (first, second)]
    assert (then["pod"]["id"] in ids[0], then["pod"]["id"] in ids[1]) == (True, False)
    assert (now["next"]["id"] in ids[0], now["next"]["id"] in ids[1]) == (False, True)
    assert then["pod"]["id"] not in (out / "metrics.second").read_text()
    assert ids[1] == {one["id"] for one in now.values()}


def test_only_the_label_that_was_asked_for_is_shown(out: Path) -> None:
    found = workloads(out, "first")
    assert {name: one["labels"] for name, one in found.items() if one.get("labels")} == {
        "burner": {"com.example.team": "red"},
        "ctr1": {"com.example.team": "blue"},
    }
    for name in ("metrics.first", "snapshot.first"):
        assert "hush" not in (out / name).read_text()
    ours = re.findall(r'^strata_workload_label_info{.*label="(.+)",value="(.+)"} 1$', (out / "metrics.first").read_text(), re.MULTILINE)
    assert sorted(ours) == [("com.example.team", "blue"), ("com.example.team", "red")]


def test_what_nobody_sees(out: Path) -> None:
    """Containerd's bundles are root's: of its container a group with limits is left, and nobody's neighbours are counted."""
    seen = loaded(out, "snapshot.nobody")
    gaps = {gap["source"]: gap["reason"] for gap in seen["gaps"]}
    print(f"nobody: {gaps}, the bundles' directory has mode {(out / 'mode').read_text().strip()}")
    assert (gaps["oci"], gaps["docker_engine"]) == ("denied", "denied")
    ids = {one["id"] for one in loaded(out, "snapshot.first")["workloads"]}
    assert {one["id"]: one["runtime"] for one in seen["workloads"] if one["id"] not in ids} == {"/lab/ctr1": "cgroup"}
    assert ids - {one["id"] for one in seen["workloads"]} == {"ctr1"}
    assert {one["placement"].get("sharing_workloads") for one in seen["workloads"]} == {None}


def test_the_agent_says_nothing_is_wrong(out: Path) -> None:
    """An engine that is emulated may be late; nothing else is said that is more than news."""
    said = (out / "served").read_text()
    assert "Traceback" not in said
    assert [line for line in said.splitlines() if not line.startswith("INFO ") and "docker_engine is late" not in line] == []
