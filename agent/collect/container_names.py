"""What engines said of containers whose groups are there, and that none of them speaks of now: a name that is known stays known."""

from __future__ import annotations

from msgspec.structs import replace

from collectors import cgroup
from collectors.docker_engine import Container, Engine

KnownContainers = dict[str, tuple[str, Container]]
"""By id, the engine of a container and what it said of it last."""


def with_known_containers(
    engines: tuple[Engine, ...] | None, known: KnownContainers, cgroups: cgroup.Cgroups | None
) -> tuple[Engine, ...] | None:
    """The engines' answers, and what else is `known` of the containers whose groups are there. `known` becomes what is known now.

    A state may have changed since: none is known of a container that no engine speaks of.
    """
    known |= {container.id: (engine.name, container) for engine in engines or () for container in engine.containers}
    if cgroups is not None:
        there = {group.owner.id for group in cgroups.groups if group.owner is not None}
        for id_ in known.keys() - there:
            del known[id_]
    spoken_of = {container.id for engine in engines or () for container in engine.containers}
    others: dict[str, list[Container]] = {}
    for id_, (name, container) in known.items():
        if id_ not in spoken_of:
            others.setdefault(name, []).append(replace(container, state=None))
    if not others:
        return engines
    return (*(engines or ()), *(Engine(name, None, tuple(containers)) for name, containers in others.items()))
