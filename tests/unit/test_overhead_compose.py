"""agent/overhead/compose.py: which predictions a host gets, and what is left of them without this or that."""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle

import pytest
from msgspec.structs import replace

from agent.model.facts.proc_stat import CpuTime
from agent.model.host import Host, Virtualization
from agent.model.snapshot import Prediction
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Placement, VCpu, Workload
from agent.overhead.compose import predict
from agent.overhead.window import Window
from tests.unit.overhead_hosts import BOTH, MIB, container, cpu, host, machine, sandbox, thread
from tests.unit.overhead_predictions import WALKS, predictions

EVERY = {"run_queue_delay", "switching", "remote_memory", "shared_core", "shared_cache", "memory_overhead", "start_time"} | WALKS
GROUPS = {"throttled_periods", "throttled_time", "cpu_share", "cpu_pressure"}
KVMS = {"exits", "exit_time", "halt_polling"}


def of(workload: Callable[[float], Workload], busy: float = 6.0) -> dict[str, Prediction]:
    found = predictions(host(1.0, (workload(1.0),), busy=busy), host(0.0, (workload(0.0),), busy=busy))
    return {component: one for (_, component), one in found.items()}


def test_every_kind_has_its_components() -> None:
    assert set(of(container)) == EVERY | GROUPS
    assert set(of(machine)) == EVERY | {"steal"} | KVMS
    assert set(of(sandbox)) == EVERY | {"execution"}


def test_a_measurement_stands_beside_its_prediction() -> None:
    found = of(container)
    assert found["run_queue_delay"].measured == pytest.approx(0.2)
    assert found["throttled_periods"].measured == pytest.approx(0.1)
    assert found["memory_overhead"].measured == 2 * MIB
    assert found["walk_cost"].measured is None
    for one in found.values():
        # Its threads slept at times: it did not ask for its share.
        is_judged = one.measured is not None and one.component != "cpu_share"
        assert one.inside == (one.lo <= (one.measured or 0.0) <= one.hi if is_judged else None)


