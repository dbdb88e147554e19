"""Every cost that the model predicts, one row each; the units that they come in.

A formula takes name, unit and kind of its figures from here, views their meaning and place on the stack, metrics the base unit. A new
component is a constant here and its name in `COMPONENTS`; a new unit is a word in `Unit` and its row in `UNITS`.
"""

from __future__ import annotations

from typing import Literal, get_args

from agent.model.runtimes import Paradigm
from agent.model.values import Fact
from agent.model.workload import LayerName

Unit = Literal["ratio", "seconds/second", "bytes", "references/walk", "seconds", "seconds/walk", "CPUs", "1/second", "times"]
Kind = Literal["intrinsic", "contention"]
"""intrinsic: there on an idle host, too; contention: follows from the present load."""


class UnitRow(Fact, frozen=True):
    """`metric` is the base unit in the names of metric families; a difference of less than `negligible` of the unit is none."""

    metric: str
    negligible: float


UNITS: dict[Unit, UnitRow] = {
    "ratio": UnitRow("ratio", 1e-3),
    "seconds/second": UnitRow("ratio", 1e-3),
    "bytes": UnitRow("bytes", 4096.0),
    "references/walk": UnitRow("references", 1e-9),
    "seconds": UnitRow("seconds", 1e-6),
    "seconds/walk": UnitRow("seconds", 1e-9),
    "CPUs": UnitRow("cpus", 1e-3),
    "1/second": UnitRow("per_second", 1.0),
    "times": UnitRow("ratio", 1e-9),
}

METRIC_UNITS = tuple(dict.fromkeys(row.metric for row in UNITS.values()))


class Component(Fact, frozen=True, kw_only=True):
    """One cost of a workload's layers.

    `layers`: on which layer of a workload's stack it arises, for each paradigm that can have it; `resource`: in which half of the stack.
    `meaning`: said of the workload, as in "container web: MEANING: 3 ms a second". `bound`: why no true value lies above it, and `most`,
    where that is a number, or `most_input`, where it is an input of the figure. `measured_by`: the host's own counter of the same thing, by
    paradigm; none: nothing on the host counts it.
    `lost_time`: "extra" is what of its running it would not need, "waiting" time in which it does not run and wants to; None: of another
    kind, the same for all of its kind, or without a witness on the host.
    `open_above`: what is predicted is the least there is; a larger measurement is no miss.
    """

    name: str
    unit: Unit
    kind: Kind
    resource: Literal["cpu", "memory"]
    layers: dict[Paradigm, LayerName]
    meaning: str
    bound: str
    most: float | None = None
    most_input: str | None = None
    measured_by: dict[Paradigm, str] = {}
    lost_time: Literal["extra", "waiting"] | None = None
    open_above: bool = False

    @property
    def of_one_paradigm(self) -> bool:
        """Whether the other paradigms have no such layer, rather than a cost that is not known."""
        return len(self.layers) == 1

    @property
    def words(self) -> str:
        """ "run queue delay"."""
        return self.name.replace("_", " ")


_PARADIGMS: tuple[Paradigm, ...] = get_args(Paradigm)
_HARDWARE: dict[Paradigm, LayerName] = dict.fromkeys(_PARADIGMS, "hardware")
_HOST: dict[Paradigm, LayerName] = {
    "virtualization": "hypervisor",
    "containerization": "host OS",
    "sandbox": "host OS",
    "process": "host OS",
}
_OWN: dict[Paradigm, LayerName] = {
    "virtualization": "guest OS",
    "containerization": "container",
    "sandbox": "runtime",
    "process": "application",
}
_HYPERVISOR: dict[Paradigm, LayerName] = {"virtualization": "hypervisor"}


def _everywhere(source: str) -> dict[Paradigm, str]:
    return dict.fromkeys(_PARADIGMS, source)


