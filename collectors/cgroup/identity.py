"""One id, one workload: groups are named by whoever may make them, so that several may bear one container's id."""

from __future__ import annotations

from collections.abc import Container, Mapping

from msgspec.structs import replace

from agent.model.runtimes import PLAIN_GROUP, SYSTEMD
from collectors.cgroup.group import Group
from collectors.cgroup.owner import Owner

_OF_USERS = "/user.slice/"
_KNOWN_BY_PATH = (SYSTEMD.name, PLAIN_GROUP.name)


def with_unique_ids(groups: tuple[Group, ...], kept: Container[str]) -> tuple[Group, ...]:
    """The same groups; of owners with one id, one keeps it, and the others are known by the paths of their groups.

    A container may make groups inside its own, and a user in his slice: these have to wait for all others. Then that group keeps the id
    which a runtime says is the container's (`kept`, paths), else the one that is nearest to the root.
    """
    owners: dict[str, Owner] = {}
    others: dict[Owner, Owner] = {}
    by_path: dict[str, Group] = {}
    for group in groups:
        owner = group.owner
        if owner is None or owner.path != group.path or owner.runtime in _KNOWN_BY_PATH:
            continue
        first = owners.setdefault(owner.id, owner)
        if first is owner:
            continue
        by_path = by_path or {group.path: group for group in groups}
        if _rank(owner, by_path, kept) < _rank(first, by_path, kept):
            first, owner, owners[owner.id] = owner, first, owner
        others[owner] = owner._replace(id=owner.path)
    if not others:
        return groups
    return tuple([replace(group, owner=others[group.owner]) if group.owner in others else group for group in groups])


def _rank(owner: Owner, groups: Mapping[str, Group], kept: Container[str]) -> tuple[bool, bool, bool, int, str]:
    around = groups.get(owner.path.rpartition("/")[0])
    is_nested = around is not None and around.owner is not None and around.owner.paradigm != "process"
    return is_nested, owner.path.startswith(_OF_USERS), owner.path not in kept, owner.path.count("/"), owner.path
