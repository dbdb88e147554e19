"""Whose a group is, by its path: the names that engines and systemd give to what they start (`agent.model.runtimes`).

Names of the engines' sources: runc and crun scopes (`PREFIX-ID.scope`, or `ID` below the engine's parent with cgroupfs), containerd's
and CRI-O's CRI, the kubelet's QoS groups (pkg/kubelet/cm), lxc's `lxc.payload.NAME`, systemd.unit(5) and systemd-nspawn(1),
libvirt's cgroup layout, the jailer of Firecracker (`PARENT/firecracker/ID`) and Kata's sandboxes (`kata_ID`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from agent.model.facts.cgroup import Pod, Qos
from agent.model.runtimes import ENGINES, POD_UID, SYSTEMD, Paradigm, Runtime

_POD = re.compile(rf"(?:kubepods(?:-(?:burstable|besteffort))?-)?pod({POD_UID})(?:\.slice)?")


class Owner(NamedTuple):
    """Who started the group at `path`, under which id, and which paradigm it is of; a unit of systemd's is a "process"."""

    runtime: str
    id: str
    path: str
    paradigm: Paradigm = "containerization"


def whose(path: str) -> Owner | None:
    """The owner of a group at or below whose own group it is; the deepest container or machine wins.

    A unit owns what no container and no machine does, and all that is below it: a user's service manager and its services, too,
    unless they are units themselves.
    """
    parts = path.strip("/").split("/")
    for depth in range(len(parts), 0, -1):
        match = _owner(parts[depth - 2] if depth > 1 else "", parts[depth - 1])
        if match is not None:
            return Owner(match[0].name, match[1], "/" + "/".join(parts[:depth]), match[0].paradigm)
    for depth in range(len(parts), 0, -1):
        if parts[depth - 1].endswith((".service", ".scope")):
            return Owner(SYSTEMD.name, parts[depth - 1], "/" + "/".join(parts[:depth]), SYSTEMD.paradigm)
    return None


def pod_of(path: str) -> Pod | None:
    """The pod around a group, by the kubelet's names: `kubepods/burstable/podUID`, `kubepods-burstable-podU_I_D.slice`."""
    if "pod" not in path:
        return None
    parent = ""
    for part in path.split("/"):
        match = _POD.fullmatch(part)
        if match is not None:
            before = f"{parent}/{part[: match.start(1)]}"
            qos: Qos = "burstable" if "burstable" in before else "besteffort" if "besteffort" in before else "guaranteed"
            return Pod(match[1].replace("_", "-"), qos)
        parent = part
    return None


@lru_cache(maxsize=1 << 14)
def _owner(parent: str, leaf: str) -> tuple[Runtime, str] | None:
    """Engine and id by the names of a group and its parent: no other ancestor's counts.

    Users may nest groups two thousand deep, and each group asks for all its ancestors.
    """
    for engine in ENGINES:
        if engine.groups is None:
            continue
        match = engine.groups.fullmatch(leaf) or (engine.groups.fullmatch(f"/{parent}/{leaf}") if parent else None)
        if match is not None:
            return engine, next(group for group in match.groups() if group)
    return None
