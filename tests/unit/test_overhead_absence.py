"""An input that is absent makes the predictions that need it absent, and moves no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.values import UNLIMITED, Limit
from agent.model.workload import Workload
from tests.unit.overhead_hosts import host
from tests.unit.overhead_predictions import WALKS, Key, predictions


def _workload(change: Callable[[Workload], Workload]) -> Callable[[Host], Host]:
    return lambda host: replace(host, workloads=tuple(change(workload) for workload in host.workloads))


def _cpu(name: str) -> Callable[[Host], Host]:
    return _workload(lambda workload: replace(workload, cpu=replace(workload.cpu, **{name: None})))


def _memory(name: str, value: object = None) -> Callable[[Host], Host]:
    return _workload(lambda workload: replace(workload, memory=replace(workload.memory, **{name: value})))


def _kernel(name: str, value: object = None) -> Callable[[Host], Host]:
    return lambda host: replace(host, logical=replace(host.logical, cpu=replace(host.logical.cpu, **{name: value})))


def _threads(name: str) -> Callable[[Host], Host]:
    def change(workload: Workload) -> Workload:
        vcpus = tuple(replace(vcpu, thread=vcpu.thread and replace(vcpu.thread, **{name: None})) for vcpu in workload.vcpus)
        return replace(workload, threads=tuple(replace(one, **{name: None}) for one in workload.threads), vcpus=vcpus)

    return _workload(change)


def _guest(name: str) -> Callable[[Host], Host]:
    return _workload(lambda workload: replace(workload, guest=workload.guest and replace(workload.guest, **{name: None})))


def _cache(level: int, size: int | None = None) -> Callable[[Host], Host]:
    def change(host: Host) -> Host:
        caches = tuple(replace(cache, size_bytes=size) if cache.level == level else cache for cache in host.physical.caches)
        return replace(host, physical=replace(host.physical, caches=caches))

    return change


def _identity(name: str) -> Callable[[Host], Host]:
    return lambda host: replace(host, identity=replace(host.identity, **{name: None}))


ALL = ("c0ffee", "vm", "wasm")
WAITS: set[Key] = {(name, "run_queue_delay") for name in ALL} | {("vm", "steal"), ("c0ffee", "cpu_pressure")}
SHARE: set[Key] = {("c0ffee", "cpu_share")}
QUOTA: set[Key] = {("c0ffee", "throttled_periods"), ("c0ffee", "throttled_time")}
VM_WALKS: set[Key] = {("vm", name) for name in WALKS}
VM_EXITS: set[Key] = {("vm", name) for name in ("exits", "exit_time", "halt_polling")}


def every(component: str) -> set[Key]:
    return {(name, component) for name in ALL}


def walked(name: str) -> set[Key]:
    return {(name, component) for component in WALKS}


def _vcpus(**fields: object) -> Callable[[Host], Host]:
    return _workload(lambda workload: replace(workload, vcpus=tuple(replace(vcpu, **fields) for vcpu in workload.vcpus)))


def _physical(name: str, value: object) -> Callable[[Host], Host]:
    return lambda host: replace(host, physical=replace(host.physical, **{name: value}))


def _placement(name: str, value: object = None) -> Callable[[Host], Host]:
    return _workload(lambda workload: replace(workload, placement=replace(workload.placement, **{name: value})))


INPUTS: list[tuple[str, Callable[[Host], Host], set[Key]]] = [
    ("quota", _cpu("quota_usec"), QUOTA),
    ("period", _cpu("period_usec"), QUOTA),
    ("usage", _cpu("usage_usec"), QUOTA),
    ("periods", _cpu("periods"), QUOTA | {("c0ffee", "run_queue_delay"), ("c0ffee", "cpu_pressure")}),
    ("throttled periods", _cpu("throttled_periods"), set()),
    ("throttled time", _cpu("throttled_usec"), {("c0ffee", "run_queue_delay"), ("c0ffee", "cpu_pressure")}),
    ("limit", _cpu("limit_cpus"), SHARE),
    ("weight", _cpu("weight"), SHARE),
    ("pressure", _cpu("pressure_some_usec"), {("c0ffee", "cpu_pressure")}),
    ("run", _threads("run_ns"), WAITS | SHARE | VM_EXITS | QUOTA | every("switching") | every("remote_memory") | every("shared_cache")),
    ("delay", _threads("delay_ns"), SHARE | QUOTA),
    ("timeslices", _threads("timeslices"), WAITS | SHARE),
    ("switches", _threads("voluntary_switches"), WAITS | SHARE | every("switching")),
    ("last CPU of a thread", _threads("last_cpu"), every("remote_memory")),
    ("last CPUs", _placement("last_cpus"), every("shared_core") | every("shared_cache")),
    ("memory by node", _placement("memory_by_node", {}), every("remote_memory")),
    ("nodes", _physical("nodes", ()), every("remote_memory")),
    ("cores", _physical("cores", ()), every("shared_core")),
    ("states", _threads("state"), WAITS | SHARE),
    ("CPU times", _kernel("times", ()), WAITS | SHARE | every("shared_core") | every("shared_cache")),
    ("runnable tasks", _kernel("runnable_tasks"), set()),
    ("tick", _kernel("tick_hz"), set()),
    ("virtualization", _identity("virtualization"), WAITS),
    ("uptime", _identity("uptime_seconds"), set()),
    # Of the container, its own group says how long it was stopped.
    ("control groups", _identity("cgroup"), {("vm", "run_queue_delay"), ("vm", "steal"), ("wasm", "run_queue_delay")}),
    (
        "levels",
        _kernel("page_table_levels"),
        every("walk_references") | every("walk_cost"),
    ),
    (
        "KVM",
        lambda host: replace(host, logical=replace(host.logical, kvm=None)),
        VM_WALKS | {("vm", "halt_polling")},
    ),
    ("KVM's counters", _vcpus(kvm={}), {("vm", "exit_time"), ("vm", "halt_polling")}),
    ("how old they are", _guest("stats_seconds_ago"), {("vm", "exit_time"), ("vm", "halt_polling")}),
    ("accelerator", _guest("accelerator"), {("vm", "walk_references"), ("vm", "walk_cost")} | VM_EXITS),
    ("iothreads", _guest("iothreads"), {("vm", "memory_overhead")}),
    ("video", _guest("video_bytes"), {("vm", "memory_overhead")}),
    ("L1", _cache(1), every("walk_cost")),
    ("L2", _cache(2), every("walk_cost")),
    ("L3", _cache(3), every("walk_cost") | every("shared_cache")),
    ("page tables", _memory("page_table_bytes"), {("c0ffee", "memory_overhead")}),
    ("kernel memory", _memory("kernel_bytes"), set()),
    ("current", _memory("current_bytes"), set()),
    ("stat", _memory("stat", {}), walked("c0ffee") | {("c0ffee", "shared_cache")}),
    ("huge pages", _memory("anon_huge_bytes"), walked("wasm")),
    ("resident", _memory("resident_bytes"), walked("wasm")),
    ("huge backing", _memory("backing_huge_bytes"), walked("vm")),
    ("allotted", _memory("allotted_bytes"), {("wasm", "memory_overhead")}),
    (
        "backing",
        _memory("backing_bytes"),
        walked("vm") | walked("wasm") | {("vm", "shared_cache"), ("wasm", "shared_cache"), ("wasm", "memory_overhead")},
    ),
    ("processes", _workload(lambda workload: replace(workload, processes=None)), {("c0ffee", "memory_overhead")}),
    (
        "allowed CPUs",
        _placement("allowed_cpus"),
        QUOTA | WAITS | SHARE | every("walk_cost"),
    ),
]


@pytest.mark.parametrize(("change", "lost"), [case[1:] for case in INPUTS], ids=[case[0] for case in INPUTS])
def test_an_absent_input_makes_its_predictions_absent_and_moves_no_other(change: Callable[[Host], Host], lost: set[Key]) -> None:
    whole = predictions()
    part = predictions(change(host(1.0)), change(host()))
    assert whole.keys() - part.keys() == lost
    for key, one in part.items():
        same = whole[key]
        assert (one.value, one.lo, one.hi, one.inputs) == (same.value, same.lo, same.hi, same.inputs), key


@pytest.mark.parametrize("shown", [{"period_usec": 100_000}, {"shares": 1024}, {"weight": 100}])
def test_a_quota_that_is_not_read_makes_no_prediction_appear(shown: dict[str, int]) -> None:
    """The group of a vCPU without its quota, as without vcpuN/cpu.cfs_quota_us: it may have been held back by it."""
    limited, unread, free = ({**shown, "quota_usec": quota} for quota in (Limit(50_000), None, UNLIMITED))

    def waits(fields: Mapping[str, object]) -> set[Key]:
        return {key for key in predictions(_vcpus(**fields)(host(1.0)), _vcpus(**fields)(host())) if key[1] == "run_queue_delay"}

    assert ("vm", "run_queue_delay") in waits(free)
    assert waits(limited) == waits(unread) == waits(free) - {("vm", "run_queue_delay")}
