"""The concept document's ordinal claims, held against the model and against what runs here.

An order is judged by differences, each over the corners of all parameters: what two sides share (the switch of a process is a part of
every paradigm's) moves both. holds: no corner contradicts it; violated: every corner does; undecided: the parameters do not say;
untested: what decides are the model's own defaults, which are no evidence. What follows from the structure of the layers, whatever the
parameters are, needs none. A claim of the model is made of intrinsic costs; beside it stands what this host's workloads measured, where two
kinds of them run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import pairwise

from agent.model.components import MEMORY_OVERHEAD, RUN_QUEUE_DELAY, Component
from agent.model.runtimes import Paradigm
from agent.model.snapshot import Claim, Param, Prediction, Verdict
from agent.model.workload import Workload
from agent.overhead import memory, parameters, translation, two_level, wasm
from agent.overhead.calibrated import DIRECT
from agent.overhead.lost import measured_lost
from agent.overhead.parameter_set import DEFAULTS, Parameters, bounds

Cost = Callable[..., float]

# The application that all three paradigms run for the memory claim: one process, 64 MiB, a guest of 512 MiB.
_APPLICATION_BYTES = 64 * parameters.MIB
_GUEST_BYTES = 512 * parameters.MIB
_NAMES_SHOWN = 2
_ORDER: tuple[Paradigm, ...] = ("containerization", "sandbox", "virtualization")


def order(costs: Sequence[Cost], *params: Param) -> Verdict:
    """Whether each cost is at most the next one, for all values of the parameters that they share."""
    differences = [bounds(lambda *values, a=a, b=b: b(*values) - a(*values), *params) for a, b in pairwise(costs)]
    if all(low >= 0 for _, low, _ in differences):
        return "holds"
    return "violated" if any(high < 0 for _, _, high in differences) else "undecided"


def tested(verdict: Verdict, evidence: str, given: Parameters, *params: Param) -> tuple[Verdict, str]:
    """The verdict and its evidence; that the claim was not tested, where this host has not measured each of the parameters itself."""
    defaults = [param for param in params if given[param].origin == "default"]
    if not defaults:
        return verdict, evidence
    measurable = {param.name for param in DIRECT.values()}
    if unmeasurable := [param.name for param in defaults if param.name not in measurable]:
        more = f" and {len(unmeasurable) - _NAMES_SHOWN} more" if len(unmeasurable) > _NAMES_SHOWN else ""
        return "untested", f"nothing here measures {', '.join(unmeasurable[:_NAMES_SHOWN])}{more}: {evidence} by default"
    return "untested", f"until agent calibrate measures it: {evidence} by default"


def within(param: Param, low_ns: float, high_ns: float) -> Verdict:
    """Whether a latency (its parameter in seconds) lies in the document's band."""
    low, high = round(param.lo * 1e9, 6), round(param.hi * 1e9, 6)
    if low_ns <= low and high <= high_ns:
        return "holds"
    return "violated" if high < low_ns or high_ns < low else "undecided"


def claims(workloads: Sequence[Workload], predictions: Sequence[Prediction], given: Parameters = DEFAULTS) -> tuple[Claim, ...]:
    return (*_of_model(given), *_of_host(workloads, predictions))


@lru_cache(4)
def _of_model(given: Parameters) -> tuple[Claim, ...]:
    """What the parameters alone decide, whatever runs here."""
    return (
        Claim(
            id="scheduling_delay",
            section="11.3",
            claim="scheduling delay: container, then sandbox, then virtual machine",
            basis="model",
            verdict="holds",
            evidence="host wait; host wait + runtime queue; host wait + guest wait/(1 - steal): each adds what cannot be negative",
        ),
        _context_switch(given),
        _performance(given),
        _translation(),
        _memory_overhead(given),
        _start_time(given),
        _latency("L1", given, parameters.L1_SECONDS, 1, 2),
        _latency("L2", given, parameters.L2_SECONDS, 3, 10),
        _latency("L3", given, parameters.L3_SECONDS, 20, 40),
        _latency("DRAM", given, parameters.DRAM_SECONDS, 50, 100),
        Claim(
            id="isolation",
            section="11.4",
            claim="isolation: virtual machine, then sandbox, then container",
            basis="model",
            verdict="undecided",
            evidence="not a quantity that a host shows; the mechanisms of each workload stand beside it",
        ),
    )


