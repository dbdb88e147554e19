"""Elements of a workload's stack in words: "CPU limit: 2 CPUs", "resident: 23.5 GiB"."""

from __future__ import annotations

from agent.model.workload import Element

_UNITS = (("GiB", 30), ("MiB", 20), ("KiB", 10))


def stated(element: Element) -> str | None:
    """What is known of an element, None where nothing is."""
    if element.value is None:
        return ", ".join(_part(part) for part in element.parts) or None
    return _value(element)


def _part(part: Element) -> str:
    """ "2 executor (1.500 s, 1 waiting)", "the memory limit: 4 GiB more"."""
    if part.unit != "threads":
        return f"{part.name}: {_value(part)} more"
    spent = ", ".join(f"{_value(detail)} {detail.name}" if detail.unit == "threads" else _value(detail) for detail in part.parts)
    return f"{_value(part)} {part.name}{f' ({spent})' if spent else ''}"


def _value(element: Element) -> str:
    value = element.value
    if not isinstance(value, (int, float)):
        return "unlimited" if element.unit == "bytes" else str(value)
    match element.unit:
        case "bytes":
            return next((f"{value / (1 << shift):.4g} {unit}" for unit, shift in _UNITS if value >= 1 << shift), f"{value} bytes")
        case "seconds":
            return f"{value:.3f} s"
        case "Hz":
            return f"{value} Hz"
    return str(value)