RUN_QUEUE_DELAY = Component(
    name="run_queue_delay",
    unit="seconds/second",
    kind="contention",
    resource="cpu",
    layers=_HOST,
    meaning="waits for a CPU",
    bound="each of its threads waits at most all of the time",
    most_input="threads",
    measured_by=_everywhere("/proc/PID/task/TID/schedstat, field 2"),
    lost_time="waiting",
)
STEAL = Component(
    name="steal",
    unit="ratio",
    kind="contention",
    resource="cpu",
    layers={"virtualization": "guest OS"},
    meaning="waits for a CPU, as its guest sees it (steal)",
    bound="a share of the time in which its vCPU threads could run",
    most=1.0,
    measured_by={"virtualization": "/proc/PID/task/TID/schedstat of the vCPU threads, fields 1 and 2"},
)
CPU_PRESSURE = Component(
    name="cpu_pressure",
    unit="seconds/second",
    kind="contention",
    resource="cpu",
    layers=_HOST,
    meaning="some thread of it waits for a CPU (pressure)",
    bound="a share of the time",
    most=1.0,
    measured_by=_everywhere("cpu.pressure some total"),
)
CPU_SHARE = Component(
    name="cpu_share",
    unit="CPUs",
    kind="contention",
    resource="cpu",
    layers=_HOST,
    meaning="fair share of CPU",
    bound="the CPUs allowed, and the tightest quota",
    most_input="most_cpus",
    measured_by=_everywhere("/proc/PID/task/TID/schedstat, field 1"),
)
THROTTLED_PERIODS = Component(
    name="throttled_periods",
    unit="ratio",
    kind="contention",
    resource="cpu",
    layers=_HOST,
    meaning="throttled periods",
    bound="a share of its quota's periods",
    most=1.0,
    measured_by=_everywhere("cpu.stat nr_throttled/nr_periods"),
)
THROTTLED_TIME = Component(
    name="throttled_time",
    unit="seconds/second",
    kind="contention",
    resource="cpu",
    layers=_HOST,
    meaning="throttled time",
    bound="each run queue of the CPUs allowed stands still at most all of the time",
    most_input="cpus",
    measured_by=_everywhere("cpu.stat throttled time"),
)
SWITCHING = Component(
    name="switching",
    unit="ratio",
    kind="intrinsic",
    resource="cpu",
    layers=_HOST,
    meaning="switches between threads",
    bound="the kernel counts a switch as running: a share of that",
    most=1.0,
    lost_time="extra",
)
SHARED_CORE = Component(
    name="shared_core",
    unit="ratio",
    kind="contention",
    resource="cpu",
    layers=_HARDWARE,
    meaning="slowed by the other thread of its core",
    bound="both threads of a core together do at least the work of one: half the speed",
    most=1.0,
    lost_time="extra",
)
SHARED_CACHE = Component(
    name="shared_cache",
    unit="ratio",
    kind="contention",
    resource="memory",
    layers=_HARDWARE,
    meaning="slowed by who shares its last-level cache",
    bound="all accesses go to memory instead of to the cache",
)
LOCK_HOLDER_RISK = Component(
    name="lock_holder_risk",
    unit="times",
    kind="contention",
    resource="cpu",
    layers=_HYPERVISOR,
    meaning="slower at most by locks that preempted vCPUs hold",
    bound="all of the others wait for one vCPU that is off its CPU",
)
EXITS = Component(
    name="exits",
    unit="1/second",
    kind="intrinsic",
    resource="cpu",
    layers=_HYPERVISOR,
    meaning="exits from the guest",
    bound="one after the other, each as short as an exit can be",
    measured_by={"virtualization": "exits in KVM's statistics of the vCPUs"},
    # Devices add theirs.
    open_above=True,
)
EXIT_TIME = Component(
    name="exit_time",
    unit="ratio",
    kind="intrinsic",
    resource="cpu",
    layers=_HYPERVISOR,
    meaning="time in exits from the guest",
    bound="the kernel counts an exit as running of the vCPU thread: a share of that",
    most=1.0,
    lost_time="extra",
)
HALT_POLLING = Component(
    name="halt_polling",
    unit="CPUs",
    kind="contention",
    resource="cpu",
    layers=_HYPERVISOR,
    meaning="CPU time burnt by polling for halted vCPUs",
    bound="one CPU for each vCPU",
    measured_by={"virtualization": "halt_poll_success_ns and halt_poll_fail_ns in KVM's statistics of the vCPUs"},
)
WALK_REFERENCES = Component(
    name="walk_references",
    unit="references/walk",
    kind="intrinsic",
    resource="memory",
    layers=_HOST,
    meaning="table entries read by one page walk",
    bound="5 levels in the guest, 5 on the host, none of them cached: 5 * 5 + 5 + 5",
    most=35.0,
)
WALK_COST = Component(
    name="walk_cost",
    unit="seconds/walk",
    kind="intrinsic",
    resource="memory",
    layers=_HOST,
    meaning="one page walk",
    bound="all of its references go to memory",
)
REMOTE_MEMORY = Component(
    name="remote_memory",
    unit="ratio",
    kind="intrinsic",
    resource="memory",
    layers=_HARDWARE,
    meaning="slowed by memory on another node",
    bound="all accesses go to the farthest node that holds memory of it",
    lost_time="extra",
)
EXECUTION = Component(
    name="execution",
    unit="ratio",
    kind="intrinsic",
    resource="cpu",
    layers={"sandbox": "runtime"},
    meaning="slower than native code",
    bound="interpreted code",
)
MEMORY_OVERHEAD = Component(
    name="memory_overhead",
    unit="bytes",
    kind="intrinsic",
    resource="memory",
    layers={"virtualization": "hypervisor", "containerization": "host OS", "sandbox": "runtime"},
    meaning="memory taken by this layer itself",
    bound="the memory of the host",
    measured_by={
        "virtualization": "resident size of QEMU less that of the guest's memory (status, smaps)",
        "containerization": "memory.stat kernel (v1: memory.kmem.usage_in_bytes)",
    },
)
START_TIME = Component(
    name="start_time",
    unit="seconds",
    kind="intrinsic",
    resource="cpu",
    layers=_OWN,
    meaning="start time of another one",
    bound="none: a boot may wait for anything",
)

COMPONENTS = {
    component.name: component
    for component in (
        RUN_QUEUE_DELAY,
        STEAL,
        CPU_PRESSURE,
        CPU_SHARE,
        THROTTLED_PERIODS,
        THROTTLED_TIME,
        SWITCHING,
        SHARED_CORE,
        SHARED_CACHE,
        LOCK_HOLDER_RISK,
        EXITS,
        EXIT_TIME,
        HALT_POLLING,
        WALK_REFERENCES,
        WALK_COST,
        REMOTE_MEMORY,
        EXECUTION,
        MEMORY_OVERHEAD,
        START_TIME,
    )
}