def test_kinds_of_cost() -> None:
    kinds = {component: one.kind for (_, component), one in predictions().items()}
    assert kinds == {
        "run_queue_delay": "contention",
        "throttled_periods": "contention",
        "throttled_time": "contention",
        "steal": "contention",
        "cpu_share": "contention",
        "cpu_pressure": "contention",
        "halt_polling": "contention",
        "shared_cache": "contention",
        "exits": "intrinsic",
        "exit_time": "intrinsic",
        "shared_core": "contention",
        "switching": "intrinsic",
        "walk_references": "intrinsic",
        "walk_cost": "intrinsic",
        "remote_memory": "intrinsic",
        "execution": "intrinsic",
        "memory_overhead": "intrinsic",
        "start_time": "intrinsic",
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

    assert set(of(emulated)) == (EVERY | {"steal"}) - WALKS


def bound(passed: float, threads: int = 2, quota: float = 50_000, cpus: CpuSet = BOTH) -> Workload:
    """Threads that never sleep, and a quota they use up: run and delay in ten seconds as the kernel counts them."""
    made = container(passed)
    running = [
        replace(
            thread(50 + number, passed),
            voluntary_switches=7,
            run_ns=int(1e5 * quota * passed / threads),
            delay_ns=int(passed * (10 - quota / 1e4 / threads) * 1e9),
        )
        for number in range(threads)
    ]
    stopped = min(threads, len(cpus)) * 10 - quota / 1e4
    used = replace(
        cpu(passed, usage=quota / 1e4, quota=quota),
        throttled_periods=int(100 * passed),
        throttled_usec=int(stopped * 1e6 * passed),
        # Who stands still is under pressure.
        pressure_some_usec=int(1e7 * passed),
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
    assert (found["throttled_time"].lo, found["throttled_time"].value) == (0.0, 0.0)


def test_who_runs_out_of_its_quota_at_times_stands_still_for_half_of_what_that_leaves() -> None:
    """Threads that ask for a part of its quota on average, in bursts, 1.2 of them at a time."""
    found = of(lambda passed: replace(container(passed), cpu=cpu(passed)))
    periods, time = found["throttled_periods"], found["throttled_time"]
    assert 0 < periods.value < 1
    assert time.inputs["runnable_threads"] == pytest.approx(1.2)
    assert time.value == pytest.approx(periods.value * 1.2 * (1 - 0.5 / 1.2) / 2)
    assert time.lo < time.value < time.hi <= periods.hi
    assert time.measured == pytest.approx(0.01)
    assert time.inside


@pytest.mark.parametrize("quota", [None, UNLIMITED])
def test_no_quota_no_throttling(quota: Limit | None) -> None:
    found = of(lambda passed: replace(container(passed), cpu=replace(cpu(passed), quota_usec=quota)))
    assert "throttled_periods" not in found


def test_a_vcpu_with_a_quota_of_its_own_waits_nobody_knows_how_long() -> None:
    """libvirt's vcpu_quota is in the vCPU's group: held back there counts as run delay, and the machine's counters do not tell."""

    def limited(passed: float) -> Workload:
        made = machine(passed)
        return replace(made, vcpus=tuple(replace(vcpu, quota_usec=Limit(60_000), period_usec=100_000) for vcpu in made.vcpus))

    def waits(kind: Callable[[float], Workload]) -> set[str]:
        found = predict(Window(after=host(1.0, (kind(1.0),)), before=host(0.0, (kind(0.0),)), seconds=10.0))
        return {one.component for one in found} & {"run_queue_delay", "steal"}

    assert waits(machine) == {"run_queue_delay", "steal"}
    assert waits(limited) == set()


@pytest.mark.parametrize("machines", [2, 1])
def test_two_vcpus_that_never_sleep_on_one_cpu(machines: int) -> None:
    """Of two machines or of one: each waits half of the time, and the interval holds it though nobody else runs at either moment."""
    pin = CpuSet((1,))

    def one(name: str, passed: float) -> Workload:
        numbers = range(2 // machines)
        delay = int(5e9 * (1 + passed))
        threads = [replace(thread(21 + number, passed), allowed_cpus=pin, delay_ns=delay, voluntary_switches=3) for number in numbers]
        vcpus = tuple(VCpu(number=number, affinity=pin, pinned=True, thread=threads[number]) for number in numbers)
        return replace(machine(passed), id=name, vcpus=vcpus, threads=(), placement=Placement(allowed_cpus=pin))

    def at(passed: float) -> Host:
        found = host(passed, tuple(one(name, passed) for name in ("left", "right")[:machines]))
        times = (
            CpuTime(cpu=0, user_seconds=100, nice_seconds=0, system_seconds=0, idle_seconds=100 + 9 * passed),
            CpuTime(cpu=1, user_seconds=100 + 10 * passed, nice_seconds=0, system_seconds=0, idle_seconds=100),
        )
        # The two, and the agent.
        return replace(found, logical=replace(found.logical, cpu=replace(found.logical.cpu, times=times, runnable_tasks=3)))

    found = [found for (_, component), found in predictions(at(1.0), at(0.0)).items() if component == "steal"]
    assert [prediction.measured for prediction in found] == [0.5] * machines
    assert all(prediction.inside and 0.45 < prediction.lo < 0.5 < prediction.hi < 0.55 for prediction in found)


def test_locks_are_a_risk_where_vcpus_are_more_than_cpus() -> None:
    """A machine with two vCPUs that both run or wait, on one CPU."""

    def crowded(passed: float) -> Workload:
        made = machine(passed)
        busy = tuple(replace(vcpu, thread=vcpu.thread and replace(vcpu.thread, delay_ns=int(5e9 * (1 + passed)))) for vcpu in made.vcpus)
        return replace(made, vcpus=busy, placement=replace(made.placement, allowed_cpus=CpuSet((0,))))

    risk = of(crowded)["lock_holder_risk"]
    assert "upper_bound" in risk.validity
    assert risk.inputs["vcpus_per_cpu"] == pytest.approx(2)
    assert 1 < risk.lo < risk.value < risk.hi


def test_who_fits_into_its_part_of_the_cache_loses_nothing() -> None:
    def small(passed: float) -> Workload:
        made = container(passed)
        return replace(made, memory=replace(made.memory, stat={"anon": MIB, "file_mapped": 0, "anon_thp": 0}))

    assert of(container)["shared_cache"].hi > 0
    assert of(small)["shared_cache"].value == of(small)["shared_cache"].hi == 0


def test_a_host_that_is_a_guest_says_so_of_what_depends_on_its_load() -> None:
    """Its own steal is in the delays of who waits, and in none of who runs."""

    def guest(passed: float) -> Host:
        made = host(passed)
        return replace(made, identity=replace(made.identity, virtualization=Virtualization("guest", hypervisor="kvm")))

    flagged = {component for (_, component), one in predictions(guest(1.0), guest(0.0)).items() if "host_is_guest" in one.validity}
    assert {"run_queue_delay", "steal", "cpu_share", "cpu_pressure", "throttled_periods", "shared_core"} <= flagged
    assert not {"walk_cost", "memory_overhead", "start_time", "execution"} & flagged


def test_without_a_second_host_it_is_a_life() -> None:
    found = predict(Window(after=host(1.0)))
    assert all("since_start" in one.validity for one in found if one.kind == "contention")
    assert {one.component for one in found} >= {"run_queue_delay", "throttled_periods"}


def test_without_time_only_what_is_always_there() -> None:
    assert {component for _, component in predictions(seconds=0.0)} == {
        *WALKS,
        "remote_memory",
        "execution",
        "memory_overhead",
        "start_time",
    }


def test_twice_as_many_workloads_are_twice_as_dear() -> None:
    """In calls, which no neighbour on the machine changes; what they take is for `make bench` to say."""

    def crowd(passed: float, count: int) -> Host:
        made = [replace(kind(passed), id=f"{n}", identity=f"{n}:1") for n, kind in zip(range(count), cycle((container, machine, sandbox)))]
        used = [
            replace(one, cpu=cpu(passed, usage=3 + n / 1000)) if one.paradigm == "containerization" else one for n, one in enumerate(made)
        ]
        return host(passed, tuple(used))

    def calls(count: int) -> int:
        window, found = Window(after=crowd(1.0, count), before=crowd(0.0, count), seconds=10.0), 0

        def counted(_: object, event: str, __: object) -> None:
            nonlocal found
            found += event in ("call", "c_call")

        before = sys.getprofile()
        sys.setprofile(counted)
        try:
            predict(window)
        finally:
            sys.setprofile(before)
        return found

    half, whole = calls(150), calls(300)
    print(f"\n{whole / 300:.0f} calls for each of 300 workloads, {whole / half:.3f} times those of 150")
    assert 1.5 * half < whole < 2.05 * half
