"""The hosts that a run has met: the agent is only as true as they are many."""

from __future__ import annotations

_met: dict[str, dict[str, str]] = {}


def meet(kind: str, name: str, shape: str = "") -> None:
    """Notes a host of this kind; one that is met again counts once."""
    _met.setdefault(kind, {})[name] = shape


def lines() -> list[str]:
    """A line for each kind with its hosts: names alone, or with their shapes."""
    return [
        f"{len(hosts)} {kind}: " + ("; " if any(hosts.values()) else ", ").join(f"{name} {shape}".strip() for name, shape in hosts.items())
        for kind, hosts in _met.items()
    ]


def noted() -> dict[str, dict[str, str]]:
    """All of them: their shapes by kind and name."""
    return _met
