"""What keeps a process apart: /proc/PID/ns/*, seccomp and capabilities of /proc/PID/task/PID/status, /proc/PID/attr/current, the id maps.

Sources: namespaces(7), Documentation/filesystems/proc.rst (table 1-2), user_namespaces(7), Documentation/admin-guide/LSM/index.rst.
Other users' namespaces need CAP_SYS_PTRACE; they are read for one process of a workload, for documents only.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from agent.model.facts.proc_isolation import Confinement, IdRange
from collectors.proc_pid.status import status_parser
from collectors.root import SysRoot
from collectors.text import Malformed, MalformedLines, newline_separated, nonzero, numbers

KINDS = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")

SECCOMP = {"0": "disabled", "1": "strict", "2": "filter"}

# More than the kernel takes (UID_GID_MAP_MAX_EXTENTS, include/linux/user_namespace.h).
MAX_RANGES = 340

_parse_status = status_parser("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters")


def read(root: SysRoot, pids: Iterable[int]) -> dict[int, Confinement]:
    """Each of `pids` that is there, and process 1, whose namespaces are the host's."""
    return {pid: confinement for pid in sorted({1, *pids}) if (confinement := _process(root, pid)) is not None}


def _process(root: SysRoot, pid: int) -> Confinement | None:
    directory = f"proc/{pid}"
    # A recording holds each file once, and counters of proc/PID/status are another reader's.
    of_status = root.parse(f"{directory}/task/{pid}/status", parse_status)
    if of_status is None:
        return None
    inodes = {kind: parse_namespace(root.link(f"{directory}/ns/{kind}") or "") for kind in KINDS}
    return replace(
        of_status,
        namespaces={kind: inode for kind, inode in inodes.items() if inode is not None},
        # EINVAL where no security module is loaded: then there is no label, and nothing is missing.
        security_label=root.watch().parse(f"{directory}/attr/current", parse_label),
        uids=root.parse(f"{directory}/uid_map", parse_map) or (),
        gids=root.parse(f"{directory}/gid_map", parse_map) or (),
    )


def parse_status(text: str) -> Confinement:
    """What the kernel says of seccomp and capabilities in a thread's status."""
    status = _parse_status(text)
    confinement = Confinement(
        seccomp=SECCOMP.get(status.fields.get("Seccomp", "")),
        seccomp_filters=status.number("Seccomp_filters"),
        no_new_privileges=nonzero(status.number("NoNewPrivs")),
        capabilities=status.fields.get("CapBnd"),
        effective_capabilities=status.fields.get("CapEff"),
    )
    return status.checked(confinement)


def parse_namespace(text: str) -> int | None:
    """ "pid:[4026531836]": the inode of a namespace."""
    digits = text.partition(":[")[2].removesuffix("]")
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 19 else None


def parse_label(text: str) -> str | None:
    """ "docker-default (enforce)", "unconfined", "system_u:system_r:container_t:s0"."""
    return text.strip()[:256] or None


def parse_map(text: str) -> tuple[IdRange, ...]:
    """ "0 100000 65536": inside, outside, count."""
    ranges: list[IdRange] = []
    malformed = MalformedLines()
    for number, line in enumerate(newline_separated(text), 1):
        try:
            inside, outside, count = numbers(line.split())
            if len(ranges) == MAX_RANGES:
                raise Malformed("too many")
            ranges.append(IdRange(inside, outside, count))
        except (ValueError, Malformed):
            malformed.add(number, line, "'inside outside count'")
    return malformed.checked(tuple(ranges))
