"""exporters/metrics: each declared metric on a document that is filled, the language of declarations, the renderer and its cache."""

from __future__ import annotations

import re
import runpy
import sys
from collections import Counter

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from agent.model.components import COMPONENTS, METRIC_UNITS, UNITS
from agent.model.physical import Core, Cpus, MainMemory, Node, Package, Physical
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet, Limit
from exporters.metrics.catalogue import METRICS, exposition, families
from exporters.metrics.family import Family, Metric, counter, gauge, info
from exporters.metrics.of_agent import Run
from exporters.metrics.reference import reference
from exporters.metrics.text import TextCache, render
from tests.unit.filled import FIXED, document, optional_fields, records, without
from tests.unit.told import reviewed

RUN = Run(
    seconds={"sys_cpu": 0.25, "qemu": 0.5},
    ages={"docker_engine": 1.5},
    cpu_seconds=1.25,
    resident_bytes=20 << 20,
    open_fds=11,
    started_at=1700000000.5,
)
TWO, ONE = CpuSet((0, 1)), CpuSet((0,))
SUFFIXES = {
    "seconds": "_seconds",
    "Unix seconds": "_time_seconds",
    "bytes": "_bytes",
    "bytes per second": "_bytes_per_second",
    "transfers per second": "_transfers_per_second",
    "per second": "_per_second",
    "ratio": "_ratio",
    "CPUs": "_cpus",
    "references": "_references",
    "hertz": "_hertz",
}


def text_of(snapshot: Snapshot, openmetrics: bool = False) -> str:
    return exposition(snapshot, RUN, TextCache(), openmetrics).decode()


def one(metric: Metric, *samples: tuple[tuple[str | int | CpuSet | None, ...], float | int | None]) -> Family:
    return Family(metric, tuple(labels for labels, _ in samples), tuple(value for _, value in samples))


def test_every_family_of_a_filled_document(request: pytest.FixtureRequest) -> None:
    """Each field has a value of its own: a family that shows another one, or none, shows here."""
    text = text_of(document())
    reviewed("every-family", text, request)
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert shown == {metric.name for metric in METRICS}


def test_an_absent_value_changes_no_other() -> None:
    """Law 1, for each field of a document: its families lose values, and have no new ones."""
    filled = document()
    shown = {family.metric: set(family.values) for family in families(filled, RUN)}
    changed = set()
    for kind, field in optional_fields():
        for family in families(without(filled, kind, field), RUN):
            if not set(family.values) <= shown[family.metric] | {None}:
                changed.add((kind.__name__, field, family.metric.name))
    # A statement that nothing contradicts is counted as one that agrees.
    assert changed == {("Statement", "mismatch", "strata_workload_statements")}


def test_the_reference_says_type_unit_and_level() -> None:
    rows = [line.split(" | ") for line in reference().splitlines() if line.startswith("| `")]
    assert {(row[0], row[1], row[2], row[-1]) for row in rows} == {
        (f"| `{metric.name}`", metric.type, metric.unit or "", f"{metric.level} |") for metric in METRICS
    }


def test_the_reference_is_what_its_command_prints(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "exporters.metrics.reference")
    runpy.run_module("exporters.metrics.reference", run_name="__main__")
    assert capsys.readouterr().out == reference()


@pytest.mark.parametrize(
    ("physical", "counts"),
    [
        (Physical(cpus=Cpus(online=CpuSet()), memory=MainMemory()), {}),
        (Physical(cpus=Cpus(online=TWO), memory=MainMemory(), nodes=(Node(os_index=0),)), {"thread": 2, "node": 1}),
        (
            Physical(cpus=Cpus(online=TWO), memory=MainMemory(), packages=(Package(cpus=TWO, os_index=0),), cores=(Core(TWO, 0, 0),)),
            {"package": 1, "core": 1, "thread": 2},
        ),
        # A package that does not have all CPUs may not be the only one.
        (
            Physical(cpus=Cpus(online=TWO), memory=MainMemory(), packages=(Package(cpus=ONE, os_index=0),), cores=(Core(ONE, 0, 0),)),
            {"thread": 2},
        ),
    ],
)
def test_what_is_not_there_is_not_counted(physical: Physical, counts: dict[str, int]) -> None:
    (objects,) = [
        family for family in families(replace(document(), physical=physical), RUN) if family.metric.name == "strata_topology_objects"
    ]
    assert dict(zip([kind for (kind,) in objects.labels], objects.values, strict=True)) == counts


def test_what_is_fixed_are_fields_of_a_document() -> None:
    fields = {kind.__name__: set(kind.__struct_fields__) for kind in records(Snapshot)}
    assert all(set(fixed) <= fields[name] for name, fixed in FIXED.items())


def test_no_series_is_there_twice() -> None:
    series = Counter(
        (sample.name, frozenset(sample.labels.items()))
        for family in text_string_to_metric_families(text_of(document()))
        for sample in family.samples
    )
    assert [name for name, count in series.items() if count > 1] == []


