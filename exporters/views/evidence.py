"""What this host shows for a cell of the concept document's matrices: identity, isolation, kernels, and the model's figures.

A function has the scope of the cell's column and answers None where it knows nothing: no cell invents anything. What the model says is
called predicted. `evidence_cpu` and `evidence_memory` have the cells on CPUs and on memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import Struct

from agent.model.snapshot import Snapshot
from agent.model.workload import Workload
from exporters.views.figures import figure, interval, meaning
from exporters.views.words import count


class Scope(Struct, frozen=True):
    """What a column is about: the host, and the workloads of its paradigm (none: the column is the host's)."""

    snapshot: Snapshot
    workloads: tuple[Workload, ...]


Evidence = Callable[[Scope], str | None]
_MOST_ANSWERS = 3


def cost(component: str) -> Evidence:
    """Evidence from one component over the column's workloads: what is predicted, the interval around all, what was measured."""

    def shown(scope: Scope) -> str | None:
        ids = {workload.id for workload in scope.workloads}
        predictions = [
            prediction for prediction in scope.snapshot.predictions if prediction.component == component and prediction.workload in ids
        ]
        if not predictions:
            return None
        unit = predictions[0].unit
        measured = [prediction.measured for prediction in predictions if prediction.measured is not None]
        lo, hi = min(prediction.lo for prediction in predictions), max(prediction.hi for prediction in predictions)
        points = _span([prediction.value for prediction in predictions], unit)
        text = f"{meaning(component)}: predicted {points} ({interval(lo, hi, unit)})"
        return f"{text}, measured {_span(measured, unit)}" if measured else text

    return shown


def _span(values: list[float], unit: str) -> str:
    low, high = figure(min(values), unit), figure(max(values), unit)
    return low if low == high else f"{low} to {high}"


def tally(answers: Iterable[str | None]) -> str | None:
    """Equal answers counted: "2 x 2 x 1 (3); 4 x 1 x 1"; None where there is none."""
    counts = Counter(answer for answer in answers if answer)
    shown = [f"{answer}{f' ({number})' if number > 1 else ''}" for answer, number in sorted(counts.items())]
    if not shown:
        return None
    return "; ".join(shown[:_MOST_ANSWERS]) + (f"; and {len(shown) - _MOST_ANSWERS} more" if len(shown) > _MOST_ANSWERS else "")


def total(values: Iterable[int | None]) -> int | None:
    """The sum; None where a part is missing, or there is none."""
    parts = list(values)
    present = [part for part in parts if part is not None]
    return sum(present) if present and len(present) == len(parts) else None


def names(scope: Scope) -> str | None:
    return tally(workload.name for workload in scope.workloads)


def modes(scope: Scope) -> str | None:
    return tally(f"{workload.execution_mode}, {workload.memory_mode}" for workload in scope.workloads)


def isolation(scope: Scope) -> str | None:
    return tally(workload.isolation for workload in scope.workloads)


def machine(scope: Scope) -> str | None:
    smbios, virtualization = scope.snapshot.host.smbios, scope.snapshot.host.virtualization
    if virtualization is not None and virtualization.kind == "guest":
        return f"this host is itself a guest of {virtualization.hypervisor or 'a hypervisor'}"
    return " ".join(filter(None, (smbios.sys_vendor, smbios.product_name))) or None if smbios else None


def shared_kernel(scope: Scope) -> str | None:
    kernel = scope.snapshot.host.kernel
    return f"all on Linux {kernel}" if kernel and scope.workloads else None


def own_kernel(scope: Scope) -> str | None:
    guests = [workload for workload in scope.workloads if workload.guest]
    return f"{count(len(guests), 'guest kernel')} apart from the host's" if guests else None
