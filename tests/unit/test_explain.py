"""agent explain and agent what-if for people: whole, short, equal to the snapshot's figures, and never obeyed by the terminal."""

from __future__ import annotations

import json

import msgspec
import pytest
from msgspec.structs import replace
from rich.cells import cell_len

from agent.model.change import Change, Explanation, Lost
from agent.model.components import COMPONENTS
from agent.model.facts.cgroup import WorkloadCpu
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.model.workload import Workload
from agent.overhead.compose import predict
from agent.overhead.explain import KEY_FIGURES, explain
from agent.overhead.learned import Track
from agent.overhead.residuals import History
from agent.overhead.what_if import what_if
from agent.overhead.window import Window
from exporters.views import explain as view
from exporters.views import json as document_json
from exporters.views import what_if as what_if_view
from exporters.views.figures import duration, figure, interval, saved
from tests.unit.overhead_hosts import BOTH, MIB, container, cpu, machine, thread
from tests.unit.told import HOSTILE, at, document, reviewed, window

KINDS = ("containerization", "virtualization", "sandbox")


def explained(seen: Window, which: str) -> Explanation:
    (workload,) = [one for one in seen.after.workloads if one.paradigm == which]
    return explain(seen, workload, predict(seen))


def shown(one: Explanation, width: int = 100, terminal: bool = False, encoding: str = "utf-8") -> str:
    return view.render(one, width=width, terminal=terminal, encoding=encoding).decode(encoding)


@pytest.mark.parametrize("which", KINDS)
@pytest.mark.parametrize("width", [80, 140])
def test_as_an_operator_reads_it(which: str, width: int, request: pytest.FixtureRequest) -> None:
    text = shown(explained(window(), which), width)
    assert max(map(cell_len, text.splitlines())) <= width
    reviewed(f"explain-{which}-{width}", text, request)


@pytest.mark.parametrize("which", KINDS)
def test_every_prediction_of_the_snapshot_is_on_one_layer(which: str) -> None:
    seen = window()
    one = explained(seen, which)
    costs = [cost for level in (*one.cpu, *one.memory) for cost in level.costs]
    expected = [prediction for prediction in document(seen).predictions if prediction.workload == one.workload]
    assert sorted((cost.prediction for cost in costs), key=lambda p: p.component) == sorted(expected, key=lambda p: p.component)
    assert sum(cost.share for cost in costs if cost.share is not None) == pytest.approx(1)
    assert sum(cost.measured_share for cost in costs if cost.measured_share is not None) == pytest.approx(1)
    assert one.lost
    assert one.lost.lo <= one.lost.value <= one.lost.hi
    assert one.lost.value == pytest.approx(sum(cost.lost for cost in costs if cost.lost))
    assert [level.name for level in one.cpu] == [
        layer.name for layer in next(w for w in seen.after.workloads if w.id == one.workload).stack.cpu
    ]


def test_the_heaviest_five_come_first() -> None:
    """A quota that holds two threads back: waiting and throttling are first, what hardly costs anything is not there."""
    one = explained(window(((quota_bound(0.0),), (quota_bound(1.0),)), busy=2.5), "containerization")
    weights = {cost.prediction.component: cost.weight for level in (*one.cpu, *one.memory) for cost in level.costs}
    assert len(one.key_figures) == KEY_FIGURES
    assert one.key_figures[0] == max(weights, key=lambda name: weights[name] or 0.0)
    assert {"run_queue_delay", "throttled_periods"} <= {*one.key_figures}
    assert not {"start_time", "walk_cost", "walk_references"} & {*one.key_figures}
    shown_weights = [weights[name] or 0.0 for name in one.key_figures]
    assert shown_weights == sorted(shown_weights, reverse=True)
    assert min(shown_weights) >= max(weight or 0.0 for name, weight in weights.items() if name not in one.key_figures)
    assert all(0 <= (weight or 0.0) <= 1 for weight in weights.values())


