"""Whatever a host says of itself, what is predicted of it is sound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from agent.model.host import Host
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from tests.unit.overhead_hosts import BOTH, container, host, machine, sandbox
from tests.unit.overhead_predictions import predictions

nonsense = st.sampled_from([0, 1, -1, -(10**18), 10**9, 10**18, 2**63, 2**64]) | st.integers(-(2**64), 2**64)
maybe = st.none() | nonsense
limits = st.sampled_from([None, UNLIMITED, Limit(0), Limit(-1), Limit(1e300), Limit(1), Limit(50_000)])


@settings(max_examples=min(settings().max_examples ** 2 // 3, 3000))
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
        threads = tuple(
            replace(
                one,
                run_ns=number(),
                delay_ns=number(),
                timeslices=number(),
                start_ticks=number(),
                voluntary_switches=number(),
                last_cpu=number(),
            )
            for one in made.threads
        )
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
        placement = replace(
            made.placement, allowed_cpus=cpus, last_cpus=cpus, memory_by_node={0: data.draw(nonsense), 1: data.draw(nonsense)}
        )
        return replace(made, cpu=used, threads=threads, memory=memory, processes=number(), placement=placement)

    def drawn(passed: float) -> Host:
        workloads = tuple(draw(of(passed)) for of in (container, machine, sandbox))
        made = host(passed, workloads, busy=data.draw(st.floats(-1e9, 1e9)))
        online = data.draw(st.sampled_from([CpuSet(), CpuSet((0,)), BOTH]))
        kernel = replace(made.logical, cpu=replace(made.logical.cpu, page_table_levels=data.draw(maybe)))
        return replace(made, logical=kernel, physical=replace(made.physical, cpus=replace(made.physical.cpus, online=online)))

    predictions(drawn(1.0), drawn(0.0), data.draw(st.none() | st.floats(allow_nan=True, allow_infinity=True)))