def _of_costs(id_: str, section: str, claim: str, judged: tuple[Verdict, str]) -> Claim:
    verdict, evidence = judged
    return Claim(id=id_, section=section, claim=claim, basis="model", verdict=verdict, evidence=evidence)


def _context_switch(given: Parameters) -> Claim:
    defaults = parameters.SWITCH_PROCESS, parameters.INSTANCE_SWITCH, parameters.SWITCH_VCPU
    process, instance, vcpu = (given[param] for param in defaults)
    costs: tuple[Cost, ...] = (
        lambda process, instance, vcpu: process,
        lambda process, instance, vcpu: process + instance,
        lambda process, instance, vcpu: process + vcpu,
    )
    evidence = f"{_us(process)}; the same + {_us(instance)}; the same + {_us(vcpu)}"
    judged = tested(order(costs, process, instance, vcpu), evidence, given, *defaults)
    return _of_costs("context_switch", "11.3", "context switch: container, then sandbox, then virtual machine", judged)


def _performance(given: Parameters) -> Claim:
    defaults = (
        *(parameters.CODE, parameters.GUARDED_BOUNDS, parameters.WALKING_COMPUTE),
        *(parameters.EXITS_BUSY, parameters.EXIT_KERNEL),
    )
    params = [given[param] for param in defaults]
    costs: tuple[Cost, ...] = (
        lambda code, bound, walking, rate, cost: 1.0,
        lambda code, bound, walking, rate, cost: wasm.execution_factor(code, bound, 0.0),
        lambda code, bound, walking, rate, cost: (1 + walking) * (1 + two_level.exit_overhead(((rate, cost),), 1.0)),
    )
    evidence = f"none; code {_range(params[0])} of native time; walks {_range(params[2])} and exits: at the modes a sandbox costs more"
    judged = tested(order(costs, *params), evidence, given, *defaults)
    return _of_costs("performance", "11.2", "overhead of computing code: container, then sandbox, then virtual machine", judged)


def _translation() -> Claim:
    native, nested = translation.references_native(4, 0), translation.references_nested(4, 4)
    return Claim(
        id="translation",
        section="11.3",
        claim="address translation costs less in a container than in a virtual machine",
        basis="model",
        verdict="holds" if native < nested else "violated",
        evidence=f"{native} references a walk, and {nested} with 4 KiB pages on both levels",
    )


def _memory_overhead(given: Parameters) -> Claim:
    defaults = (
        *(parameters.PAGE_TABLES, parameters.KERNEL_PER_THREAD, parameters.KERNEL_PER_PROCESS),
        *(parameters.QEMU_BASE, parameters.GUEST_KERNEL),
    )
    params = [given[param] for param in defaults]
    evidence = f"page tables of a reservation; kernel memory of a process ({_mib(params[2])}); a guest's kernel ({_mib(params[4])})"
    judged = tested(order((_sandbox_bytes, _container_bytes, _machine_bytes), *params), evidence, given, *defaults)
    return _of_costs("memory_overhead", "11.3", "memory overhead: sandbox, then container, then virtual machine", judged)


def _start_time(given: Parameters) -> Claim:
    defaults = parameters.INSTANTIATE, parameters.ENGINE, parameters.BOOT_FULL
    instance, engine, boot = (given[param] for param in defaults)
    costs: tuple[Cost, ...] = (
        lambda instance, engine, boot: instance,
        lambda instance, engine, boot: engine,
        lambda instance, engine, boot: boot,
    )
    evidence = f"{_us(instance)}; {_range(engine)} s; {_range(boot)} s with firmware"
    judged = tested(order(costs, instance, engine, boot), evidence, given, *defaults)
    return _of_costs("start_time", "11.3", "start: sandbox, then container, then virtual machine", judged)


