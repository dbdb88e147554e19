"""Control groups, v2, v1 and hybrid, in one record: /sys/fs/cgroup.

`hierarchies` finds and walks them, `group` reads one group, a controller's files by the module that bears its name; `owner` knows whose a
group is, and `held` keeps directories and files open. Sources: Documentation/admin-guide/cgroup-v2.rst,
Documentation/admin-guide/cgroup-v1/. A controller is in one hierarchy only, so each value is read once.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from agent.model.runtimes import PLAIN_GROUP, SYSTEMD, UNKNOWN
from agent.model.values import Detail, Fact
from collectors.cgroup import cpuset
from collectors.cgroup.bounds import is_bounded_within, with_plain_owners
from collectors.cgroup.cpuset import Cpuset
from collectors.cgroup.group import INNER_UNITS, Group, read_group
from collectors.cgroup.held import GroupFiles, HeldDirectories, HeldDirectory
from collectors.cgroup.hierarchies import Directories, Hierarchies, StatedOwners, huge_page_sizes, mounts, walk
from collectors.cgroup.identity import with_unique_ids
from collectors.cgroup.others import Stall
from collectors.cgroup.owner import Owner, Owners, pod_of, whose
from collectors.cgroup.pointed_out import PointedOut
from collectors.root import SysRoot, Unavailable
from collectors.text import integer, printable, space_separated

__all__ = [
    "INNER_UNITS",
    "CgroupCache",
    "Cgroups",
    "Cpuset",
    "Group",
    "Owner",
    "Stall",
    "is_bounded_within",
    "pod_of",
    "read",
    "whose",
]

Version = Literal["v1", "v2", "hybrid"]

MAX_HELD_FILES = 8
"""Files of a group that are held open, shared out among its hierarchies.

Each keeps a page of the kernel's memory, in which it was read last (fs/seq_file.c): 38 MB with all that belongs to it for a thousand
groups on v2. As many of each group, and not as many as there are first, so that twice as many groups cost twice as much.
"""

# The v1 hierarchies that are walked, and those of a document only; the others bound devices and input.
_V1 = ("cpu", "cpuacct", "cpuset", "memory", "pids")
_V1_OF_DOCUMENTS = ("hugetlb", "freezer")


class Cgroups(Fact, frozen=True):
    """`controllers` says which hierarchy each controller is in: "v1" or "v2". `all_groups`: every directory could be listed."""

    version: Version
    controllers: dict[str, str]
    groups: tuple[Group, ...]
    all_groups: bool = True


class CachedGroup(NamedTuple):
    """A group's record, and all that it was made of: it is the same as long as these are, and no file of the directories changes."""

    hierarchies: Hierarchies
    detail: Detail
    directories: tuple[HeldDirectory, ...]
    group: Group


class CgroupCache:
    """What `read` keeps from one pass to the next; descriptors are closed with it. `capacity` is how many descriptors it may take.

    Unchanged groups and hierarchies are returned as the same objects, so that equality is an identity check.
    """

    def __init__(self, capacity: int | None = None) -> None:
        self.held = HeldDirectories(capacity)
        self.groups: dict[str, CachedGroup] = {}
        self.owners: Owners = {}
        self.hierarchies: Hierarchies | None = None


def read(
    root: SysRoot,
    cache: CgroupCache,
    detail: Detail = "document",
    stated_owners: StatedOwners | None = None,
    workload_groups: tuple[re.Pattern[str], ...] = (),
) -> Cgroups:
    """All groups. `stated_owners`: whose a group is, where its path does not say so; `workload_groups`: what the user says is a workload.

    For metrics no more of each group is read than they show. `Unavailable` where no control groups are mounted, or none can be entered.
    """
    points = mounts(root)
    if not points:
        raise Unavailable("absent", "sys/fs/cgroup", "mount cgroup2 on /sys/fs/cgroup")
    unified = points.pop("", None)
    v1 = {name: point for name, point in points.items() if not name.startswith("name=")}
    v2 = space_separated(root.text(f"{unified}/cgroup.controllers") or "") if unified else []
    files = GroupFiles(root, cache.held)
    refused = len(root.refusals)
    groups = _directories_by_group(files, unified, v1, detail)
    all_groups = len(root.refusals) == refused
    # What only a document reads is closed after it.
    cache.held.keep({directory.path for directories in groups.values() for directory in directories.values()})
    user = PointedOut(workload_groups)
    # What is written with an escape is here under the name that it stands for.
    here = ((path, owner) for path, owner in (stated_owners or {}).items() if path in groups or "\\" in path)
    stated = {path: owner for path, owner in here if not _is_named(path, owner[1], cache.owners, user)}
    hierarchies = Hierarchies(
        unified=unified,
        v1=v1,
        huge_page_sizes=huge_page_sizes(root, groups, v1.get("hugetlb", unified)) if detail == "document" else (),
        root_load_balance=root.parse(f"{v1['cpuset']}/{cpuset.BALANCE}", integer) if "cpuset" in v1 else None,
        stated_owners=stated,
    )
    return Cgroups(
        version="v1" if unified is None else "hybrid" if points else "v2",
        controllers=dict(sorted((dict.fromkeys(v1, "v1") | dict.fromkeys(v2, "v2")).items())),
        groups=with_unique_ids(_groups(files, cache, groups, hierarchies, detail, user), stated_owners or {}),
        all_groups=all_groups,
    )