def test_families_are_those_of_the_catalogue() -> None:
    found = [family.metric for family in families(document(), RUN)]
    assert sorted(metric.name for metric in found) == sorted(metric.name for metric in METRICS)
    assert set(found) == set(METRICS)
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.base_name for metric in METRICS}) == len(METRICS)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_declaration(metric: Metric) -> None:
    assert re.fullmatch(r"(strata|process)(_[a-z]+)+", metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert metric.name.endswith("_info") == (metric.type == "info")
    assert (metric.unit is None) == (metric.type == "info")
    assert metric.base_name.endswith(SUFFIXES.get(metric.unit or "", "")), metric.unit
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", label) for label in metric.labels)
    assert len(set(metric.labels)) == len(metric.labels)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_help_stands_alone(metric: Metric) -> None:
    """One sentence, unit and source in it, with nothing that the formats escape."""
    assert re.fullmatch(r"[A-Zv][^;.\\\n]*", metric.meaning)
    assert re.fullmatch(r"[^;\\\n]*[^;.\\\n]", metric.source)
    unit = f", {metric.unit}" if metric.unit else ""
    assert metric.help == f"{metric.meaning}{unit}; {metric.source}."
    assert len(metric.help) < 260


def test_every_base_unit_of_the_model_has_its_families() -> None:
    names = {metric.name for metric in METRICS}
    measured = {UNITS[component.unit].metric for component in COMPONENTS.values() if component.measured_by}
    wanted = {f"strata_overhead_predicted_{unit}" for unit in METRIC_UNITS} | {f"strata_overhead_measured_{unit}" for unit in measured}
    assert wanted == {name for name in names if name.startswith(("strata_overhead_predicted_", "strata_overhead_measured_"))}


def test_a_unit_that_nobody_knows_ends_no_scrape() -> None:
    filled = document()
    strange = tuple(replace(prediction, unit="parsecs") for prediction in filled.predictions)
    text = text_of(replace(filled, predictions=strange))
    assert "strata_overhead_predicted" not in text
    assert "strata_overhead_inside_interval{" in text


def test_absent_values_and_labels_make_no_series() -> None:
    size, _ = gauge("strata_x_bytes", "Size", "bytes", "a test", None, labels=("node", "cpus"))
    family = one(size, ((0, CpuSet((1, 2))), 5), ((1, None), 0), ((None, None), 7), ((3, None), None))
    assert render([family, one(size)], TextCache()).decode() == (
        "# HELP strata_x_bytes Size, bytes; a test.\n# TYPE strata_x_bytes gauge\n"
        'strata_x_bytes{node="0",cpus="1-2"} 5\nstrata_x_bytes{node="1"} 0\nstrata_x_bytes 7\n'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1 << 62, "4611686018427387904"),
        (0.1, "0.1"),
        (1e-9, "1e-09"),
        (2.0, "2.0"),
        (Limit(1.5), "1.5"),
        (Limit("inf"), "+Inf"),
        (float("-inf"), "-Inf"),
        (float("nan"), "NaN"),
        (True, "1"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    metric, _ = gauge("strata_x", "X", "objects", "a test", None)
    assert render([one(metric, ((), value))], TextCache()).decode().splitlines()[-1] == f"strata_x {text}"


def test_openmetrics_names_and_end() -> None:
    runs, _ = counter("strata_runs_total", "Runs", "events", "a test", None)
    build, _ = info("strata_build_info", "Build", "a test", None, labels=("version",))
    text = render([one(runs, ((), 3)), one(build, (('1"\\\n',), 1))], TextCache(), openmetrics=True).decode()
    assert text == (
        "# HELP strata_runs Runs, events; a test.\n# TYPE strata_runs counter\nstrata_runs_total 3\n"
        '# HELP strata_build Build; a test.\n# TYPE strata_build info\nstrata_build_info{version="1\\"\\\\\\n"} 1\n# EOF\n'
    )
    assert "# TYPE strata_build_info gauge\n" in render([one(build, (("1",), 1))], TextCache()).decode()


def test_what_a_cache_holds_changes_no_text() -> None:
    """Texts of before are used again where labels and values are the same, and nowhere else."""
    cache, first = TextCache(), document()
    moved = tuple(replace(workload, memory=replace(workload.memory, current_bytes=at)) for at, workload in enumerate(first.workloads))
    less = tuple(replace(workload, vcpus=()) for workload in first.workloads[1:])
    renamed = tuple(replace(workload, id=f"again {workload.id}") for workload in first.workloads)
    for workloads in (first.workloads, moved, first.workloads, renamed, less, (), first.workloads):
        for openmetrics in (False, True):
            snapshot = replace(first, workloads=workloads)
            assert exposition(snapshot, RUN, cache, openmetrics) == exposition(snapshot, RUN, TextCache(), openmetrics)


def test_a_cache_lets_go_of_workloads_that_ended() -> None:
    size, _ = gauge("strata_x_bytes", "Size", "bytes", "a test", None, labels=("workload",))
    cache = TextCache()
    for start in range(0, 100_000, 1000):
        render([one(size, *(((f"id {number}",), 1) for number in range(start, start + 1000)))], cache)
    assert 1000 <= len(cache.labels["workload",]) <= 3000
    render([], cache)
    assert sum(len(texts) for texts in cache.labels.values()) <= 256
