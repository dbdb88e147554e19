"""Exits of a machine's vCPUs and the polling of halted ones, beside KVM's own counters.

Sources: KVM_GET_STATS_FD (Documentation/virt/kvm/api.rst) for the counters' names; Documentation/virt/kvm/halt-polling.rst. A vCPU that
halts is polled for up to a window that doubles from 10 us to halt_poll_ns; whoever is not woken within it has used all of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.model.components import EXIT_TIME, EXITS, HALT_POLLING
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.bands import percentiles, summed
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window

_BY_EMULATOR = ("io_exits", "mmio_exits")


def exits(workload: Workload, window: Window, activity: Activity) -> Iterable[Prediction | None]:
    """Exits a second, the time that they take, and the CPUs that polling burns; of a machine that KVM runs."""
    run, guest = activity.run_seconds, workload.guest
    if workload.paradigm != "virtualization" or guest is None or guest.accelerator != "kvm" or not run:
        return
    share, flags, counted = run / activity.seconds, weaknesses(activity, window), activity.kvm
    usual = parameters.EXITS_BUSY
    low, _, high = percentiles(usual)
    interval = usual.mode * share, low * share, high * share
    formula = "exits of a busy vCPU that does no input or output, by how many are busy; devices add theirs"
    rate = counted.get("exits")
    inputs = {"busy_vcpus": share, "exits_per_busy_vcpu": usual.mode}
    yield prediction(workload, EXITS, interval, formula=formula, inputs=inputs, flags=[*flags, "prior_only"], measured=rate)
    yield _cost(window, workload, share, counted, flags)
    yield _polling(workload, window, counted, flags)


def _cost(window: Window, workload: Workload, share: float, counted: dict[str, float], flags: list[str]) -> Prediction | None:
    """Time in exits over the time in which the vCPUs ran. Absent where nobody counts them: the usual rate is another machine's."""
    rate, given = counted.get("exits"), window.given
    if rate is None or any(name not in counted for name in _BY_EMULATOR):
        return None
    in_emulator = min(rate, sum(counted[name] for name in _BY_EMULATOR))
    in_kernel, short, long = rate - in_emulator, given[parameters.EXIT_KERNEL], given[parameters.EXIT_USER]
    interval = summed((in_kernel / share, short), (in_emulator / share, long))
    inputs = {"exits_per_second": rate, "by_emulator_per_second": in_emulator, "exit_seconds": short.mode, "emulated_seconds": long.mode}
    formula = "exits a second, each with its cost in the kernel or in the emulator, over the share of a second in which the vCPUs ran"
    return prediction(workload, EXIT_TIME, interval, formula=formula, inputs=inputs, flags=[*flags, "no_counterpart"])


def _polling(workload: Workload, window: Window, counted: dict[str, float], flags: list[str]) -> Prediction | None:
    attempted, successful = counted.get("halt_attempted_poll"), counted.get("halt_successful_poll")
    kvm = window.after.logical.kvm
    longest = None if kvm is None or kvm.halt_poll_ns is None else kvm.halt_poll_ns * 1e-9
    if attempted is None or successful is None or longest is None or successful > attempted:
        return None
    least = min(parameters.POLL_SECONDS.lo, longest)
    # A successful poll ends halfway through its window, on average. The current window is not exported.
    polls = attempted - successful / 2
    interval = polls * (least * longest) ** 0.5, (attempted - successful) * least, attempted * longest
    spent = [counted.get(name) for name in ("halt_poll_success_ns", "halt_poll_fail_ns")]
    measured = None if None in spent else sum(ns for ns in spent if ns is not None) * 1e-9
    inputs = {"polls_per_second": attempted, "successful_per_second": successful, "longest_seconds": longest}
    formula = "polls a second by a window between 10 us and halt_poll_ns; one that is successful ends within it"
    return prediction(workload, HALT_POLLING, interval, formula=formula, inputs=inputs, flags=flags, measured=measured)
