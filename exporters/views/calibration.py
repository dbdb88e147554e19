"""A calibration as text: what was measured, under what load, and beside the calibration before."""

from __future__ import annotations

from collections.abc import Sequence

from agent.model.calibration import Calibration, Figure, NodePair
from exporters.views.figures import duration

Compared = Sequence[tuple[str, float, float, bool]]
"""Name, old value, new value, whether they differ by more than their intervals allow."""


def render(calibration: Calibration, compared: Compared = ()) -> bytes:
    """A table of figures, then latency by size of memory, steps that were left out, and the load during the run."""
    before = {name: (value, apart) for name, value, _, apart in compared}
    rows = [_row(figure, before.get(figure.name)) for figure in calibration.figures]
    rows += [
        (f"node {pair.cpu_node} to memory {pair.memory_node}", _amount(pair.latency_seconds, "seconds"), "", f"{_rate(pair)} GB/s", "")
        for pair in calibration.nodes
    ]
    lines = _columns([("", "value", "to the median", "chunks", "before" if before else ""), *rows])
    if calibration.ladder:
        levels = (
            f"{level.name} {_size(level.from_bytes)}-{_size(level.to_bytes)}: {_amount(level.seconds, 'seconds')}"
            for level in calibration.plateaus
        )
        lines += ["", "latency by size:  " + "; ".join(levels)]
    lines += [f"left out: {skipped.step}: {skipped.why}" for skipped in calibration.skipped]
    shares = (
        ("CPU pressure", calibration.conditions.cpu_pressure),
        ("steal", calibration.conditions.steal),
        ("own run delay", calibration.conditions.run_delay),
    )
    load = ", ".join(f"{name} {'unknown' if share is None else format(share, '.0%')}" for name, share in shares)
    lines += ["", f"CPU {calibration.cpu}, {calibration.seconds:.1f} s; {load}"]
    load_share = calibration.conditions.load
    if load_share is not None and calibration.conditions.busy:
        lines += [
            f"Others disturbed it, by {load_share:.0%}: predictions will stretch these intervals by as much.",
            "Run it again when the host is quieter: a better run replaces this one, and this one replaces none.",
        ]
    return ("\n".join(line.rstrip() for line in lines) + "\n").encode()


def _row(figure: Figure, before: tuple[float, bool] | None) -> tuple[str, ...]:
    name = figure.name.replace("_", " ")
    old = "" if before is None else _amount(before[0], figure.unit) + (" APART" if before[1] else "")
    return name, _amount(figure.value, figure.unit), _amount(figure.hi, figure.unit), str(figure.chunks), old


def _columns(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def _amount(value: float, unit: str) -> str:
    match unit:
        case "seconds":
            return duration(value)
        case "1/second":
            return f"{value / 1e9:.3g} GHz"
        case "ratio":
            return f"+{value:.1%}"
    return f"{value:.4g} {unit}"


def _size(size_bytes: int) -> str:
    return f"{size_bytes >> 20}M" if size_bytes >= 1 << 20 else f"{size_bytes >> 10}K"


def _rate(pair: NodePair) -> str:
    return f"{pair.bandwidth_bytes_per_second / 1e9:.3g}"