def test_where_the_total_is_not_known_its_parts_still_count() -> None:
    seen = window()
    predictions = [prediction for prediction in predict(seen) if prediction.component != "run_queue_delay"]
    one = explain(seen, seen.after.workloads[1], predictions)
    assert one.lost is None
    assert {"shared_core", "remote_memory"} <= {*one.key_figures}
    assert "Measured: its threads waited 200 ms of each second for a CPU." in " ".join(shown(one).split())


def test_an_idle_workload_is_slowed_by_nothing_that_matters() -> None:
    """However busy the other thread of its core is, and however much of its fair share it leaves."""
    tasks = tuple(replace(task, run_ns=10**9, delay_ns=0, timeslices=5, state="S") for task in container(0.0).threads)
    asleep = replace(container(0.0), cpu=WorkloadCpu(), threads=tasks)
    one = explained(window(((asleep,), (asleep,)), busy=9.0), "containerization")
    weights = {cost.prediction.component: cost.weight for level in (*one.cpu, *one.memory) for cost in level.costs}
    assert one.idle
    assert not any(weights.get(name) for name in ("shared_core", "cpu_share", "switching"))
    assert "nothing: it is idle" in shown(one)


def told_of(component: str, **changes: float | str | bool) -> str:
    """The first part of the view, with one prediction changed."""
    seen = window()
    predictions = [replace(p, **changes) if p.component == component else p for p in predict(seen)]
    return shown(explain(seen, seen.after.workloads[1], predictions), 80).split("Who else")[0]


@pytest.mark.parametrize("component", ["run_queue_delay", "steal", "remote_memory"])
def test_an_interval_that_was_learned_says_from_how_many_windows(component: str) -> None:
    text = told_of(component, interval="learned", windows=34, coverage=0.9123)
    assert f"learned: {COMPONENTS[component].meaning}, from 34 windows before, 91.2 % held so far." in " ".join(text.split())
    assert "learned" not in told_of(component)


def watched(key: tuple[str, str, str], inside: float) -> dict[tuple[str, str, str], History]:
    """What a daemon has seen of one figure in 40 windows."""
    past = Track(windows=40, scored=20.0, inside=20.0 * inside, score=5.0)
    fields = {name: past for name in History.__struct_fields__ if isinstance(getattr(History(), name), Track)}
    history = History()
    for name, track in fields.items():
        setattr(history, name, track)
    return {key: history}


@pytest.mark.parametrize("component", ["run_queue_delay", "steal"])
def test_how_well_a_daemon_did_is_said(component: str) -> None:
    seen = window()
    vm = seen.after.workloads[1]
    own = explain(seen, vm, predict(seen), watched((vm.id, vm.identity, component), 0.75))
    assert [(score.component, score.coverage, score.score_ratio) for score in own.scores] == [(component, 0.75, 1.0)]
    text = " ".join(shown(own, 80).split())
    assert f"agent serve: {COMPONENTS[component].meaning}, 75 % of its forecasts inside over 40 windows; 0" in text
    assert "wide; interval score 1 times that of 'as in the last window'." in text
    others = watched((vm.id, "reborn", component), 0.75) | watched(("c0ffee", "c0ffee:1", component), 0.75)
    assert explain(seen, vm, predict(seen), others).scores == ()


@pytest.mark.parametrize(("measured", "word"), [(0.2, "inside"), (0.9, "above"), (0.0, "below")])
def test_what_was_measured_is_judged(measured: float, word: str) -> None:
    text = told_of("run_queue_delay", measured=measured, lo=0.1, hi=0.5, inside=0.1 <= measured <= 0.5)
    row = next(line for line in text.splitlines() if line.startswith("waits for a CPU, of"))
    assert row.split()[-2:] == [word, "prior"]


@pytest.mark.parametrize("component", ["run_queue_delay", "exits", "memory_overhead"])
def test_what_is_not_judged_has_no_verdict(component: str) -> None:
    seen = window()
    predictions = [replace(p, inside=None, lo=0.0, hi=1e-9) if p.component == component else p for p in predict(seen)]
    text = shown(explain(seen, seen.after.workloads[1], predictions), 80).split("layer by layer", 1)[1]
    after = text.split(f"{COMPONENTS[component].meaning}: predicted")[1].split("measured ", 1)[1].splitlines()[0]
    assert "predicted" not in after


