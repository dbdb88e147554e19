"""Whose a group is, by its path: the names that engines and systemd give to what they start.

Names of the engines' sources: runc and crun scopes (`PREFIX-ID.scope`, or `ID` below the engine's parent with cgroupfs), containerd's
and CRI-O's CRI, the kubelet's QoS groups (pkg/kubelet/cm), lxc's `lxc.payload.NAME`, systemd.unit(5) and systemd-nspawn(1),
libvirt's cgroup layout, the jailer of Firecracker (`PARENT/firecracker/ID`) and Kata's sandboxes (`kata_ID`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Kind = Literal["container", "machine", "unit"]
Qos = Literal["guaranteed", "burstable", "besteffort"]

_HEX = r"[0-9a-f]{64}"
_POD_UID = r"[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32}"

# The name of a group, or "/PARENT/NAME"; the first that matches says whose it is.
_OWNERS: tuple[tuple[str, Kind, re.Pattern[str]], ...] = (
    ("docker", "container", re.compile(rf"docker-({_HEX})\.scope|/docker/({_HEX})")),
    ("podman", "container", re.compile(rf"libpod-({_HEX})(?:\.scope)?")),
    ("containerd", "container", re.compile(rf"(?:cri-containerd|nerdctl)-({_HEX})\.scope")),
    ("cri-o", "container", re.compile(rf"crio-({_HEX})(?:\.scope)?")),
    ("kubernetes", "container", re.compile(rf"/pod(?:{_POD_UID})/({_HEX})")),
    ("kata", "container", re.compile(rf"kata_({_HEX})|/kata_overhead/({_HEX})")),
    ("firecracker", "machine", re.compile(r"/firecracker/([0-9A-Za-z-]{1,64})")),
    ("lxc", "container", re.compile(r"lxc\.payload\.(.+)|/lxc/([^/]+)", re.DOTALL)),
    ("libvirt", "machine", re.compile(r"(machine-qemu\\x2d.+)\.scope|(qemu-\d+-.+)\.libvirt-qemu", re.DOTALL)),
    ("libvirt-lxc", "container", re.compile(r"machine-lxc\\x2d\d+\\x2d(.+)\.scope|lxc-\d+-(.+)\.libvirt-lxc", re.DOTALL)),
    ("nspawn", "container", re.compile(r"systemd-nspawn@(.+)\.service|machine-(?!qemu)(?!lxc)(.+)\.scope", re.DOTALL)),
)
_POD = re.compile(rf"(?:kubepods(?:-(?:burstable|besteffort))?-)?pod({_POD_UID})(?:\.slice)?")


class Owner(NamedTuple):
    """Who started the group at `path`, under which id, and what kind of thing it is."""

    runtime: str
    id: str
    path: str
    kind: Kind = "container"


class Pod(NamedTuple):
    """A Kubernetes pod, and the class of service that the kubelet put it in."""

    uid: str
    qos: Qos


def whose(path: str) -> Owner | None:
    """The owner of a group at or below whose own group it is; the deepest container or machine wins.

    A unit owns what no container and no machine does, and all that is below it: a user's service manager and its services, too,
    unless they are units themselves.
    """
    parts = path.strip("/").split("/")
    for depth in range(len(parts), 0, -1):
        found = _owner(parts[depth - 2] if depth > 1 else "", parts[depth - 1])
        if found is not None:
            return Owner(found[0], found[1], "/" + "/".join(parts[:depth]), found[2])
    for depth in range(len(parts), 0, -1):
        if parts[depth - 1].endswith((".service", ".scope")):
            return Owner("systemd", parts[depth - 1], "/" + "/".join(parts[:depth]), "unit")
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
def _owner(parent: str, leaf: str) -> tuple[str, str, Kind] | None:
    """Engine, id and kind by the names of a group and its parent: no other ancestor's counts.

    Users may nest groups two thousand deep, and each group asks for all its ancestors.
    """
    for engine, kind, pattern in _OWNERS:
        match = pattern.fullmatch(leaf) or (pattern.fullmatch(f"/{parent}/{leaf}") if parent else None)
        if match is not None:
            return engine, next(group for group in match.groups() if group), kind
    return None