def _directories_by_group(files: GroupFiles, unified: str | None, v1: dict[str, str], detail: Detail) -> dict[str, Directories]:
    """Every group of the hierarchies that are read, by path."""
    names = _V1 + _V1_OF_DOCUMENTS if detail == "document" else _V1
    groups: dict[str, Directories] = {}
    for mount in sorted({unified, *(v1[name] for name in names if name in v1)} - {None}, key=str):
        for path, directory in walk(files, str(mount)):
            groups.setdefault(path, {})[str(mount)] = directory
    if not groups:
        raise Unavailable("absent", f"{unified or next(iter(v1.values()), 'sys/fs/cgroup')}: not to be entered", "mount it there, too")
    return groups


def _groups(
    files: GroupFiles, cache: CgroupCache, groups: dict[str, Directories], hierarchies: Hierarchies, detail: Detail, user: PointedOut
) -> tuple[Group, ...]:
    """The records of all groups, sorted by path."""
    hierarchies = cache.hierarchies if cache.hierarchies == hierarchies else hierarchies
    cache.hierarchies = hierarchies
    for path in cache.groups.keys() - groups.keys():
        del cache.groups[path]
        cache.owners.pop(printable(path), None)
    if len(cache.owners) > len(groups):
        cache.owners.clear()  # of groups that were never held
    records: list[Group | None] = []
    for path in sorted(groups):
        files.root.date(printable(path))
        records.append(_group(files, cache, path, groups[path], hierarchies, detail, user))
    for path in user.waiting:
        cache.groups.pop(path, None)
        cache.owners.pop(path, None)
    if user.waiting:
        files.root.note(user.waiting[0], "late", f"and {len(user.waiting) - 1} more new groups wait to be matched with --workload-group")
    return with_plain_owners(tuple([group for group in records if group is not None]))


def _group(
    files: GroupFiles, cache: CgroupCache, path: str, directories: Directories, hierarchies: Hierarchies, detail: Detail, user: PointedOut
) -> Group | None:
    """The record of the cache where nothing has changed. None when the group went away while it was read."""
    held, cached = tuple(directories.values()), cache.groups.pop(path, None)
    if cached is not None and cached[:3] == (hierarchies, detail, held) and files.unchanged(held):
        cache.groups[path] = cached
        return cached.group
    for directory in held:
        directory.max_files = max(1, MAX_HELD_FILES // len(held))
    try:
        if closed := [directory.path for directory in held if directory.fd < 0]:
            with files.root.near(closed) as root:
                group = read_group(GroupFiles(root, cache.held), path, directories, hierarchies, detail, cache.owners, user)
        else:
            group = read_group(files, path, directories, hierarchies, detail, cache.owners, user)
    finally:
        # What this pass has read and not parsed must not be taken for the contents at the next.
        for directory in held:
            directory.unparsed = {}
    if group is not None and all(directory.fd >= 0 for directory in held):
        cache.groups[path] = CachedGroup(hierarchies, detail, held, group)
    return group


def _is_named(path: str, id_: str, owners: Owners, user: PointedOut) -> bool:
    """Whether a group's name says whose it is. crun tells of the group that Podman makes within the container's own."""
    owner = whose(path, owners, user)
    is_nameless = owner is None or owner.runtime in (UNKNOWN.name, PLAIN_GROUP.name, SYSTEMD.name)
    return owner is not None and not is_nameless and (owner.path == path or owner.id == id_)
