"""Context switches: the switch itself, and the cache that has to be filled again.

Source: Li, Ding and Shen, "Quantifying the cost of context switch" (ExpCS 2007) for the split in direct and indirect cost.
"""

from __future__ import annotations

from agent.model.components import SWITCHING
from agent.model.snapshot import Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.activity import Activity
from agent.overhead.bands import percentiles
from agent.overhead.prediction import prediction, weaknesses
from agent.overhead.window import Window

LINE_BYTES = 64


def evicted_bytes(working_set: float, others: float, capacity: float, in_order: float = 0.0) -> float:
    """What the others push out of a cache of `capacity` bytes between two runs.

    As much as does not fit where replacement is random; where it is strictly by age (`in_order` 1) and the set is gone through in the
    same order again, all of it: what is needed next is always the oldest.
    """
    if working_set <= 0:
        return 0.0
    excess = min(1.0, max(0.0, (working_set + others - capacity) / capacity))
    if excess > 0:
        excess += in_order * (1 - excess)
    return min(working_set, capacity) * excess


def refill_streaming_seconds(evicted: float, outer_bytes_per_second: float, inner_bytes_per_second: float) -> float:
    """The data comes back in order, at the bandwidth of the next level."""
    return evicted * max(0.0, 1 / outer_bytes_per_second - 1 / inner_bytes_per_second)


def refill_random_seconds(evicted: float, outer_latency: float, inner_latency: float, parallel_misses: float) -> float:
    """The data comes back line by line, `parallel_misses` at a time."""
    return evicted / LINE_BYTES * max(0.0, outer_latency - inner_latency) / parallel_misses


def switching_overhead(switches_per_second: float, switch_seconds: float, run_share: float) -> float:
    """Extra time: switches cost what the workload, which runs for `run_share` of a second, does not compute."""
    return switches_per_second * switch_seconds / run_share


def switching(workload: Workload, window: Window, activity: Activity) -> Prediction | None:
    """Time that the switches of the workload's threads take, over the time in which they ran: the direct cost only.

    Of a machine its vCPUs' switches on the host; the guest's own are not seen from here.
    """
    count, run = activity.switches, activity.run_seconds
    if count is None or not run:
        return None
    rate, share = count / activity.seconds, run / activity.seconds
    cost = window.given[parameters.SWITCH_VCPU if workload.paradigm == "virtualization" else parameters.SWITCH_PROCESS]
    low, _, high = percentiles(cost)
    interval = (
        switching_overhead(rate, cost.mode, share),
        switching_overhead(rate, min(low, cost.mode), share),
        switching_overhead(rate, max(high, cost.mode), share),
    )
    inputs = {"switches_per_second": rate, "run_share": share, "switch_seconds": cost.mode}
    formula = "switches/s * direct cost / running share; what a switch leaves in the caches is not known"
    flags = [*weaknesses(activity, window), "no_counterpart"]
    return prediction(workload, SWITCHING, interval, formula=formula, inputs=inputs, flags=flags)
