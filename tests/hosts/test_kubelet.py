"""agent/normalise/kubelet.py: what the kubelet gave to pods beside what they have, on trees of nodes of Kubernetes."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.finding import Finding
from agent.normalise import normalise
from tests.unit.test_workloads import CG, HOST, UUID, group, thread
from tests.unit.tree import recorded

REDIS, NATS, PAUSE, BUILD = "4a" * 32, "5b" * 32, "6c" * 32, "7d" * 32
CACHE, QUEUE = "b7e0c1aa-2f43-4d6b-8a55-90c3f1d2e4b6", "1f9d3a70-5c1e-4e0b-b6a2-7d84c0e9f315"
TASKS = "run/containerd/io.containerd.runtime.v2.task/k8s.io"
KUBELET = "var/lib/kubelet"


def scope(pod: str, id_: str, qos: str = "") -> str:
    above = f"/kubepods.slice/kubepods-{qos}.slice/kubepods-{qos}-pod" if qos else "/kubepods.slice/kubepods-pod"
    return f"{above}{pod.replace('-', '_')}.slice/cri-containerd-{id_}.scope"


def container(path: str, pids: str, cpus: str, name: str | None, *, mems: str = "0-1", memory: tuple[int, int] = (64, 0)) -> dict[str, str]:
    """A container of containerd's CRI; `memory` in MiB by node."""
    id_ = path.rpartition("-")[2].removesuffix(".scope")
    annotations = {} if name is None else {"io.kubernetes.cri.container-name": name}
    files = {
        "cgroup.procs": pids,
        "cpuset.cpus.effective": cpus,
        "cpuset.mems.effective": mems,
        "memory.numa_stat": f"anon N0={memory[0] << 20} N1={memory[1] << 20}\nfile N0=0 N1=0",
    }
    return group(path, "cpuset cpu memory", **files) | {f"{TASKS}/{id_}/config.json": json.dumps({"annotations": annotations})}


def cpu_state(**fields: object) -> dict[str, str]:
    return {f"{KUBELET}/cpu_manager_state": json.dumps({"policyName": "static", "defaultCpuSet": "0-1", "checksum": 9, **fields})}


BY_NAME: dict[str, object] = {"entries": {CACHE: {"redis": "2-3"}}}
VERSIONS: dict[str, dict[str, object]] = {
    "by container id": {"entries": {REDIS: "2-3"}},
    "by pod and container": BY_NAME,
    "by pod": {"podEntries": {CACHE: {"cpuSet": "2-3"}}, "entries": {}},
    "as text": {"data": json.dumps({"policyName": "static", "defaultCPUSet": "0-1", **BY_NAME}), "entries": {CACHE: {"redis": "0"}}},
}
EVERY_VERSION = pytest.mark.parametrize("fields", VERSIONS.values(), ids=VERSIONS)

# A node as the kubelet arranges it: redis has CPUs of its own, nats those of everybody; the pods' own processes (pause) may run anywhere.
RIGHT = (
    container(scope(CACHE, REDIS), "10", "2-3", "redis")
    | thread(10, 10, "redis-server", "2-3")
    | thread(10, 11, "bio_aof", "3")
    | container(scope(CACHE, PAUSE), "12", "0-3", None)
    | thread(12, 12, "pause", "0-3")
    | container(scope(QUEUE, NATS, "burstable"), "13", "0-1", "nats")
    | thread(13, 13, "nats-server", "0-1")
)
FLOATING = group(f"/system.slice/docker-{BUILD}.scope", "cpu memory", **{"cgroup.procs": "20"}) | thread(20, 20, "make", "0-3")
SERVICE = group("/system.slice/kubelet.service", "cpu", **{"cpu.max": "50000 100000", "cgroup.procs": "21"}) | thread(21, 21, "kubelet")


def findings_of(root: Path, *trees: dict[str, str]) -> dict[tuple[str, str | None], Finding]:
    """The findings that the kubelet's files make, by kind and name of the workload."""
    files = dict(HOST)
    for tree in trees:
        files |= tree
    host = normalise(take(recorded(root, files), Config(root=str(root)), Caches()))
    assert not [gap for gap in host.gaps if gap.source == "kubelet_checkpoints" and gap.reason != "absent"]
    names = {workload.id: workload.name for workload in host.workloads}
    kinds = ("exclusive_cpus_missing", "exclusive_cpus_shared", "numa_affinity_missed")
    return {(finding.id, names[finding.workload or ""]): finding for finding in host.findings if finding.id in kinds}


@EVERY_VERSION
def test_a_node_that_is_as_the_kubelet_says_is_silent(tmp_path: Path, fields: dict[str, object]) -> None:
    assert findings_of(tmp_path, RIGHT, FLOATING, SERVICE, cpu_state(**fields)) == {}