@pytest.mark.parametrize("component", ["exits", "halt_polling", "memory_overhead"])
def test_what_missed_is_named_however_little_it_weighs(component: str) -> None:
    text = " ".join(told_of(component, value=1.0, lo=0.5, hi=2.0, measured=3.0, inside=False).split())
    assert "above" in text or f"Outside their intervals, too: {COMPONENTS[component].meaning}, measured 3" in text


def test_a_unit_of_the_host_has_no_container_and_no_runtime() -> None:
    before, after = ((replace(container(passed), paradigm="process"),) for passed in (0.0, 1.0))
    seen = window((before, after))
    one = explained(seen, "process")
    assert [level.name for level in one.cpu] == [level.name for level in one.memory] == ["hardware", "host OS", "application"]
    assert [cost.prediction.component for cost in one.cpu[2].costs] == ["start_time"]


def test_every_component_has_a_meaning() -> None:
    assert not [one.component for one in predict(window()) if not COMPONENTS[one.component].meaning]


def quota_bound(passed: float) -> Workload:
    """Two threads that never sleep under half a CPU."""
    told = replace(cpu(passed, usage=5.0), throttled_usec=int(1e6 * (1 + 15 * passed)))
    threads = tuple(
        replace(thread(tid, passed), run_ns=int(1e9 * (1 + 2.5 * passed)), delay_ns=int(1e9 * (1 + 7.5 * passed))) for tid in (11, 12)
    )
    return replace(container(passed), cpu=told, threads=threads)


def test_the_change_that_pays_most_is_a_lifted_quota() -> None:
    seen = window(((quota_bound(0.0),), (quota_bound(1.0),)), busy=2.5)
    one = explained(seen, "containerization")
    assert one.advice
    assert one.advice.change == Change(cpus=UNLIMITED)
    assert one.advice.lost
    assert one.advice.lost.value < -0.3
    assert one.advice == what_if(seen, seen.after.workloads[0], Change(cpus=UNLIMITED))
    text = shown(one)
    assert "Lift its CPU quota: predicted to save" in text
    assert "agent what-if c0ffee --cpus max" in text


def test_nothing_would_help_is_an_answer() -> None:
    idle = replace(container(1.0), cpu=replace(cpu(1.0), quota_usec=UNLIMITED, throttled_usec=0))
    quiet = tuple(replace(one, delay_ns=1000, timeslices=10, voluntary_switches=5, involuntary_switches=5) for one in idle.threads)
    after = replace(idle, threads=quiet, placement=replace(idle.placement, memory_by_node={0: MIB}))
    born = tuple(replace(one, run_ns=0, timeslices=0, voluntary_switches=0, involuntary_switches=0, delay_ns=0) for one in quiet)
    seen = window(((replace(after, threads=born),), (after,)), busy=0.1)
    one = explained(seen, "containerization")
    assert one.advice is None
    assert one.considered
    assert "Nothing would help, as far as the model can tell. Tried: keep its memory on node 1." in " ".join(shown(one).split())


def test_what_is_not_known_is_said_to_be_so() -> None:
    bare = replace(container(1.0), threads=())
    one = explained(Window(after=at(1.0, (bare,))), "containerization")
    assert one.lost is None
    assert one.advice is None
    assert one.considered == ()
    text = shown(one)
    assert "is not known" in text
    assert "Nothing would help" not in text


