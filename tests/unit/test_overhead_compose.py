"""agent/overhead/compose.py: which predictions a host gets, and what is left of them without this or that."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import process_time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.snapshot import Prediction
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, MIB, container, cpu, host, machine, sandbox, thread

Key = tuple[str, str]


def predictions(after: Host | None = None, before: Host | None = None, seconds: float | None = 10.0) -> dict[Key, Prediction]:
    found = predict(Window(after or host(1.0), before or host(), seconds))
    for one in found:
        figures = (one.value, one.lo, one.hi, *one.inputs.values())
        assert all(math.isfinite(figure) and figure >= 0 for figure in figures), one
        assert one.lo <= one.value <= one.hi, one
        assert one.measured is None or 0 <= one.measured < math.inf, one
        assert one.validity
    named = {(one.workload, one.component): one for one in found}
    assert len(named) == len(found)
    return named


def of(workload: Callable[[float], Workload], busy: float = 6.0) -> dict[str, Prediction]:
    found = predictions(host(1.0, (workload(1.0),), busy=busy), host(0.0, (workload(0.0),), busy=busy))
    return {component: one for (_, component), one in found.items()}


def test_every_kind_has_its_components() -> None:
    walks = {"walk_references", "walk_cost"}
    assert set(of(container)) == {"run_queue_delay", "throttled_periods", "memory_overhead"} | walks
    assert set(of(machine)) == {"run_queue_delay", "memory_overhead"} | walks
    assert set(of(sandbox)) == {"run_queue_delay", "memory_overhead"} | walks


def test_a_measurement_stands_beside_its_prediction() -> None:
    found = of(container)
    assert found["run_queue_delay"].measured == pytest.approx(0.2)
    assert found["throttled_periods"].measured == pytest.approx(0.1)
    assert found["memory_overhead"].measured == 2 * MIB
    assert found["walk_cost"].measured is None
    for one in found.values():
        assert one.inside == (None if one.measured is None else one.lo <= one.measured <= one.hi)


def test_kinds_of_cost() -> None:
    kinds = {component: one.kind for (_, component), one in predictions().items()}
    assert kinds == {
        "run_queue_delay": "contention",
        "throttled_periods": "contention",
        "walk_references": "intrinsic",
        "walk_cost": "intrinsic",
        "memory_overhead": "intrinsic",
    }


def test_references_by_kind() -> None:
    assert of(container)["walk_references"].value == pytest.approx(3.5)
    nested = of(machine)["walk_references"]
    assert (nested.lo, nested.hi) == (15, 24)
    assert nested.value == pytest.approx(21.5)


def with_kvm(nested: bool | None, vendor: str | None) -> Host:
    after = host(1.0, (machine(1.0),))
    kvm = after.logical.kvm
    assert kvm is not None
    return replace(after, logical=replace(after.logical, kvm=replace(kvm, nested_paging=nested, vendor_module=vendor)))


@pytest.mark.parametrize(("nested", "vendor"), [(False, "kvm_intel"), (None, "kvm_pvm")])
def test_shadow_paging_walks_as_the_host_does(nested: bool | None, vendor: str) -> None:
    found = predictions(with_kvm(nested, vendor))["vm", "walk_references"]
    assert (found.lo, found.value, found.hi) == (3, 4, 4)
    assert "shadow" in found.validity


@pytest.mark.parametrize("vendor", ["kvm_intel", "kvm_amd", None])
def test_an_mmu_that_nobody_names_is_not_guessed(vendor: str | None) -> None:
    assert not {component for _, component in predictions(with_kvm(None, vendor))} & {"walk_references", "walk_cost"}


def test_a_guest_on_hugetlb_has_no_measured_overhead() -> None:
    """Its memory is not in QEMU's resident size."""

    def outside(passed: float) -> Workload:
        made = machine(passed)
        return replace(made, memory=replace(made.memory, resident_bytes=60 * MIB))

    assert of(outside)["memory_overhead"].measured is None


def test_an_emulator_walks_no_tables() -> None:
    def emulated(passed: float) -> Workload:
        made = machine(passed)
        assert made.guest is not None
        return replace(made, guest=replace(made.guest, accelerator="qemu"))

    assert set(of(emulated)) == {"run_queue_delay", "memory_overhead"}


