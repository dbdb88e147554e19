"""Two-level scheduling: a guest's tasks wait for a vCPU, the vCPU waits for a CPU; exits and halts between.

Sources: Documentation/virt/kvm/halt-polling.rst; KVM's statistics (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD); the document's
"total latency = guest scheduling + hypervisor scheduling", which holds as an equality only while no vCPU is descheduled.
"""

from __future__ import annotations

from functools import lru_cache

from agent.model.components import LOCK_HOLDER_RISK, STEAL
from agent.model.snapshot import ByContention, Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.bands import band
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window

_STEAL = "delay/(delay + run) of the vCPU threads, the delay as predicted"


def total_delay_seconds(host: float, guest: float, steal: float) -> float:
    """A guest's own wait is stretched by the time in which its vCPUs do not run: L_h + L_g/(1 - sigma), sigma in [0, 1)."""
    return host + guest / (1 - steal)


def steal_share(delay: float, run: float) -> float | None:
    """Sigma: of the time in which the vCPU threads could run, the share in which they waited. None where they did neither."""
    return delay / (delay + run) if delay + run > 0 else None


def overcommit(active_vcpus: float, cpus: float) -> float:
    """Active vCPUs a CPU."""
    return active_vcpus / cpus


def steal_overcommitted(ratio: float) -> float:
    """Sigma when all active vCPUs are busy and weigh the same."""
    return 0.0 if ratio <= 1 else 1 - 1 / ratio


def exit_overhead(rates: tuple[tuple[float, float], ...], run_share: float) -> float:
    """Extra time by exits: (exits a second, seconds an exit) by reason, over the share of a second in which the vCPUs ran."""
    return sum(rate * cost for rate, cost in rates) / run_share


def wake_seconds(poll_hit_share: float, ipi: float, exit_cost: float, wake: float) -> float:
    """From an interrupt for a halted vCPU to its first instruction: KVM that polls sees it at once, else the host wakes a thread."""
    return ipi + poll_hit_share * exit_cost + (1 - poll_hit_share) * (exit_cost + wake)


def polling_cpus(success_seconds: float, fail_seconds: float, seconds: float) -> float:
    """CPUs that KVM burns while it polls for halted vCPUs."""
    return (success_seconds + fail_seconds) / seconds


def lock_holder_bound(vcpus: int, ratio: float, locked_share: float, section_seconds: float, off_seconds: float) -> float:
    """The most that preempted lock holders can slow a guest down, for fair locks without paravirtual help: a risk, no estimate.

    `off_seconds` is how long a vCPU stays off its CPU; with pause-loop exits or paravirtual locks, what those leave of it.
    """
    if vcpus <= 1 or ratio <= 1:
        return 1.0
    return 1 + locked_share * (1 - 1 / ratio) * (vcpus - 1) / vcpus * off_seconds / section_seconds


@lru_cache(1)
def _locked_by_section() -> tuple[float, float, float]:
    return band(lambda locked, section: locked / section, parameters.LOCKED, parameters.LOCK_SECTION)


def lock_holder(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """How much slower a guest may get by vCPUs that are off their CPU while they hold a lock: a bound, which most guests stay far below.

    Guests that yield in a spin (paravirtual locks, pause-loop exits) are spared most of it; whether they do is not seen from here.
    """
    cpus, run, delay, slices = workload.placement.allowed_cpus, activity.run_seconds, activity.delay_seconds, activity.timeslices
    if workload.paradigm != "virtualization" or not cpus or run is None or delay is None or not slices:
        return None
    wanted = window.wanted_by_vcpus(cpus)
    if wanted is None:
        return None
    vcpus, ratio, off = len(workload.vcpus), overcommit(wanted, len(cpus)), delay / slices
    if vcpus <= 1 or ratio <= 1:
        # Nobody waits for a holder that is off its CPU: there is no risk to speak of.
        return None
    # It goes with the quotient of both, whatever the machine.
    point, low, high = (lock_holder_bound(vcpus, ratio, quotient, 1.0, off) for quotient in _locked_by_section())
    interval = point, low, high
    inputs = {"vcpus": float(vcpus), "vcpus_per_cpu": ratio, "off_seconds": off}
    formula = "at most 1 + locked share * (1 - 1/overcommitment) * (v - 1)/v * time off the CPU/critical section, for fair locks"
    flags = [*weaknesses(activity, window), "upper_bound", "prior_only", "no_counterpart"]
    return prediction(workload, LOCK_HOLDER_RISK, interval, formula=formula, inputs=inputs, flags=flags)


def steal(workload: Workload, activity: Activity, waits: Prediction | None) -> Prediction | None:
    """Share of the time that a machine wants to run in which its vCPUs wait: what its guest sees as steal.

    `waits` is the run-queue delay of its vCPU threads as predicted.
    """
    run, delay = activity.run_seconds, activity.delay_seconds
    if workload.paradigm != "virtualization" or waits is None or not run:
        return None
    own = run / activity.seconds

    # Written so that each step keeps the order of what it is given: of two delays that differ in their last digit, the larger may have the
    # smaller quotient with delay + run.
    def stolen(waits: Prediction | ByContention) -> tuple[float, float, float]:
        point, lo, hi = (1 / (1 + own / figure) if figure else 0.0 for figure in (waits.value, waits.lo, waits.hi))
        return point, lo, hi

    other = None if waits.by_contention is None else ByContention(*stolen(waits.by_contention), _STEAL)
    measured = None if delay is None else steal_share(delay, run)
    inputs = {"run_queue_delay": waits.value, "run_share": own}
    flags = [flag for flag in waits.validity if flag != "ok"]
    return prediction(workload, STEAL, stolen(waits), formula=_STEAL, inputs=inputs, flags=flags, measured=measured, by_contention=other)
