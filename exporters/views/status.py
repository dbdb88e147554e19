"""The first look at a host for a person: the machine, what is wrong, a line a workload, who shares which CPUs, which gaps can be mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from rich.console import ConsoleRenderable
from rich.padding import Padding
from rich.text import Text

from agent.model.finding import Severity
from agent.model.runtimes import Paradigm
from agent.model.status import FindingStatus, MachineStatus, SharedCpus, Stalled, Status
from exporters.views.console import printed
from exporters.views.figures import duration, percent
from exporters.views.plain_table import Lines, padded, shown, table, wide
from exporters.views.status_columns import columns, compact, cpu_list, fit, used_cpus
from exporters.views.words import count, cpus, line, words

ALIKE = 3
"""Up to so many findings of one kind are shown, of more the first one, and so many names."""
GROUPS = 12
"""So many groups of CPUs, and so many memory nodes."""
GAPS = 6
"""So many remedies are shown."""
NARROW = 60
"""Below so many columns only the most important is in a table."""
ROOMY = 120
"""From so many columns on, two blanks stand between a table's."""
_STYLES: dict[Severity, str] = {"critical": "bold red", "warning": "yellow", "info": "dim"}
_RESOURCES = {"cpu": "CPU", "memory": "memory", "io": "I/O"}
_NOUNS: dict[Paradigm, str] = {
    "containerization": "container",
    "virtualization": "virtual machine",
    "sandbox": "sandbox",
    "process": "other control group",
}


def render(look: Status, *, width: int | None, terminal: bool, encoding: str) -> bytes:
    """The look as text. `width` None: the terminal's."""
    ascii_only = not encoding.lower().startswith("utf")
    return printed(lambda room: _parts(look, room, ascii_only), width=width, terminal=terminal, encoding=encoding)