def bound(passed: float, threads: int = 2, quota: float = 50_000, cpus: CpuSet = BOTH) -> Workload:
    """Threads that never sleep, and a quota they use up: run and delay in ten seconds as the kernel counts them."""
    made = container(passed)
    running = [
        replace(
            thread(50 + number, passed),
            run_ns=int(1e5 * quota * passed / threads),
            delay_ns=int(passed * (10 - quota / 1e4 / threads) * 1e9),
        )
        for number in range(threads)
    ]
    stopped = min(threads, len(cpus)) * 10 - quota / 1e4
    used = replace(
        cpu(passed, usage=quota / 1e4, quota=quota), throttled_periods=int(100 * passed), throttled_usec=int(stopped * 1e6 * passed)
    )
    return replace(made, threads=tuple(running), cpu=used, placement=replace(made.placement, allowed_cpus=cpus))


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("cpus", [CpuSet((0,)), BOTH])
def test_threads_that_never_sleep_use_their_quota_up(threads: int, cpus: CpuSet) -> None:
    found = of(lambda passed: bound(passed, threads, cpus=cpus), busy=10 * 0.5 / len(cpus))
    assert found["throttled_periods"].value == 1
    assert found["throttled_time"].value == pytest.approx(min(threads, len(cpus)) - 0.5)
    assert found["throttled_time"].inside
    # A runnable thread runs or waits.
    assert found["run_queue_delay"].value == pytest.approx(threads - 0.5, rel=0.02)
    assert found["run_queue_delay"].inside


def test_beside_others_a_quota_may_stop_nobody() -> None:
    """A run queue whose threads wait for the CPU is not stopped."""
    found = of(bound, busy=10)
    assert found["throttled_time"].value == pytest.approx(1.5)
    assert found["throttled_time"].lo == found["throttled_periods"].lo == 0


@pytest.mark.parametrize("quota", [200_000, 200_001, 1e12])
def test_a_quota_for_every_cpu_throttles_nobody(quota: float) -> None:
    found = of(lambda passed: replace(container(passed), cpu=cpu(passed, quota=quota)))
    assert found["throttled_periods"].value == 0
    assert "throttled_time" not in found


@pytest.mark.parametrize("quota", [None, UNLIMITED])
def test_no_quota_no_throttling(quota: Limit | None) -> None:
    found = of(lambda passed: replace(container(passed), cpu=replace(cpu(passed), quota_usec=quota)))
    assert "throttled_periods" not in found


def test_saturated_cpus_are_shared_fairly() -> None:
    def hog(passed: float) -> Workload:
        made = replace(container(passed), cpu=replace(cpu(passed), quota_usec=UNLIMITED, throttled_usec=None))
        return replace(made, threads=(replace(thread(11, passed)),))

    found = of(hog, busy=10)["run_queue_delay"]
    assert "saturated" in found.validity
    # One of ours, and of three runnable tasks two others, on two CPUs: a third of the time.
    assert found.hi == pytest.approx(1 / 3)
    assert 0 < found.value <= found.hi


def test_the_crowd_on_other_cpus_does_not_compete() -> None:
    def alone(passed: float) -> Workload:
        made = replace(container(passed), cpu=replace(cpu(passed), quota_usec=UNLIMITED, throttled_usec=None))
        return replace(made, threads=(thread(11, 2 * passed),), placement=replace(made.placement, allowed_cpus=CpuSet((0,))))

    # Three tasks run: ours on CPU 0, one on CPU 1, and one that may wait for either.
    assert of(alone, busy=10)["run_queue_delay"].inputs["other_runnable_tasks"] == pytest.approx(1)


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


