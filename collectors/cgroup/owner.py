"""Whose a group is, by its path: the names that engines and systemd give to what they start (`agent.model.runtimes`).

Names of the engines' sources: runc and crun scopes (`PREFIX-ID.scope`, or `ID` below the engine's parent with cgroupfs), containerd's
and CRI-O's CRI, the kubelet's QoS groups (pkg/kubelet/cm), lxc's `lxc.payload.NAME`, systemd.unit(5) and systemd-nspawn(1),
libvirt's cgroup layout, the jailer of Firecracker (`PARENT/firecracker/ID`) and Kata's sandboxes (`kata_ID`).
"""

from __future__ import annotations

import re
from typing import NamedTuple, Protocol

from agent.model.facts.cgroup import Pod, Qos
from agent.model.runtimes import POD_UID, SYSTEMD, UNKNOWN, Paradigm, owner_of_group

_POD = re.compile(rf"(?:.*-)?pod({POD_UID})(?:\.slice)?", re.DOTALL)


class Owner(NamedTuple):
    """Who started the group at `path`, under which id, and which paradigm it is of; a unit of systemd's is a "process"."""

    runtime: str
    id: str
    path: str
    paradigm: Paradigm = "containerization"


Owners = dict[str, Owner | None]
"""The owners of groups by path, of those that have none, too."""


class PointsOut(Protocol):
    """Who says that groups are workloads though nobody knows their engine: the user."""

    def owner(self, path: str) -> Owner | None: ...


def whose(path: str, owners: Owners | None = None, user: PointsOut | None = None) -> Owner | None:
    """The owner of a group at or below whose own group it is; the deepest container or machine wins.

    A unit owns what no container and no machine does, and all that is below it: a user's service manager and its services, too,
    unless they are units themselves. `owners` are those of other groups, by path, and get this one's and those above it: users may nest
    groups two thousand deep. `user` is asked where no engine's name says it.
    """
    owners = {} if owners is None else owners
    waiting, group = [], "/" + path.strip("/")
    while group and group not in owners:
        waiting.append(group)
        group = group.rpartition("/")[0]
    owner = owners.get(group)
    for group in reversed(waiting):
        owner = owners[group] = _owner(group, owner, user)
    return owner


def is_pod(name: str) -> bool:
    """Whether the kubelet calls a pod's group so."""
    return _POD.fullmatch(name) is not None


def pod_of(path: str) -> Pod | None:
    """The innermost pod around a group, by the kubelet's names: `kubepods/burstable/podUID`, `kubepods-burstable-podU_I_D.slice`.

    Before them may be what `--cgroup-root` is called (`kubelet-kubepods-podU_I_D.slice`), and behind them what a driver for cgroupfs took
    literally (`kubepods-podU_I_D.slice:cri-containerd:ID`).
    """
    if "pod" not in path:
        return None
    parts = path.split("/")
    for depth in range(len(parts) - 1, -1, -1):
        match = _POD.fullmatch(parts[depth].partition(":")[0])
        if match is not None:
            before = f"{parts[depth - 1] if depth else ''}/{parts[depth][: match.start(1)]}"
            qos: Qos = "burstable" if "burstable" in before else "besteffort" if "besteffort" in before else "guaranteed"
            return Pod(match[1].replace("_", "-"), qos)
    return None


def _owner(path: str, above: Owner | None, user: PointsOut | None) -> Owner | None:
    """By the names of a group and those above it, else the owner of the group above."""
    engine, id_ = owner_of_group(path) or (None, "")
    if (engine is None or engine is UNKNOWN) and user is not None and (pointed_out := user.owner(path)) is not None:
        return pointed_out
    if engine is not None:
        return Owner(engine.name, id_, path, engine.paradigm)
    leaf = path.rpartition("/")[2]
    if leaf.endswith((".service", ".scope")) and (above is None or above.runtime == SYSTEMD.name):
        return Owner(SYSTEMD.name, leaf, path, SYSTEMD.paradigm)
    return above