def _parts(look: Status, room: int, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    yield from _machine(look.machine, look.seconds, ascii_only)
    yield words()
    yield from _findings(look.findings, room, ascii_only)
    yield words()
    yield from _workloads(look, room, ascii_only)
    if look.shared and look.counts:
        yield words()
        yield from _shared(look, room, ascii_only)
    yield from _gaps(look)


def _machine(machine: MachineStatus, seconds: float | None, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    yield words(
        (shown(machine.hostname or "this host", ascii_only), "bold"),
        shown(f"Linux {machine.kernel}", ascii_only) if machine.kernel else None,
        f"guest of {machine.guest_of}" if machine.guest_of else None,
    )
    yield words(
        count(machine.packages, "package") if machine.packages else None,
        count(machine.cores, "core") if machine.cores else None,
        cpus(machine.online) if machine.online else "which CPUs are online is not known",
        count(len(machine.nodes), "memory node") if machine.nodes else None,
    )
    since = "since boot" if seconds is None else f"over {duration(seconds)}"
    yield words(
        f"CPU {_of(machine.busy_cpus, len(machine.online) or None)} in use, {since}",
        f"memory {_bytes_of(machine.used_bytes, machine.memory_bytes)} in use",
        f"swap {_bytes_of(machine.swap_used_bytes, machine.swap_bytes)} in use" if machine.swap_bytes else None,
    )
    yield words("pressure", *(map(_stalled, machine.pressure) if machine.pressure else ("-",)))
    if len(machine.nodes) > 1:
        for node in machine.nodes[:GROUPS]:
            near = "no CPUs" if node.cpus is not None and not node.cpus else cpus(node.cpus) if node.cpus else None
            busy = f"{_of(node.busy_cpus, len(node.cpus))} in use" if node.cpus else None
            yield words(
                (f"node {node.os_index}", "green"), near, busy, f"memory {compact(node.free_bytes)} of {compact(node.memory_bytes)} free"
            )
        if len(machine.nodes) > GROUPS:
            yield words((f"and {len(machine.nodes) - GROUPS} more nodes: agent topology", "dim"))


def _stalled(stall: Stalled) -> str:
    """ "memory 6.19 % (all 1.81 %)": of the time some task waited, and all of them did."""
    some = "-" if stall.some_ratio is None else percent(stall.some_ratio)
    return f"{_RESOURCES[stall.resource]} {some}" + (f" (all {percent(stall.full_ratio)})" if stall.full_ratio else "")


def _of(used: float | None, total: int | None) -> str:
    return f"{used_cpus(used)} of {'-' if total is None else total}"


def _bytes_of(used: int | None, total: int | None) -> str:
    return f"{compact(used)} of {compact(total)}"


def _findings(findings: tuple[FindingStatus, ...], room: int, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    by_severity = Counter(finding.severity for finding in findings)
    parts = (
        (count(by_severity["critical"], "critical finding"), _STYLES["critical"]) if by_severity["critical"] else None,
        (count(by_severity["warning"], "warning"), _STYLES["warning"]) if by_severity["warning"] else None,
        (count(by_severity["info"], "note"), "dim") if by_severity["info"] else None,
    )
    yield words(("Findings", "bold underline"), *(parts if findings else ("none",)))
    alike: dict[tuple[Severity, str], list[FindingStatus]] = {}
    for finding in findings:
        alike.setdefault((finding.severity, finding.id), []).append(finding)
    explained: set[str | None] = set()
    for (severity, kind), together in alike.items():
        most = ALIKE if severity != "info" and len(together) <= ALIKE else 1
        for finding in together[:most]:
            yield from _finding(finding, finding.workload not in explained, room, ascii_only)
            explained |= {finding.workload} if severity != "info" else set()
        if hidden := together[most:]:
            yield line(shown(f"and {len(hidden)} more like it ({kind}): {_named(hidden)}", ascii_only), "dim")


def _named(findings: list[FindingStatus]) -> str:
    names = [finding.name or "this host" for finding in findings]
    return ", ".join(names[:ALIKE]) + (", ...: agent status --json" if len(names) > ALIKE else "")


def _finding(finding: FindingStatus, is_first: bool, room: int, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    """`is_first` of its workload: the command that says more of that is shown once."""
    subject = "" if finding.name is None else f"{finding.name}: "
    since = "" if finding.since is None else f", since {finding.since:%Y-%m-%d %H:%M:%S}"
    text = shown(f"{finding.severity}: {subject}{finding.text}{since}", ascii_only)
    if finding.severity == "info":
        yield Lines([(padded(text, room, False, ascii_only), _STYLES["info"])])
        return
    yield line(f"{text} ({shown(finding.evidence, ascii_only)})", _STYLES[finding.severity])
    commands = (("remedy", finding.remedy), ("more", finding.command if is_first or finding.remedy is None else None))
    for what, command in commands:
        if command is not None:
            yield Padding(Text.assemble(f"{what}: ", (shown(command, ascii_only), "cyan"), overflow="fold"), (0, 0, 0, 2))


def _workloads(look: Status, room: int, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    counts = look.counts or {}
    numbers = [count(counts[paradigm], noun) for paradigm, noun in _NOUNS.items() if counts.get(paradigm)]
    yield words(("Workloads", "bold underline"), *(numbers or ("not known" if look.counts is None else "none",)))
    if not look.rows:
        if counts:
            yield line("none of the kinds that were chosen")
        return
    every = columns(
        marked=any(row.severity not in (None, "info") for row in look.rows),
        several_nodes=len(look.machine.nodes) > 1,
        nested=any(row.parent for row in look.rows),
        stopped=any(row.state not in (None, "running") for row in look.rows),
    )
    cells = [[shown(column.cell(row), ascii_only) for row in look.rows] for column in every]
    widths = [max(len(column.head), *map(wide, texts)) for column, texts in zip(every, cells, strict=True)]
    gap = 2 if room >= ROOMY else 1
    fitted, left_out = fit(every, widths, room, gap)
    chosen = [cells[every.index(column.column)] for column in fitted]
    styles = ["" if row.severity in (None, "info") else _STYLES[row.severity] for row in look.rows]
    yield table(
        [column.column.head for column in fitted],
        [column.column.right for column in fitted],
        [column.width for column in fitted],
        zip(zip(*chosen, strict=True), styles, strict=True),
        ascii_only,
        gap,
    )
    if look.not_shown:
        yield line(f"and {look.not_shown} more (--top)", "dim")
    if left_out:
        yield line(f"No room for: {', '.join(column.title for column in left_out)} (--width).", "dim")
    if any(row.since_start for row in look.rows):
        yield line("Who began within this window, or was read once, is shown over its whole life.", "dim")


def _shared(look: Status, room: int, ascii_only: bool) -> Iterator[ConsoleRenderable]:
    yield words(("Who shares which CPUs", "bold underline"))
    groups = look.shared[:GROUPS]
    heads: tuple[str, ...] = ("CPUs", "cores", "in use", "workloads")
    rows = [tuple(shown(cell, ascii_only) for cell in _group(group)) for group in groups]
    narrow = room < NARROW
    if narrow:
        heads, rows = (heads[0], *heads[2:]), [(row[0], *row[2:]) for row in rows]
    gap, most = (1, 12) if narrow else (2, 24)
    widths = [min(most, max(map(wide, texts))) for texts in zip(heads, *rows, strict=True)]
    left = room - sum(widths) - gap * len(widths)
    lines = [((*row, _names(group, left, ascii_only)), "") for row, group in zip(rows, groups, strict=True)]
    rights = (False, *(True,) * (len(heads) - 1), False)
    yield table((*heads, "busiest"), rights, (*widths, left), lines, ascii_only, gap)
    if len(look.shared) > GROUPS:
        yield line(f"and {len(look.shared) - GROUPS} more groups of CPUs: agent status --json", "dim")
    if look.unplaced:
        yield line(f"and {count(look.unplaced, 'workload')} whose CPUs are not known", "dim")


def _group(group: SharedCpus) -> tuple[str, ...]:
    cores = "-" if group.cores is None else str(group.cores)
    return cpu_list(group.cpus), cores, _of(group.busy_cpus, len(group.cpus)), str(group.workloads)


def _names(group: SharedCpus, room: int, ascii_only: bool) -> str:
    """As many as there is room for."""
    names = [shown(name, ascii_only) for name in group.busiest]
    for number in range(len(names), 0, -1):
        hidden = group.workloads - number
        text = ", ".join(names[:number]) + (f" and {hidden} more" if hidden else "")
        if wide(text) <= room:
            return text
    return names[0] if names else "nobody"


def _gaps(look: Status) -> Iterator[ConsoleRenderable]:
    if not look.gaps and not look.other_gaps:
        return
    yield words()
    yield words(("Gaps that can be mended", "bold underline"), None if look.gaps else "none")
    for gap in look.gaps[:GAPS]:
        yield line(f"{', '.join(gap.reasons)}: {', '.join(gap.sources)}: {gap.remedy}")
    others = [
        f"{len(look.gaps) - GAPS} more" if len(look.gaps) > GAPS else "",
        count(look.other_gaps, "source") + " with nothing to mend" if look.other_gaps else "",
    ]
    if any(others):
        yield line(f"and {', '.join(filter(None, others))}: agent snapshot", "dim")
