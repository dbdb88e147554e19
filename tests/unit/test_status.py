"""agent status: one screen that is true, bounded and never obeyed by the terminal, whatever runs and whatever it is called."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from agent.cli import main
from agent.cli.status import KINDS, SORT_KEYS
from agent.config import Config
from agent.model.finding import SEVERITIES, Finding, Severity
from agent.model.host import Host
from agent.model.runtimes import Paradigm
from agent.model.status import FindingStatus, MachineStatus, SortKey, Status, WorkloadStatus
from agent.model.values import UNLIMITED, CpuSet, Gap
from agent.model.workload import Workload
from agent.overhead.status import BUSIEST, exit_code, status
from agent.overhead.window import Window
from agent.session import Session, snapshot_of, take_window
from collectors.root import SysRoot
from exporters.views import json
from exporters.views.status import render
from exporters.views.status_columns import compact, used_cpus
from tests.unit.overhead_hosts import container, machine, sandbox
from tests.unit.told import HOSTILE, document, reviewed, window

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def text(look: Status, width: int = 200, encoding: str = "utf-8") -> str:
    return render(look, width=width, terminal=False, encoding=encoding).decode(encoding)


def look_at(seen: Window) -> Status:
    return status(seen, document(seen))


def many(number: int, name: str = "web") -> Window:
    """So many containers, machines and sandboxes, each of them with a name and an id of its own."""

    def crowd(passed: float) -> tuple[Workload, ...]:
        kinds = (container(passed), machine(passed), sandbox(passed))
        return tuple(
            replace(kinds[at % 3], id=f"{at:064x}", identity=f"{at}:1", name=f"{name}-{at}", pid=1000 + at) for at in range(number)
        )

    return window((crowd(0.0), crowd(1.0)))


def row(name: str, **more: object) -> WorkloadStatus:
    return WorkloadStatus(id=name, name=name, reference=name, paradigm="containerization", runtime="docker", **more)  # type: ignore[arg-type]


def look_of(rows: Sequence[WorkloadStatus] = (), findings: Sequence[FindingStatus] = ()) -> Status:
    counts: dict[Paradigm, int] = {}
    for each in rows:
        counts[each.paradigm] = counts.get(each.paradigm, 0) + 1
    return Status(taken_at=NOON, machine=MachineStatus(online=CpuSet(range(4))), rows=tuple(rows), counts=counts, findings=tuple(findings))


def finding(severity: Severity, kind: str = "vcpus_float", name: str | None = "db", since: datetime | None = None) -> FindingStatus:
    return FindingStatus(
        id=kind,
        severity=severity,
        workload=name,
        name=name,
        text="it waits",
        evidence="1 of 2",
        command=f"agent explain {name}",
        since=since,
    )


@pytest.mark.parametrize("width", [40, 80, 200])
def test_as_an_operator_reads_it(width: int, request: pytest.FixtureRequest) -> None:
    seen = window()
    wrong = (
        Finding(id="vcpus_float", severity="critical", workload="c0ffee", text="its processes are killed", evidence="3 now", remedy="x"),
        Finding(id="memory_remote", severity="warning", workload="vm", text="its memory is far", evidence="1 of 1 GiB", remedy="numatune"),
    )
    seen = replace(seen, after=replace(seen.after, findings=(*seen.after.findings, *wrong), gaps=(Gap("oci", "denied", "run", "be root"),)))
    shown = text(look_at(seen), width)
    assert max(map(cell_len, shown.splitlines())) <= width
    reviewed(f"status-{width}", shown, request)


def test_a_workload_that_has_no_name_shows_twelve_digits_of_its_id() -> None:
    crowd = tuple(replace(container(passed), id="0123456789abcdef" * 4, identity="x", name="") for passed in (0.0, 1.0))
    (shown,) = look_at(window(((crowd[0],), (crowd[1],)))).rows
    assert (shown.name, shown.reference) == ("0123456789ab", "0123456789ab")


def test_workloads_of_one_name_are_told_apart_by_a_word_that_other_verbs_take() -> None:
    seen = many(6)
    twins = tuple(replace(workload, name="python3") for workload in seen.after.workloads)
    look = look_at(replace(seen, after=replace(seen.after, workloads=twins)))
    assert len({shown.reference for shown in look.rows}) == 6
    assert all(f"python3 {shown.reference}" in text(look) or shown.reference.endswith(":python3") for shown in look.rows)


@pytest.mark.parametrize(
    ("severities", "code"),
    [((), 0), (("info",), 0), (("info", "warning"), 1), (("critical",), 2), (("warning", "critical", "info"), 2)],
)
def test_check_is_as_bad_as_the_worst_finding(severities: tuple[Severity, ...], code: int) -> None:
    assert exit_code(look_of(findings=[finding(severity) for severity in severities])) == code


def test_plain_agent_is_status(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["agent"])
    assert main() == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert {"Findings", "Workloads"} <= {line.split("  ")[0] for line in shown.out.splitlines()}
    assert "\x1b" not in shown.out


def test_words_of_the_command_line_are_those_of_the_model() -> None:
    assert get_args(SortKey) == SORT_KEYS
    assert {*KINDS.values()} == {*get_args(Paradigm)}


def test_absent_is_a_dash_and_unlimited_is_max() -> None:
    shown = text(look_of([row("bare"), row("free", cpu_limit=UNLIMITED, memory_limit_bytes=UNLIMITED, cpus_used=0.0, memory_bytes=0)]))
    bare, free = (next(line.split() for line in shown.splitlines() if line.startswith(name)) for name in ("bare", "free"))
    assert {*bare[3:]} == {"-"}
    assert free[3:8] == ["0", "max", "-", "-", "0B"]
    assert "max" in free[8]


@pytest.mark.parametrize(
    ("used", "shown"), [(None, "-"), (0.0, "0"), (0.0004, "<0.001"), (0.168, "0.168"), (0.9996, "1"), (1.524, "1.52"), (128.0, "128")]
)
def test_cpus_in_three_digits(used: float | None, shown: str) -> None:
    assert used_cpus(used) == shown


@pytest.mark.parametrize(
    ("size", "shown"), [(None, "-"), (0, "0B"), (1023, "1.00Ki"), (24.9 * 2**20, "24.9Mi"), (1000 * 2**20, "0.98Gi"), (UNLIMITED, "max")]
)
def test_bytes_in_six_cells(size: float | None, shown: str) -> None:
    assert compact(size) == shown


def test_findings_are_the_worst_first_and_many_alike_are_counted() -> None:
    several = [
        finding("info", "vcpus_pinned"),
        *(finding("warning", name=f"db-{at}") for at in range(50)),
        finding("critical", "memory_remote"),
    ]
    seen = window()
    shown = text(look_of(findings=sorted(several, key=lambda each: SEVERITIES.index(each.severity))))
    assert "Findings  1 critical finding  50 warnings  1 note" in shown
    assert shown.index("critical: db") < shown.index("warning: db-0") < shown.index("info: db")
    assert "and 49 more like it (vcpus_float): db-1, db-2, db-3, ...: agent status --json" in shown
    kinds = [each.severity for each in look_at(seen).findings]
    assert kinds == sorted(kinds, key=SEVERITIES.index)


def test_a_finding_says_since_when_only_where_somebody_watched() -> None:
    assert ", since 2" not in text(look_of(findings=[finding("warning")]))
    assert "it waits, since 2026-01-02 12:00:00" in text(look_of(findings=[finding("warning", since=NOON)]))
    assert b"since" not in json.render(look_of(findings=[finding("warning")]))


@pytest.mark.parametrize("number", [1, 50, 5000])
def test_a_line_a_workload_and_a_bounded_rest(number: int) -> None:
    few = look_at(many(min(number, 50)))
    rows = [replace(few.rows[at % len(few.rows)], name=f"web-{at}", reference=f"web-{at}") for at in range(number)]
    shown = text(replace(few, rows=tuple(rows)), 80).splitlines()
    table = shown[next(at for at, line in enumerate(shown) if line.startswith("Workloads")) + 2 :]
    assert len([line for line in table if re.match(r"!* *web-\d+", line)]) == number
    assert len(shown) - number < 60


@pytest.mark.parametrize("width", [40, 80, 250])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_of_200_characters_do_nothing_to_the_terminal(width: int, encoding: str) -> None:
    shown = text(look_at(many(60, HOSTILE * 20)), width, encoding)
    assert max(map(cell_len, shown.splitlines())) <= width
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\ue000]", shown)
    assert "a[red]b[/]" in shown


def test_a_terminal_has_colours_and_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    look = look_at(many(6, HOSTILE))
    coloured = render(look, width=120, terminal=True, encoding="utf-8").decode()
    plain = re.sub(r"\x1b\[[\d;]*m", "", coloured)
    assert coloured != plain
    assert [line.rstrip() for line in plain.splitlines()] == text(look, 120).splitlines()


@pytest.mark.parametrize("seconds", [0.0, 0.2])
def test_this_host_now(seconds: float, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--interval", str(seconds), "--width", "80"]) == 0
    shown = capfd.readouterr()
    assert shown.err == ""
    assert max(map(cell_len, shown.out.splitlines())) <= 80


def test_who_shares_which_cpus_divides_the_cpus() -> None:
    look = look_at(many(40))
    covered = [cpu for group in look.shared for cpu in group.cpus]
    assert sorted(covered) == list(look.machine.online)
    assert all(len(group.busiest) == min(group.workloads, BUSIEST) for group in look.shared)


def test_cpus_are_grouped_by_who_may_use_them() -> None:
    def pinned(passed: float) -> tuple[Workload, ...]:
        first, both = container(passed), machine(passed)
        return replace(first, placement=replace(first.placement, allowed_cpus=CpuSet((0,)))), both

    look = look_at(window((pinned(0.0), pinned(1.0))))
    groups = {str(group.cpus): (group.workloads, group.busiest) for group in look.shared}
    assert groups["0"] == (2, ("vm", "c0ffee")) or groups["0"] == (2, ("c0ffee", "vm"))
    assert groups["1"] == (1, ("vm",))


def test_nothing_is_not_the_same_as_not_known(tmp_path: Path) -> None:
    session = Session(root=SysRoot(tmp_path), config=Config(root=str(tmp_path)))
    seen = take_window(session)
    nothing = status(seen, snapshot_of(seen, 0.0))
    assert nothing.counts is None
    assert "Workloads  not known" in text(nothing)
    assert "CPU - of - in use" in text(nothing)
    empty: Host = replace(window().after, workloads=(), gaps=())
    idle = replace(window(), after=empty)
    assert "Workloads  none" in text(look_at(idle))


def test_what_has_no_room_is_named() -> None:
    narrow, wide = (text(look_at(window()), width) for width in (40, 250))
    assert "No room for:" in narrow
    assert "CPUs allowed" in re.sub(r"\s+", " ", narrow)
    assert "No room for" not in wide