def test_what_is_misplaced_is_the_snapshots_findings() -> None:
    """Two vCPUs pinned to the threads of one core."""
    pinned = tuple(
        tuple(replace(one, affinity=CpuSet((one.number,)), pinned=True) for one in machine(passed).vcpus) for passed in (0.0, 1.0)
    )
    seen = window(((replace(machine(0.0), vcpus=pinned[0]),), (replace(machine(1.0), vcpus=pinned[1]),)))
    one = explained(seen, "virtualization")
    assert one.findings == document(seen).findings
    (crowded,) = [found for found in one.findings if found.id == "vcpus_on_one_core"]
    text = " ".join(shown(one).split())
    assert f"{crowded.text} ({crowded.evidence}) remedy: {crowded.remedy}" in text
    assert all(found.text in text for found in one.findings if found.remedy)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_hostile_name_is_text(terminal: bool, encoding: str) -> None:
    seen = window(((replace(container(0.0), name=HOSTILE),), (replace(container(1.0), name=HOSTILE, cgroup=HOSTILE),)))
    one = explained(seen, "containerization")
    answer = what_if(seen, seen.after.workloads[0], Change(cpus=Limit(1)))
    for text in (
        shown(one, terminal=terminal, encoding=encoding),
        what_if_view.render(answer, width=100, terminal=terminal, encoding=encoding).decode(encoding),
    ):
        assert "[red]b[/]" in text
        assert not set(text) & {"\x9b", "\r", "\x07", "\u202e"}
        assert "\x1b[31m\x9b" not in text
        assert terminal or "\x1b" not in text


@pytest.mark.parametrize("which", KINDS)
def test_json_is_the_whole_record(which: str) -> None:
    one = explained(window(), which)
    told = json.loads(document_json.render(one))
    assert told["workload"] == one.workload
    assert len(told["cpu"]) == len(one.cpu)
    answer = what_if(window(), window().after.workloads[0], Change(cpus=UNLIMITED, pin=BOTH))
    assert msgspec.json.decode(document_json.render(answer))["change"] == {"pin": "0-1", "cpus": "max"}


@pytest.mark.parametrize(
    ("name", "which", "change"),
    [
        ("vm", 0, Change(paradigm="virtualization")),
        ("sandbox", 0, Change(paradigm="sandbox")),
        ("container", 2, Change(paradigm="containerization")),
        ("hugepages", 1, Change(hugepages=True)),
        ("pin-node", 0, Change(pin=CpuSet((1,)), node=1)),
        ("nothing", 0, Change(pin=BOTH)),
    ],
)
def test_what_if_as_an_operator_reads_it(name: str, which: int, change: Change, request: pytest.FixtureRequest) -> None:
    seen = window()
    text = what_if_view.render(what_if(seen, seen.after.workloads[which], change), width=120, terminal=False, encoding="utf-8").decode()
    assert "predicted" in text or "No figure" in text
    reviewed(f"what-if-{name}", text, request)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0125, "seconds/second", "12.5 ms a second"),
        (0.15, "ratio", "15 %"),
        (0.9999, "seconds", "1 s"),
        (3.95e-9, "seconds/walk", "3.95 ns"),
        (-2.0 * MIB, "bytes", "-2 MiB"),
        (24.0, "references/walk", "24"),
        (1.5, "CPUs", "1.5 CPUs"),
        (0.0, "seconds", "0 s"),
        (119.0, "seconds", "119 s"),
        (1300.0, "seconds", "21.7 min"),
        (7200.0, "seconds", "2 h"),
        (13.5, "ratio", "1350 %"),
        (1234567.0, "1/second", "1234567 a second"),
    ],
)
def test_figures(value: float, unit: str, text: str) -> None:
    assert figure(value, unit) == text


def test_intervals() -> None:
    assert interval(0.01, 0.02, "ratio") == "1 to 2 %"
    assert interval(1e-3, 2.0, "seconds/second") == "1 ms to 2 s a second"
    assert duration(-1e-3) == "-1 ms"
    assert saved(Lost(-1, -2, -0.5)) == "predicted to save 1 s of each second that it wants to run (500 ms to 2 s)"
    assert saved(Lost(0.1, -2, 0.5)) == "predicted to cost 100 ms of each second that it wants to run (from 2 s saved to 500 ms lost)"
    assert saved(Lost(0, 0, 0)) == "predicted to save nothing of each second that it wants to run (0 s to 0 s)"
