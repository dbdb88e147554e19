"""What keeps a process apart: /proc/PID/ns, seccomp and capabilities, /proc/PID/attr/current, the id maps."""

from __future__ import annotations

from agent.model.values import Fact


class IdRange(Fact, frozen=True):
    """`count` ids from `inside` on are those from `outside` on for the host."""

    inside: int
    outside: int
    count: int


class Confinement(Fact, frozen=True, kw_only=True):
    """What a workload's first process is kept in. `namespaces`: kind -> inode; those in `shared_with_host` isolate nothing.

    `capabilities` is the bounding set in hexadecimal: what it can ever have. `seccomp`: "disabled", "strict", "filter".
    """

    namespaces: dict[str, int] = {}
    shared_with_host: tuple[str, ...] | None = None
    seccomp: str | None = None
    seccomp_filters: int | None = None
    no_new_privileges: bool | None = None
    capabilities: str | None = None
    effective_capabilities: str | None = None
    security_label: str | None = None
    uids: tuple[IdRange, ...] = ()
    gids: tuple[IdRange, ...] = ()
