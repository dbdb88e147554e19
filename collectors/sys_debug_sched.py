"""The scheduler's own account: /sys/kernel/debug/sched, for root only. Sources: kernel/sched/{debug.c,features.h}.

Before Linux 8a99b6833c88 (5.13) its parts were /sys/kernel/debug/sched_features, and /proc/sys/kernel/sched_domain for everybody.
"""

from __future__ import annotations

import re

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import unsigned

SCHED = "sys/kernel/debug/sched"
_OLD_FEATURES = "sys/kernel/debug/sched_features"
_OLD_DOMAINS = "proc/sys/kernel/sched_domain"

_PREEMPT = re.compile(r"\((\w{1,20})\)")
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")
_SCALING = {0: "none", 1: "log", 2: "linear"}
_MAX_WORDS = 256
_MAX_DOMAINS = 256


class DebugfsDomain(Fact, frozen=True):
    """What one CPU's domain is called, and its SD_* flags by name (numbers before Linux 5.10, which are left out)."""

    cpu: int
    name: str
    flags: tuple[str, ...] = ()


class SchedDebug(Fact, frozen=True, kw_only=True):
    """`base_slice_ns` is of EEVDF; latency and granularities are of CFS. `domains` stand from the smallest up, CPU after CPU."""

    features: tuple[str, ...] = ()
    preempt: str | None = None
    tunable_scaling: str | None = None
    base_slice_ns: int | None = None
    latency_ns: int | None = None
    min_granularity_ns: int | None = None
    wakeup_granularity_ns: int | None = None
    migration_cost_ns: int | None = None
    nr_migrate: int | None = None
    domains: tuple[DebugfsDomain, ...] = ()


def read(root: SysRoot, cpus: CpuSet) -> SchedDebug:
    """`cpus`: those whose domains to name, one of each set of CPUs that have all in common."""

    def number(name: str) -> int | None:
        return root.parse(f"{SCHED}/{name}", unsigned)

    try:
        features = parse_words(root.require(f"{SCHED}/features"))
    except Unavailable as closed:
        # Where debugfs is closed, one refusal is enough.
        features = parse_words(root.text(_OLD_FEATURES) or "") if closed.reason == "absent" else ()
        domains = _domains(root, _OLD_DOMAINS, cpus)
        if not features and not domains:
            raise Unavailable(closed.reason, closed.detail, "debugfs on /sys/kernel/debug, which only root may read") from None
        return SchedDebug(features=features, domains=domains)
    return SchedDebug(
        features=features,
        preempt=root.parse(f"{SCHED}/preempt", parse_preempt),
        tunable_scaling=root.parse(f"{SCHED}/tunable_scaling", lambda text: _SCALING.get(unsigned(text))),
        base_slice_ns=number("base_slice_ns"),
        latency_ns=number("latency_ns"),
        min_granularity_ns=number("min_granularity_ns"),
        wakeup_granularity_ns=number("wakeup_granularity_ns"),
        migration_cost_ns=number("migration_cost_ns"),
        nr_migrate=number("nr_migrate"),
        domains=_domains(root, f"{SCHED}/domains", cpus),
    )


def parse_words(text: str) -> tuple[str, ...]:
    """ "PLACE_LAG NO_NEXT_BUDDY ...", "SD_BALANCE_NEWIDLE SD_NUMA": whatever else stands there is no name."""
    return tuple(word for word in text.split()[:_MAX_WORDS] if _WORD.fullmatch(word) and not word.isdecimal())


def parse_preempt(text: str) -> str | None:
    """ "none voluntary (full) lazy" -> "full"."""
    match = _PREEMPT.search(text)
    return match[1] if match else None


def _domains(root: SysRoot, home: str, cpus: CpuSet) -> tuple[DebugfsDomain, ...]:
    domains: list[DebugfsDomain] = []
    for cpu in cpus:
        for place in range(_MAX_DOMAINS):
            path = f"{home}/cpu{cpu}/domain{place}"
            name = parse_words(root.text(f"{path}/name") or "")
            if not name:
                break
            domains.append(DebugfsDomain(cpu, name[0], parse_words(root.text(f"{path}/flags") or "")))
    return tuple(domains)
