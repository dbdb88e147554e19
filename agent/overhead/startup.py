"""From "start" to the first instruction of the workload, in seconds: create, load, boot, get ready. Caches warm, images present.

Sources beside the parameters.
"""

from __future__ import annotations

from functools import lru_cache

from agent.model.components import START_TIME
from agent.model.snapshot import Param, Prediction
from agent.model.workload import Workload
from agent.overhead import parameters
from agent.overhead.bands import band, percentiles
from agent.overhead.prediction import prediction


def start_seconds(create: float, load: float = 0.0, boot: float = 0.0, ready: float = 0.0, cpu_share: float = 1.0) -> float:
    """On a host that gives the starting thread `cpu_share` of a CPU."""
    return (create + load + boot + ready) / cpu_share


@lru_cache(16)
def _taking(*parts: Param) -> tuple[float, float, float]:
    """The same for all workloads of a kind."""
    return band(start_seconds, *parts)


def start_time(workload: Workload) -> Prediction | None:
    """What starting such a workload takes on an idle host with its images and modules at hand."""
    flags = ["prior_only", "no_counterpart"]
    match workload.paradigm:
        case "virtualization":
            # How a guest boots is not seen from outside: from a kernel that is handed over to firmware and a distribution.
            value, _, hi = _taking(parameters.CREATE_VM, parameters.BOOT_FULL)
            lo = start_seconds(percentiles(parameters.CREATE_VM)[0], percentiles(parameters.BOOT_DIRECT)[0])
            formula = "the machine, its firmware and its system up to init; at least a kernel without firmware"
            interval = value, lo, hi
        case "containerization":
            interval = _taking(parameters.ENGINE)
            formula = "an engine's container, its image unpacked"
        case "sandbox":
            interval = _taking(parameters.INSTANTIATE)
            formula = "an instance of a compiled module in a runtime that runs"
        case _:
            interval = _taking(parameters.SPAWN)
            formula = "posix_spawn of a process"
    return prediction(workload, START_TIME, interval, formula=formula, inputs={}, flags=flags)