INPUTS: list[tuple[str, Callable[[Host], Host], set[Key]]] = [
    ("quota", _cpu("quota_usec"), {("c0ffee", "throttled_periods")}),
    ("period", _cpu("period_usec"), {("c0ffee", "throttled_periods")}),
    ("usage", _cpu("usage_usec"), {("c0ffee", "throttled_periods")}),
    ("periods", _cpu("periods"), {("c0ffee", "throttled_periods"), ("c0ffee", "run_queue_delay")}),
    ("throttled periods", _cpu("throttled_periods"), set()),
    ("throttled time", _cpu("throttled_usec"), {("c0ffee", "run_queue_delay")}),
    ("run", _threads("run_ns"), {(name, "run_queue_delay") for name in ("c0ffee", "vm", "wasm")}),
    ("delay", _threads("delay_ns"), set()),
    ("timeslices", _threads("timeslices"), {(name, "run_queue_delay") for name in ("c0ffee", "vm", "wasm")}),
    ("states", _threads("state"), {("c0ffee", "throttled_periods")} | {(name, "run_queue_delay") for name in ("c0ffee", "vm", "wasm")}),
    ("CPU times", _kernel("times", ()), {(name, "run_queue_delay") for name in ("c0ffee", "vm", "wasm")}),
    ("tick", _kernel("tick_hz"), set()),
    ("virtualization", _identity("virtualization"), {(name, "run_queue_delay") for name in ("c0ffee", "vm", "wasm")}),
    ("uptime", _identity("uptime_seconds"), set()),
    (
        "levels",
        _kernel("page_table_levels"),
        {(name, f"walk_{what}") for name in ("c0ffee", "vm", "wasm") for what in ("references", "cost")},
    ),
    ("KVM", lambda host: replace(host, logical=replace(host.logical, kvm=None)), {("vm", "walk_references"), ("vm", "walk_cost")}),
    ("accelerator", _guest("accelerator"), {("vm", "walk_references"), ("vm", "walk_cost")}),
    ("iothreads", _guest("iothreads"), {("vm", "memory_overhead")}),
    ("video", _guest("video_bytes"), {("vm", "memory_overhead")}),
    ("L1", _cache(1), {(name, "walk_cost") for name in ("c0ffee", "vm", "wasm")}),
    ("L2", _cache(2), {(name, "walk_cost") for name in ("c0ffee", "vm", "wasm")}),
    ("L3", _cache(3), {(name, "walk_cost") for name in ("c0ffee", "vm", "wasm")}),
    ("page tables", _memory("page_table_bytes"), {("c0ffee", "memory_overhead")}),
    ("kernel memory", _memory("kernel_bytes"), set()),
    ("current", _memory("current_bytes"), set()),
    ("stat", _memory("stat", {}), {("c0ffee", "walk_references"), ("c0ffee", "walk_cost")}),
    ("huge pages", _memory("anon_huge_bytes"), {("wasm", "walk_references"), ("wasm", "walk_cost")}),
    ("resident", _memory("resident_bytes"), {("wasm", "walk_references"), ("wasm", "walk_cost")}),
    ("huge backing", _memory("backing_huge_bytes"), {("vm", "walk_references"), ("vm", "walk_cost")}),
    ("allotted", _memory("allotted_bytes"), {("wasm", "memory_overhead")}),
    (
        "backing",
        _memory("backing_bytes"),
        {("vm", "walk_references"), ("vm", "walk_cost"), ("wasm", "walk_references"), ("wasm", "walk_cost"), ("wasm", "memory_overhead")},
    ),
    ("processes", _workload(lambda workload: replace(workload, processes=None)), {("c0ffee", "memory_overhead")}),
    (
        "allowed CPUs",
        _workload(lambda workload: replace(workload, placement=replace(workload.placement, allowed_cpus=None))),
        {("c0ffee", "throttled_periods")}
        | {(name, component) for name in ("c0ffee", "vm", "wasm") for component in ("run_queue_delay", "walk_cost")},
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


def test_without_a_second_host_it_is_a_life() -> None:
    found = predict(Window(host(1.0)))
    assert all("since_start" in one.validity for one in found if one.kind == "contention")
    assert {one.component for one in found} >= {"run_queue_delay", "throttled_periods"}


def test_without_time_only_what_is_always_there() -> None:
    assert {one.kind for one in predictions(seconds=0.0).values()} == {"intrinsic"}


nonsense = st.sampled_from([0, 1, -1, -(10**18), 10**9, 10**18, 2**63, 2**64]) | st.integers(-(2**64), 2**64)
maybe = st.none() | nonsense
limits = st.sampled_from([None, UNLIMITED, Limit(0), Limit(-1), Limit(1e300), Limit(1), Limit(50_000)])


@settings(max_examples=300)
@given(st.data())
def test_nonsense_makes_no_nonsense(data: st.DataObject) -> None:
    def number() -> int | None:
        return data.draw(maybe)

    def draw(made: Workload) -> Workload:
        used = replace(
            made.cpu,
            quota_usec=data.draw(limits),
            period_usec=number(),
            burst_usec=number(),
            usage_usec=number(),
            periods=number(),
            throttled_periods=number(),
            throttled_usec=number(),
        )
        threads = tuple(replace(one, run_ns=number(), delay_ns=number(), timeslices=number(), start_ticks=number()) for one in made.threads)
        memory = replace(
            made.memory,
            page_table_bytes=number(),
            resident_bytes=number(),
            backing_bytes=number(),
            backing_huge_bytes=number(),
            allotted_bytes=number(),
            stat={"anon": data.draw(nonsense), "file_mapped": data.draw(nonsense), "anon_thp": data.draw(nonsense)},
        )
        cpus = data.draw(st.sampled_from([None, CpuSet(), CpuSet((0,)), BOTH, CpuSet((7,))]))
        return replace(
            made, cpu=used, threads=threads, memory=memory, processes=number(), placement=replace(made.placement, allowed_cpus=cpus)
        )

    def drawn(passed: float) -> Host:
        workloads = tuple(draw(of(passed)) for of in (container, machine, sandbox))
        made = host(passed, workloads, busy=data.draw(st.floats(-1e9, 1e9)))
        online = data.draw(st.sampled_from([CpuSet(), CpuSet((0,)), BOTH]))
        return _kernel("page_table_levels", data.draw(maybe))(
            replace(made, physical=replace(made.physical, cpus=replace(made.physical.cpus, online=online)))
        )

    predictions(drawn(1.0), drawn(0.0), data.draw(st.none() | st.floats(allow_nan=True, allow_infinity=True)))


def test_a_thousand_throttled_workloads() -> None:
    def crowd(passed: float) -> Host:
        made = [replace(container(passed), id=f"{n}", identity=f"{n}:1", cpu=cpu(passed, usage=3 + n / 1000)) for n in range(1000)]
        return host(passed, tuple(made))

    window = Window(crowd(1.0), crowd(0.0), 10.0)
    began = process_time()
    assert len(predict(window)) == 5000
    assert process_time() - began < 2
