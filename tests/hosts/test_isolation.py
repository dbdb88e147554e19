"""What a file of one workload holds changes nothing of another or of the host; `isolation.py` says how to try more."""

from __future__ import annotations

import copy
from collections import Counter

import pytest

from tests.hosts.isolation import KINDS, Mutation, differences, judge, mutated, mutation, offences
from tests.hosts.owned import HOSTS, host

MUTATIONS = 50


def test_no_file_of_a_workload_changes_another() -> None:
    assert [line for seed in range(MUTATIONS) for line in judge(seed)] == []


@pytest.mark.parametrize("name", HOSTS)
def test_a_host_has_files_of_all_kinds_of_workloads(name: str) -> None:
    workloads = {workload["id"]: workload for workload in host(name).snapshot["workloads"]}
    owned = {id_ for owners in host(name).owners.values() for id_ in owners}
    assert owned == workloads.keys()
    assert {workloads[id_]["paradigm"] for id_ in owned} >= {"containerization", "virtualization", "sandbox"}
    assert host(name).snapshot["predictions"]


def test_a_seed_makes_the_same_mutation_again() -> None:
    for seed in range(10):
        assert str(mutation(seed)) == str(mutation(seed))


def test_every_kind_of_mutation_is_made() -> None:
    assert Counter(mutation(seed).kind for seed in range(200)).keys() == {*KINDS, "reply"}


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("sys/fs/cgroup/system.slice/busy.service/memory.current", b"4096\n", "memory.current_bytes"),
        ("sys/fs/cgroup/system.slice/busy.service/cpu.weight", b"nonsense\n", "cpu.weight"),
        ("proc/848/task/848/schedstat", OSError(5, "Input/output error"), "cpu.run_ns"),
    ],
)
def test_what_is_broken_is_read(path: str, content: bytes | OSError, field: str) -> None:
    """Else nothing could be seen to change."""
    change = Mutation(host="engines", path=path, kind="wrong", content=content, owners=host("engines").owners[path])
    assert change.owners == {"/system.slice/busy.service"}
    before, after = (
        next(workload for workload in snapshot["workloads"] if workload["id"] in change.owners)
        for snapshot in (host("engines").snapshot, mutated(change))
    )
    assert field in {place for place, _, _ in differences(before, after)}


@pytest.mark.parametrize("place", ["cpu.weight", "memory.current_bytes", "placement.allowed_cpus"])
def test_a_change_of_another_is_seen(place: str) -> None:
    snapshot = copy.deepcopy(host("engines").snapshot)
    change = Mutation(host="engines", path="x", kind="wrong", content=b"", owners=frozenset({snapshot["workloads"][0]["id"]}))
    assert list(offences(change, snapshot)) == []
    part, _, field = place.partition(".")
    snapshot["workloads"][1][part][field] = "something else"
    (offence,) = offences(change, snapshot)
    assert place in offence
    del snapshot["workloads"][1]
    assert any("is gone" in offence for offence in offences(change, snapshot))
