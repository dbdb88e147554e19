"""collectors/kubelet_checkpoints.py: what the kubelet gave to whom, as its versions have written it, and files that are none of these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.collect.ask import ask
from agent.model.facts.kubelet_checkpoints import CpuGrant, CpuManager, KubeletCheckpoints, MemoryGrant, MemoryManager
from agent.model.values import CpuSet
from collectors import kubelet_checkpoints
from collectors.kubelet_checkpoints import CPU, MAX_BYTES, MAX_ENTRIES, MEMORY, parse_cpu, parse_memory
from collectors.root import MARK, SysRoot
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from tests.unit.tree import A_MARK, grow

CACHE, QUEUE = "b7e0c1aa-2f43-4d6b-8a55-90c3f1d2e4b6", "1f9d3a70-5c1e-4e0b-b6a2-7d84c0e9f315"
ID = "9c" * 32


def cpus(text: str) -> CpuSet:
    return CpuSet.parse_list(text)


def block(nodes: list[int], kind: str = "memory") -> dict[str, object]:
    return {"numaAffinity": nodes, "type": kind, "size": 1 << 30}


BY_POD = {"policyName": "static", "defaultCPUSet": "0,12", "entries": {CACHE: {"redis": "1-3,13-15"}}}

CPU_VERSIONS = [
    ({"policyName": "none", "defaultCpuSet": "", "checksum": 1}, CpuManager(policy="none", shared_cpus=CpuSet())),
    (
        {"policyName": "static", "defaultCpuSet": "0-1", "entries": {ID: "2-3"}, "checksum": 2},
        CpuManager(policy="static", shared_cpus=cpus("0-1"), grants=(CpuGrant(None, ID, cpus("2-3")),)),
    ),
    (
        {"policyName": "static", "defaultCpuSet": "0-1", "entries": {CACHE: {"redis": "2", "exporter": "3"}, QUEUE: {"nats": "4"}}},
        CpuManager(
            policy="static",
            shared_cpus=cpus("0-1"),
            grants=(CpuGrant(CACHE, "redis", cpus("2")), CpuGrant(CACHE, "exporter", cpus("3")), CpuGrant(QUEUE, "nats", cpus("4"))),
        ),
    ),
    (
        {"policyName": "static", "entries": {CACHE: {"redis": "2"}}, "podEntries": {QUEUE: {"cpuSet": "4-7"}}, "checksum": 3},
        CpuManager(policy="static", grants=(CpuGrant(CACHE, "redis", cpus("2")), CpuGrant(QUEUE, None, cpus("4-7")))),
    ),
    # The text is what counts; what stands outside of it is for older kubelets.
    (
        {**BY_POD, "entries": {CACHE: {"redis": "5"}}, "data": json.dumps(BY_POD), "dataChecksum": 4},
        CpuManager(policy="static", shared_cpus=cpus("0,12"), grants=(CpuGrant(CACHE, "redis", cpus("1-3,13-15")),)),
    ),
    (
        {"data": json.dumps(BY_POD), "checksum": 4},
        CpuManager(policy="static", shared_cpus=cpus("0,12"), grants=(CpuGrant(CACHE, "redis", cpus("1-3,13-15")),)),
    ),
    ({**BY_POD, "entries": None, "data": ""}, CpuManager(policy="static", shared_cpus=cpus("0,12"))),
    ({}, CpuManager()),
]


@pytest.mark.parametrize(("record", "manager"), CPU_VERSIONS)
def test_cpus_as_each_version_writes_them(record: dict[str, object], manager: CpuManager) -> None:
    assert parse_cpu(json.dumps(record)) == manager


@pytest.mark.parametrize(
    ("record", "manager"),
    [
        ({"policyName": "None", "machineState": {}, "checksum": 1}, MemoryManager(policy="None")),
        (
            # Huge pages may lie elsewhere: where they lie is not counted with the rest.
            {"policyName": "Static", "entries": {CACHE: {"redis": [block([1]), block([0], "hugepages-2Mi")]}}},
            MemoryManager(policy="Static", grants=(MemoryGrant(CACHE, "redis", CpuSet((1,))),)),
        ),
        (
            {"policyName": "Static", "entries": {CACHE: {"redis": [block([0, 1])]}}, "podEntries": {QUEUE: {"memoryBlocks": [block([1])]}}},
            MemoryManager(policy="Static", grants=(MemoryGrant(CACHE, "redis", CpuSet((0, 1))), MemoryGrant(QUEUE, None, CpuSet((1,))))),
        ),
        (
            {"data": json.dumps({"policyName": "Static", "entries": {CACHE: {"redis": [block([1])]}}})},
            MemoryManager(policy="Static", grants=(MemoryGrant(CACHE, "redis", CpuSet((1,))),)),
        ),
        ({"policyName": "Static", "entries": {CACHE: {"redis": [block([0], "hugepages-1Gi")]}}}, MemoryManager(policy="Static")),
    ],
)
def test_memory_as_each_version_writes_it(record: dict[str, object], manager: MemoryManager) -> None:
    assert parse_memory(json.dumps(record)) == manager


RIGHT = CpuGrant(QUEUE, "nats", cpus("4"))


@pytest.mark.parametrize(
    ("entry", "detail"),
    [
        ({"redis": "2-"}, "not a CPU list"),
        ({"redis": 2}, "expected a list of CPUs, got 2"),
        ({"redis": ["2"]}, "expected a list of CPUs, got list"),
        ({"redis": "0-99999"}, "not a CPU list"),
        (7, "expected an object, got 7"),
        (["2"], "expected an object, got list"),
    ],
)
def test_an_entry_that_is_malformed_costs_that_entry(entry: object, detail: str) -> None:
    with pytest.raises(Malformed, match=detail) as raised:
        parse_cpu(json.dumps({"policyName": "static", "entries": {CACHE: entry, QUEUE: {"nats": "4"}}}))
    assert raised.value.rest == CpuManager(policy="static", grants=(RIGHT,))


@pytest.mark.parametrize(
    "blocks",
    [
        [block([1]), block([])],
        [block([1]), {"numaAffinity": ["0"], "type": "memory"}],
        [block([1]), {"numaAffinity": [True], "type": "memory"}],
        [block([1]), {"numaAffinity": [1 << 40], "type": "memory"}],
        [block([1]), {"numaAffinity": [0]}],
        [block([1]), 3],
        {"memory": 3},
    ],
)
def test_a_part_of_a_containers_nodes_is_none_of_them(blocks: object) -> None:
    record = {"policyName": "Static", "entries": {CACHE: {"redis": blocks}, QUEUE: {"nats": [block([0])]}}}
    with pytest.raises(Malformed) as raised:
        parse_memory(json.dumps(record))
    assert raised.value.rest == MemoryManager(policy="Static", grants=(MemoryGrant(QUEUE, "nats", CpuSet((0,))),))


MANY = {CACHE: {f"c{number}": "1" for number in range(MAX_ENTRIES + 1)}}


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "expected a checkpoint's JSON"),
        ("not JSON", "expected a checkpoint's JSON"),
        ('{"entries":', "expected a checkpoint's JSON"),
        ("[1, 2]", "expected a checkpoint's JSON"),
        ("[" * 500_000, "expected a checkpoint's JSON"),
        ('{"entries":' * 80_000 + "1" + "}" * 80_000, "expected a checkpoint's JSON"),
        (json.dumps({"x": "y" * MAX_BYTES}), "larger than 1 MiB"),
        (json.dumps({**BY_POD, "data": "{"}), "expected a checkpoint's JSON"),
        (json.dumps({**BY_POD, "data": {"entries": {}}}), "data: expected text"),
        (json.dumps({"entries": MANY}), f"more than {MAX_ENTRIES} entries"),
        ("\0\0\0\0", "expected a checkpoint's JSON"),
    ],
)
def test_a_file_that_is_bad_is_a_gap(tmp_path: Path, text: str, detail: str) -> None:
    memory = json.dumps({"policyName": "Static", "entries": {QUEUE: {"nats": [block([0])]}}})
    root = grow(tmp_path, {CPU: text, MEMORY: memory})
    reading = ask(root, "kubelet_checkpoints", kubelet_checkpoints.read)
    assert reading.value == KubeletCheckpoints(
        memory=MemoryManager(policy="Static", grants=(MemoryGrant(QUEUE, "nats", CpuSet((0,))),)),
    )
    (gap,) = reading.gaps
    assert (gap.reason, CPU in gap.detail, detail in gap.detail, len(gap.detail) < 400) == ("failed", True, True, True)


def test_neither_file_is_a_gap_that_says_what_to_do(tmp_path: Path) -> None:
    (gap,) = ask(grow(tmp_path, {"var/lib/kubelet/": ""}), "kubelet_checkpoints", kubelet_checkpoints.read).gaps
    assert (gap.reason, gap.remedy is not None and "/var/lib/kubelet" in gap.remedy) == ("absent", True)


def test_what_is_roots_alone_is_a_gap_that_says_what_to_do(tmp_path: Path) -> None:
    refusals = {path: {"path": path, "reason": "denied", "detail": "permission denied"} for path in (CPU, MEMORY)}
    root = grow(tmp_path, {MARK: json.dumps(json.loads(A_MARK) | {"refusals": refusals})})
    reading = ask(root, "kubelet_checkpoints", kubelet_checkpoints.read)
    (gap,) = reading.gaps
    assert (reading.value, gap.reason, gap.detail) == (KubeletCheckpoints(), "denied", f"{CPU}: permission denied and 1 more")
    assert gap.remedy is not None
    assert "CAP_DAC_READ_SEARCH" in gap.remedy


def test_a_recording_has_both_files(tmp_path: Path) -> None:
    memory = json.dumps({"policyName": "Static", "entries": {QUEUE: {"nats": [block([0])]}}})
    live = grow(tmp_path / "live", {CPU: json.dumps(BY_POD), MEMORY: memory})
    recorder = Recorder(tmp_path / "live", tmp_path / "recorded", 1.0, "0")
    checkpoints = kubelet_checkpoints.read(recorder)
    recorder.close()
    assert checkpoints.cpu is not None
    assert kubelet_checkpoints.read(SysRoot(tmp_path / "recorded")) == checkpoints == kubelet_checkpoints.read(live)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(["2-3", "0", CACHE, "memory"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["entries", "podEntries", "data", "cpuSet", "memoryBlocks", "numaAffinity", "type", "policyName", CACHE]), inner
        )
    ),
    max_leaves=20,
)


@given(VALUES.map(json.dumps) | VALUES.map(lambda value: json.dumps({"data": json.dumps(value)})) | st.text(max_size=200))
def test_whatever_is_written_there_is_understood_or_malformed(text: str) -> None:
    for parse in (parse_cpu, parse_memory):
        try:
            parse(text)
        except Malformed:
            continue


@given(
    st.dictionaries(st.text(min_size=1, max_size=8), st.dictionaries(st.text(max_size=8), st.frozensets(st.integers(0, 300), min_size=1)))
)
def test_what_was_given_is_read_back(entries: dict[str, dict[str, frozenset[int]]]) -> None:
    written = {pod: {name: str(CpuSet(given_cpus)) for name, given_cpus in inner.items()} for pod, inner in entries.items()}
    grants = {(grant.pod_uid, grant.container): grant.cpus for grant in parse_cpu(json.dumps({"entries": written})).grants}
    assert grants == {(pod, name): CpuSet(given_cpus) for pod, inner in entries.items() for name, given_cpus in inner.items()}
