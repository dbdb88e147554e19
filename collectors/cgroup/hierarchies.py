"""Where control groups are mounted, and which groups there are: the tables of mounts, the usual places, and a walk below each mount.

Sources: proc_pid_mountinfo(5), Documentation/admin-guide/cgroup-v2.rst ("Mounting"), Documentation/admin-guide/cgroup-v1/cgroups.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from agent.model.values import Fact
from collectors.cgroup import others
from collectors.cgroup.held import GroupFiles, HeldDirectory
from collectors.root import SysRoot
from collectors.text import newline_separated

MAX_GROUPS = 50_000

Directories = dict[str, HeldDirectory]
"""The directories of one group, by the mount point of their hierarchy."""

Family = tuple[str, HeldDirectory, list[tuple[str, int | None]]]
"""A group's path, its directory, and the names of the groups in it with their inodes."""

StatedOwners = Mapping[str, tuple[str, str]]
"""By the path of a container's group: its engine and its id."""

# What stands among the controllers in the super options of a v1 mount (kernel/cgroup/cgroup-v1.c, cgroup1_show_options).
_NO_CONTROLLERS = ("rw", "ro", "noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "clone_children")


class Hierarchies(Fact, frozen=True, kw_only=True):
    """What all groups of a pass have in common: `unified` is where v2 is mounted, `v1` where each controller of v1 is.

    `huge_page_sizes` are those that are accounted for ("2MB"), `root_load_balance` is the root's flag of a v1 cpuset, `stated_owners` are
    the owners of groups whose names do not say it.
    """

    unified: str | None
    v1: dict[str, str]
    huge_page_sizes: tuple[str, ...] = ()
    root_load_balance: int | None = None
    stated_owners: StatedOwners = MappingProxyType({})


def mounts(root: SysRoot) -> dict[str, str]:
    """The mount point of each v1 controller and named hierarchy ("name=systemd"), and of v2 under "".

    By the first table of mounts that can be read, else by what is found in the usual places. Of several mounts of one hierarchy it is the
    first that can be entered.
    """
    table = root.text("proc/1/mountinfo") or root.text("proc/self/mountinfo")
    if table is None:
        return _usual_mounts(root)
    return {hierarchy: _enterable(root, points) for hierarchy, points in parse_mountinfo(table).items()}


def _enterable(root: SysRoot, points: list[str]) -> str:
    """The first of the mount points that shows something; the first of all where none does."""
    for point in points if len(points) > 1 else ():
        if root.names(point):
            # What the others refuse hides nothing.
            for other in points:
                root.drop_refusal(other)
            return point
    return points[0]


def parse_mountinfo(text: str) -> dict[str, list[str]]:
    """ "36 35 98:0 / /sys/fs/cgroup/cpu,cpuacct rw shared:1 - cgroup cgroup rw,cpu,cpuacct": where each controller is mounted.

    A mount of a part of a hierarchy (its fourth field says of which) is one of it only where the whole is not mounted.
    """
    whole: dict[str, list[str]] = {}
    parts: dict[str, list[str]] = {}
    for line in newline_separated(text):
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        # In a namespace of control groups, what is above its root is shown as "/..".
        points = whole if not fields[3].replace("/..", "").strip("/") else parts
        for option in [""] if kind[0] == "cgroup2" else kind[-1].split(","):
            if option not in _NO_CONTROLLERS and "=" not in option.removeprefix("name="):
                points.setdefault(option, []).append(fields[4].lstrip("/"))
    return parts | whole


def _usual_mounts(root: SysRoot) -> dict[str, str]:
    if root.text("sys/fs/cgroup/cgroup.controllers") is not None:
        return {"": "sys/fs/cgroup"}
    points: dict[str, str] = {}
    for name in root.names("sys/fs/cgroup"):
        if root.text(f"sys/fs/cgroup/{name}/cgroup.procs") is not None:
            points |= dict.fromkeys(name.split(","), f"sys/fs/cgroup/{name}")
    if "unified" in points:
        points[""] = points.pop("unified")
    return points


def walk(files: GroupFiles, mount: str) -> list[tuple[str, HeldDirectory]]:
    """Every group below a mount point by its path, "/" first. Links are not followed, so a walk ends.

    Walked anew at each pass, without inotify: over directories that are held it costs 14 of the 217 ms of CPU time in which a thousand
    containers on v1 are read (5,023 directories in five hierarchies). A watch on each would save less than that, and lose events: a
    container that comes and goes is ten of them there, and the kernel keeps 16,384 (fs.inotify.max_queued_events).

    Level by level: where there are more than `MAX_GROUPS`, the largest families of the deepest levels are left out, which is noted.
    """
    groups: list[tuple[str, HeldDirectory]] = []
    top = files.enter(mount.rstrip("/"))
    level = [("/", top)] if top else []
    while level:
        groups += level
        families = [(path, directory, files.subdirectories(directory)) for path, directory in level]
        level = []
        for path, directory, children in _affordable(files.root, families, MAX_GROUPS - len(groups)):
            above = "" if path == "/" else path
            for name, inode in children:
                child = files.enter(f"{directory.path}/{name}", inode)
                if child is not None:
                    level.append((f"{above}/{name}", child))
    return groups


def _affordable(root: SysRoot, families: list[Family], room: int) -> list[Family]:
    """The families of groups for which there is room, the smallest first where there is not room for all."""
    if sum(len(children) for _, _, children in families) <= room:
        return families
    affordable: list[Family] = []
    for path, directory, children in sorted(families, key=lambda family: len(family[2])):
        room -= len(children)
        if room >= 0:
            affordable.append((path, directory, children))
        else:
            root.note(directory.path, "unsupported", f"{len(children)} groups below it, with which there are more than {MAX_GROUPS}")
    return affordable


def huge_page_sizes(root: SysRoot, groups: dict[str, Directories], mount: str | None) -> tuple[str, ...]:
    """All groups but the root have the same files of this controller, or none; the first that has them says which."""
    for path, directories in groups.items():
        if path != "/" and mount in directories and (sizes := others.huge_page_sizes(root.names(directories[mount].path))):
            return sizes
    return ()
