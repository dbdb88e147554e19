"""Figures of the model in words: what a component means, a value with its unit, a change as an order to the operator."""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.model.change import Change, Lost
from agent.model.components import COMPONENTS
from agent.model.snapshot import Prediction
from exporters.views.words import cpus, digits, size

WEAKNESSES = {
    "prior_only": "from published figures only",
    "saturated": "its CPUs are full",
    "extrapolated": "other weights, or a limit above it, are not in the formula",
    "host_is_guest": "this host is a guest itself",
    "short_window": "it slept only a few times: a longer --interval shows what it usually does",
    "since_start": "over its whole life",
    "impossible_delay": "without the sleep that the kernel counted as waiting",
    "accounting": "what threads that never slept did not run, they waited",
    "habit": "what its threads neither ran nor, as before, slept, they waited",
    "not_asked": "it did not ask for all that it would get",
    "shadow": "shadow page tables",
    "upper_bound": "a bound that hardly any guest reaches",
}

# A unit, its length in seconds, and from how many seconds on it is used.
_DURATIONS = (
    ("d", 86400.0, 172800.0),
    ("h", 3600.0, 7200.0),
    ("min", 60.0, 120.0),
    ("s", 1.0, 1.0),
    ("ms", 1e-3, 1e-3),
    ("us", 1e-6, 1e-6),
)


def meaning(component: str) -> str:
    """What it is to the workload: "waits for a CPU"."""
    return COMPONENTS[component].meaning


def figure(value: float, unit: str) -> str:
    """A value in one of the model's units: "12.5 ms a second", "0.5 CPUs", "23.5 GiB"."""
    match unit:
        case "ratio":
            return percent(value)
        case "seconds/second":
            return f"{duration(value)} a second"
        case "seconds":
            return duration(value)
        case "seconds/walk":
            return duration(value)
        case "1/second":
            return f"{digits(value)} a second"
        case "CPUs":
            return f"{digits(value)} {'CPU' if value == 1 else 'CPUs'}"
        case "times":
            return f"{digits(value)} times"
        case "references/walk":
            return f"{digits(value)}"
        case "bytes":
            return f"{'-' if value < 0 else ''}{size(round(abs(value)))}"
    return f"{digits(value)} {unit}"


def percent(ratio: float) -> str:
    return f"{digits(100 * ratio)} %"


def duration(seconds: float) -> str:
    """ "12.5 ms", "21.7 min"."""
    for unit, scale, least in _DURATIONS:
        # Three digits of 999.9 us are 1 ms.
        if abs(seconds) >= 0.9995 * least:
            return f"{digits(seconds / scale)} {unit}"
    return f"{digits(seconds / 1e-9)} ns" if seconds else "0 s"


def interval(lo: float, hi: float, unit: str) -> str:
    """ "3 to 5 CPUs": a unit that both have is written once."""
    first, last = figure(lo, unit), figure(hi, unit)
    common = next((end for end in (" a second", " CPUs", " times", " %") if first.endswith(end) and last.endswith(end)), "")
    return f"{first.removesuffix(common)} to {last}"


def predicted(prediction: Prediction) -> str:
    """The point, and the interval unless it reads the same."""
    unit = prediction.unit
    point = figure(prediction.value, unit)
    if figure(prediction.lo, unit) == figure(prediction.hi, unit) == point:
        return f"predicted {point}"
    return f"predicted {point} ({interval(prediction.lo, prediction.hi, unit)})"


def measured_words(prediction: Prediction) -> str | None:
    """The measurement, and whether it lies in the predicted interval, where that is judged.

    "As predicted" is for an interval that was learned from what earlier windows were off by: a wide prior one is no achievement.
    """
    if prediction.measured is None:
        return None
    measured = f"measured {figure(prediction.measured, prediction.unit)}"
    if prediction.inside is None:
        return measured
    at = 0 if prediction.inside else 1 if prediction.measured < prediction.lo else 2
    words = {
        "learned": ("as predicted", "less than predicted", "more than predicted"),
        "prior": ("inside the interval", "below the interval", "above the interval"),
    }
    return f"{measured}, {words[prediction.interval][at]}"


def saved(lost: Lost) -> str:
    """What a change does to the time lost of each second that the workload wants to run; less than 0 is a gain."""
    first, last = sorted((abs(lost.lo), abs(lost.hi)))
    if lost.lo < 0 < lost.hi:
        spread = f"from {duration(-lost.lo)} saved to {duration(lost.hi)} lost"
    else:
        spread = f"{duration(first)} to {duration(last)}"
    does = "save" if lost.value < 0 else "cost" if lost.value > 0 else "save nothing"
    return (
        f"predicted to {does} {duration(abs(lost.value)) if lost.value else ''}".rstrip()
        + f" of each second that it wants to run ({spread})"
    )


def changed(change: Change, leaving: Sequence[str] = ()) -> str:
    """The change as an order to the operator; `leaving` are the names of the workloads that leave."""
    orders = []
    if change.paradigm is not None:
        orders.append(
            {"virtualization": "run it in a virtual machine", "containerization": "run it in a container"}.get(
                change.paradigm, "run it in a sandbox"
            )
        )
    if change.pin is not None:
        orders.append(f"let it run on {cpus(change.pin)} only")
    if change.cpus is not None:
        orders.append("lift its CPU quota" if change.cpus.unlimited else f"set its CPU quota to {change.cpus:g} CPUs")
    if change.weight is not None:
        orders.append(f"set its CPU weight to {change.weight}")
    if change.hugepages:
        orders.append("back its memory with huge pages")
    if change.node is not None:
        orders.append(f"keep its memory on node {change.node}")
    if change.move_to is not None:
        orders.append(f"move it to the CPUs and the memory of node {change.move_to}")
    if change.memory is not None:
        orders.append("lift its memory limit" if change.memory.unlimited else f"set its memory limit to {size(int(change.memory))}")
    if change.without:
        orders.append(f"stop {', '.join(leaving or change.without)}")
    return " and ".join(orders) or "change nothing"


def options(change: Change) -> list[str]:
    """The change as arguments of `agent what-if`."""
    arguments = [] if change.pin is None else ["--pin", f"{change.pin}"]
    if change.cpus is not None:
        arguments += ["--cpus", "max" if math.isinf(change.cpus) else format(change.cpus, "g")]
    if change.node is not None:
        arguments += ["--node", f"{change.node}"]
    return arguments