@EVERY_VERSION
def test_a_thread_of_a_pinned_pod_that_was_moved_away(tmp_path: Path, fields: dict[str, object]) -> None:
    (finding,) = findings_of(tmp_path, RIGHT, thread(10, 11, "bio_aof", "0"), cpu_state(**fields)).values()
    assert (finding.id, finding.severity, finding.workload) == ("exclusive_cpus_missing", "warning", REDIS)
    assert finding.text.startswith("the kubelet gave it CPUs 2-3, and 1 thread of it may run on others")
    assert "thread 11 (bio_aof) on 0" in finding.evidence
    assert finding.remedy == "taskset -pc 2-3 11"


def test_a_container_whose_group_has_other_cpus(tmp_path: Path) -> None:
    moved = container(scope(CACHE, REDIS), "10", "0-1", "redis") | thread(10, 10, "redis-server", "0-1") | thread(10, 11, "bio_aof", "0-1")
    (finding,) = findings_of(tmp_path, RIGHT, moved, cpu_state(**BY_NAME)).values()
    assert (finding.id, finding.workload) == ("exclusive_cpus_missing", REDIS)
    assert "2 threads" in finding.text
    assert "none of its threads may run on 2-3" in finding.text
    assert finding.remedy == f"crictl update --cpuset-cpus 2-3 {REDIS[:13]}"


def test_a_cpu_that_no_thread_of_its_container_may_use(tmp_path: Path) -> None:
    (finding,) = findings_of(tmp_path, RIGHT, thread(10, 10, "redis-server", "3"), cpu_state(**BY_NAME)).values()
    assert finding.text == "the kubelet gave it CPUs 2-3, and none of its threads may run on 2"
    assert finding.remedy == "taskset -apc 2-3 10"


@EVERY_VERSION
def test_a_container_of_another_pod_on_exclusive_cpus(tmp_path: Path, fields: dict[str, object]) -> None:
    wide = thread(13, 13, "nats-server", "0-3")
    (finding,) = findings_of(tmp_path, RIGHT, wide, cpu_state(**fields)).values()
    assert (finding.id, finding.severity, finding.workload) == ("exclusive_cpus_shared", "warning", REDIS)
    assert finding.text == "nats may run on CPUs that the kubelet gave it alone"
    assert "nats on 2-3" in finding.evidence
    assert finding.remedy == f"crictl update --cpuset-cpus 0-1 {NATS[:13]}"


def test_a_container_that_strayed_from_its_own_cpus_to_anothers(tmp_path: Path) -> None:
    both = cpu_state(defaultCpuSet="0", entries={CACHE: {"redis": "2-3"}, QUEUE: {"nats": "1"}})
    findings = findings_of(tmp_path, RIGHT, thread(13, 13, "nats-server", "3"), both)
    assert findings.keys() == {("exclusive_cpus_missing", "nats"), ("exclusive_cpus_shared", "redis")}
    assert findings["exclusive_cpus_shared", "redis"].remedy == f"crictl update --cpuset-cpus 1 {NATS[:13]}"


def test_who_is_in_no_pod_shares_them_where_it_can_run_nowhere_else_or_runs_there_now(tmp_path: Path) -> None:
    state = cpu_state(**BY_NAME)
    bound = FLOATING | thread(20, 20, "make", "2")
    assert findings_of(tmp_path / "bound", RIGHT, bound, state).keys() == {("exclusive_cpus_shared", "redis")}
    # Its last CPU is 0 and then 2: only one of them is redis'.
    running = {path: text.replace(") S ", ") R ") for path, text in thread(20, 20, "make", "0-3").items()}
    assert findings_of(tmp_path / "elsewhere", RIGHT, FLOATING, running, state) == {}
    there = {path: text.replace(" 0 0 0\n", " 2 0 0\n") for path, text in running.items()}
    assert findings_of(tmp_path / "there", RIGHT, FLOATING, there, state).keys() == {("exclusive_cpus_shared", "redis")}
    # The kubelet's documentation lets the host's services run there.
    service = {path: text.replace(") S ", ") R ").replace(" 1 0 0\n", " 2 0 0\n") for path, text in thread(21, 21, "kubelet").items()}
    assert findings_of(tmp_path / "service", RIGHT, SERVICE, service, state) == {}


def memory_state(nodes: list[int], **fields: object) -> dict[str, str]:
    blocks = [{"numaAffinity": nodes, "type": "memory", "size": 64 << 20}]
    record = {"policyName": "Static", "machineState": {}, "entries": {CACHE: {"redis": blocks}}, "checksum": 9, **fields}
    return {f"{KUBELET}/memory_manager_state": json.dumps(record)}


