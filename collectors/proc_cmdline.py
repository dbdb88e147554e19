"""What the kernel was told at boot that bears on placement: /proc/cmdline.

Source: Documentation/admin-guide/kernel-parameters.txt. Only parameters that are named here leave this module, and only with
a value of the kind that they take: the line may hold secrets.
"""

from __future__ import annotations

import re

from agent.model.values import CpuSet, Fact
from collectors.root import SysRoot, Unavailable
from collectors.text import convert

_NAMES = """
isolcpus nohz nohz_full rcu_nocbs rcu_nocb_poll irqaffinity managed_irq skew_tick relax_domain_level sched_verbose schedstats
preempt threadirqs maxcpus nr_cpus possible_cpus nosmp nosmt numa numa_balancing mem movablecore kernelcore movable_node
default_hugepagesz hugepagesz hugepages hugetlb_cma hugetlb_free_vmemmap transparent_hugepage thp_anon no5lvl
zswap.enabled zswap.compressor zswap.max_pool_percent psi cgroup_disable cgroup_no_v1 systemd.unified_cgroup_hierarchy
mitigations idle nohlt intel_idle.max_cstate processor.max_cstate intel_pstate amd_pstate clocksource tsc workqueue.unbound_cpus
kvm-intel.ept kvm_intel.ept kvm-amd.npt kvm_amd.npt kvm-intel.nested kvm_intel.nested kvm-amd.nested kvm_amd.nested
"""
_KNOWN = frozenset(_NAMES.split())
_VALUE = re.compile(r"[A-Za-z0-9_,.:/%+*;@-]{0,512}")
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
# "isolcpus=managed_irq,domain,2-5": flags before the list (kernel/sched/isolation.c).
_FLAG = re.compile(r"(nohz|domain|managed_irq|io_queue),")
_MAX_PARAMETERS = 256


class CommandLine(Fact, frozen=True, kw_only=True):
    """`parameters` as they stand in the line, "nosmt" or "key=value"; lists are None where the line says nothing, or "all"."""

    parameters: tuple[str, ...] = ()
    isolcpus: CpuSet | None = None
    isolcpus_flags: tuple[str, ...] = ()
    rcu_nocbs: CpuSet | None = None
    irqaffinity: CpuSet | None = None
    preempt: str | None = None


def read(root: SysRoot) -> CommandLine:
    line = root.raw("proc/cmdline", lambda data: " ".join(known(data.decode("utf-8", "replace"))).encode())
    if line is None:
        raise Unavailable("absent", "proc/cmdline")
    return parse(line.decode())


def known(text: str) -> tuple[str, ...]:
    """Words behind "--" are for init. Quotes hold blanks together, and go (lib/cmdline.c, next_arg())."""
    parameters: list[str] = []
    for word in _WORD.findall(text):
        plain = word.replace('"', "")
        if plain == "--":
            break
        key, _, value = plain.partition("=")
        if key in _KNOWN and _VALUE.fullmatch(value) and len(parameters) < _MAX_PARAMETERS:
            parameters.append(plain)
    return tuple(parameters)


def parse(text: str) -> CommandLine:
    """Of a key's values the last one holds."""
    parameters = known(text)
    values = {key: value for key, equals, value in (word.partition("=") for word in parameters) if equals}
    flags, isolated = [], values.get("isolcpus")
    while isolated is not None and (match := _FLAG.match(isolated)):
        flags.append(match[1])
        isolated = isolated[match.end() :]
    return CommandLine(
        parameters=parameters,
        isolcpus=_list(isolated),
        isolcpus_flags=tuple(flags),
        rcu_nocbs=_list(values.get("rcu_nocbs")),
        irqaffinity=_list(values.get("irqaffinity")),
        preempt=values.get("preempt"),
    )


def _list(value: str | None) -> CpuSet | None:
    """A list of numbers; "all" and "N" (the last CPU there may be) stay with the parameter's words."""
    if not value or not value[0].isdecimal() or "N" in value:
        return None
    return convert(CpuSet.parse_list, value)
