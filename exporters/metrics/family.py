"""A metric family: its name, what it counts, its samples."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

Kind = Literal["gauge", "counter", "info"]
Labels = tuple[tuple[str, object], ...] | str
"""Names and values; or the text of them, where many families share it."""
Sample = tuple[Labels, float | int | None]


class Family(NamedTuple):
    """`name` as Prometheus text shows it: with `_total` or `_info`. Samples without a value are left out."""

    name: str
    kind: Kind
    help: str
    samples: Iterable[Sample]