def test_memory_on_other_nodes_than_the_kubelet_gave(tmp_path: Path) -> None:
    def on(mems: str, memory: tuple[int, int]) -> dict[str, str]:
        return container(scope(CACHE, REDIS), "10", "2-3", "redis", mems=mems, memory=memory)

    (finding,) = findings_of(tmp_path / "strayed", RIGHT, on("0-1", (48, 16)), memory_state([0])).values()
    assert (finding.id, finding.severity, finding.workload) == ("numa_affinity_missed", "warning", REDIS)
    assert finding.text == "25% of its memory lies on other nodes than the 0 that the kubelet gave it"
    assert finding.remedy == f"crictl update --cpuset-mems 0 {REDIS[:13]}; migratepages 10 1 0"
    (finding,) = findings_of(tmp_path / "bound", RIGHT, on("0", (48, 16)), memory_state([0])).values()
    assert finding.remedy == "migratepages 10 1 0"
    assert findings_of(tmp_path / "right", RIGHT, on("0", (64, 0)), memory_state([0])) == {}
    assert findings_of(tmp_path / "both", RIGHT, on("0-1", (32, 32)), memory_state([0, 1])) == {}
    assert findings_of(tmp_path / "little", RIGHT, on("0", (64, 3)), memory_state([0])) == {}


def test_a_container_of_docker_is_known_by_the_name_that_the_kubelet_gave_it(tmp_path: Path) -> None:
    path = f"/kubepods/pod{CACHE}/{REDIS}"
    engine = [{"name": "docker", "version": "27.0", "containers": [{"id": REDIS, "name": f"k8s_redis_cache-0_shop_{CACHE}_0"}]}]
    tree = group(path, "cpuset cpu", **{"cgroup.procs": "10", "cpuset.cpus.effective": "2-3"}) | thread(10, 10, "redis-server", "0-3")
    (finding,) = findings_of(tmp_path, tree, {"replies/docker_engine.json": json.dumps(engine)}, cpu_state(**BY_NAME)).values()
    assert (finding.id, finding.workload) == ("exclusive_cpus_missing", REDIS)


BROKEN = (
    RIGHT
    | thread(10, 11, "bio_aof", "0")
    | thread(13, 13, "nats-server", "0-3")
    | FLOATING
    | thread(20, 20, "make", "2")
    | container(scope(CACHE, REDIS), "10", "2-3", "redis", memory=(48, 16))
    | cpu_state(**BY_NAME, podEntries={UUID: {"cpuSet": "1"}})
    | memory_state([0])
)
RIGHT_WITH_STATES = RIGHT | FLOATING | SERVICE | cpu_state(**BY_NAME, podEntries={UUID: {"cpuSet": "1"}}) | memory_state([0])


def test_absence_of_a_file_makes_no_finding(tmp_path: Path) -> None:
    for number, path in enumerate(RIGHT_WITH_STATES):
        without = {name: text for name, text in RIGHT_WITH_STATES.items() if name != path}
        assert findings_of(tmp_path / f"right-{number}", without) == {}, path
    full = findings_of(tmp_path / "full", BROKEN).keys()
    assert full == {("exclusive_cpus_missing", "redis"), ("exclusive_cpus_shared", "redis"), ("numa_affinity_missed", "redis")}
    for number, path in enumerate(path for path in BROKEN if not path.startswith(CG)):
        assert findings_of(tmp_path / f"broken-{number}", {name: text for name, text in BROKEN.items() if name != path}).keys() <= full, (
            path
        )


@pytest.mark.parametrize("kept", [names for count in range(4) for names in combinations(("policyName", "defaultCpuSet", "entries"), count)])
def test_absence_of_fields_makes_no_finding(tmp_path: Path, kept: tuple[str, ...]) -> None:
    state = {name: value for name, value in {"policyName": "static", "defaultCpuSet": "0-1", **BY_NAME}.items() if name in kept}
    files = {f"{KUBELET}/cpu_manager_state": json.dumps(state)}
    assert findings_of(tmp_path / "right", RIGHT, FLOATING, files) == {}
    assert bool(findings_of(tmp_path / "broken", BROKEN, files)) == ("entries" in kept or f"{KUBELET}/memory_manager_state" in BROKEN)


def test_without_pods_the_kubelets_files_are_not_asked_for(tmp_path: Path) -> None:
    sample = take(recorded(tmp_path, HOST | FLOATING), Config(root=str(tmp_path)), Caches())
    assert "kubelet_checkpoints" not in sample.seconds