def _latency(name: str, given: Parameters, default: Param, low_ns: float, high_ns: float) -> Claim:
    """Of a level of the memory hierarchy: whether the document's band holds it."""
    param = given[default]
    values = f"{param.lo * 1e9:.3g}..{param.hi * 1e9:.3g} ns"
    origin = "" if param.origin == "default" else f" {param.origin}"
    judged = tested(within(param, low_ns, high_ns), f"{values}{origin}", given, default)
    return _of_costs(f"latency_{name}", "3.1.1", f"{name} answers in {low_ns:g}-{high_ns:g} ns", judged)


def _of_host(workloads: Sequence[Workload], predictions: Sequence[Prediction]) -> tuple[Claim, ...]:
    """What is measured in every workload of a kind lies below (above) what is measured in every one of the next kind."""
    kinds = {workload.id: workload.paradigm for workload in workloads}
    claims = []
    for id_, section, component, order_ in (
        ("scheduling_delay", "11.3", RUN_QUEUE_DELAY, _ORDER),
        ("memory_overhead", "11.3", MEMORY_OVERHEAD, ("sandbox", "containerization", "virtualization")),
    ):
        measured: dict[Paradigm, list[float]] = {}
        for prediction in predictions:
            if prediction.component == component.name and prediction.workload in kinds:
                # A workload that hardly runs hardly waits: what counts is the waiting in each second that it wants to run.
                figure = measured_lost(prediction) if component is RUN_QUEUE_DELAY else prediction.measured
                if figure is not None:
                    measured.setdefault(kinds[prediction.workload], []).append(figure)
        ranges = [(kind, min(measured[kind]), max(measured[kind])) for kind in order_ if kind in measured]
        if len(ranges) < 2:
            continue
        steps = [(before[2] <= after[1], before[1] > after[2]) for before, after in pairwise(ranges)]
        verdict: Verdict = "holds" if all(up for up, _ in steps) else "violated" if any(down for _, down in steps) else "undecided"
        text = f"{component.words}: " + ", then ".join(kind for kind, _, _ in ranges)
        evidence = "; ".join(f"{kind} {_between(low, high, component)}" for kind, low, high in ranges)
        claims.append(Claim(id=id_, section=section, claim=text, basis="measured", verdict=verdict, evidence=evidence))
    return tuple(claims)


def _between(low: float, high: float, component: Component) -> str:
    scale, unit = (parameters.MIB, "MiB") if component.unit == "bytes" else (1.0, "of the time that it wants to run")
    ends = dict.fromkeys(f"{end / scale:.3g}" for end in (low, high))
    return f"{'..'.join(ends)} {unit}"


def _sandbox_bytes(tables: float, thread: float, process: float, base: float, kernel: float) -> float:
    return memory.sandbox_bytes(1, 0.0, 0.0, tables)


def _container_bytes(tables: float, thread: float, process: float, base: float, kernel: float) -> float:
    return memory.container_kernel_bytes(thread, 1, process, 1, 0.0, 1, _APPLICATION_BYTES / translation.PER_TABLE)


def _machine_bytes(tables: float, thread: float, process: float, base: float, kernel: float) -> float:
    return memory.qemu_bytes(base, 0.0, 1, 0.0, 0, 0.0) + kernel + _GUEST_BYTES / 64


def _range(param: Param) -> str:
    return f"{param.lo:g}..{param.hi:g}"


def _us(param: Param) -> str:
    return f"{param.lo * 1e6:g}..{param.hi * 1e6:g} us"


def _mib(param: Param) -> str:
    return f"{param.lo / parameters.MIB:.3g}..{param.hi / parameters.MIB:.3g} MiB"
