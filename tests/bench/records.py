"""What a record costs as a frozen dataclass with slots and as a frozen msgspec.Struct: making the class, making one of it."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from msgspec import defstruct

from agent.model.values import Fact

CLASSES = 30
INSTANCES = 20_000

FIELDS: list[tuple[str, Any, Any]] = [
    ("number", int, 0),
    ("name", str | None, None),
    ("size_bytes", int | None, None),
    ("seconds", float | None, None),
    ("members", tuple[int, ...], ()),
    ("state", str | None, None),
]


def as_struct(name: str) -> Callable[..., object]:
    return defstruct(name, FIELDS, bases=(Fact,), frozen=True)


def as_dataclass(name: str) -> Callable[..., object]:
    fields = [(field, kind, dataclasses.field(default=value)) for field, kind, value in FIELDS]
    return dataclasses.make_dataclass(name, fields, frozen=True, slots=True)


def microseconds(work: Callable[[], object], count: int) -> float:
    """Median of five, each of `count` times."""
    taken = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(count):
            work()
        taken.append((time.perf_counter() - began) / count * 1e6)
    return statistics.median(taken)


def main() -> None:
    print(f"\n{'one record':34} {'class us':>13} {'instance us':>12}")
    cost = {}
    makers: tuple[tuple[str, Callable[[str], Callable[..., object]]], ...] = (("msgspec.Struct", as_struct), ("dataclass", as_dataclass))
    for kind, make in makers:
        one = make("Record")
        cost[kind] = microseconds(partial(make, "Record"), CLASSES), microseconds(partial(one, 1, members=(1,)), INSTANCES)
        print(f"{kind:34} {cost[kind][0]:13.1f} {cost[kind][1]:12.2f}")
    (class_a, one_a), (class_b, one_b) = cost["msgspec.Struct"], cost["dataclass"]
    print(f"{'dataclass / Struct':34} {class_b / class_a:13.1f} {one_b / one_a:12.1f}")


if __name__ == "__main__":
    main()
