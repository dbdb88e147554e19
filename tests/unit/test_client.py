"""exporters/metrics/client.py: prometheus-client's own renderer and ours say the same of one snapshot."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from agent.config import Config
from agent.embed import collector
from agent.model.snapshot import Snapshot
from exporters.metrics.catalogue import METRICS, exposition
from exporters.metrics.client import StrataCollector
from exporters.metrics.of_agent import PROCESS_METRICS, Run
from exporters.metrics.text import TextCache
from tests.unit.filled import document

RUN = Run(
    seconds={"sys_cpu": 0.25, "qemu": 0.5},
    ages={"docker_engine": 1.5},
    cpu_seconds=1.25,
    resident_bytes=20 << 20,
    open_fds=11,
    started_at=1700000000.5,
)
Samples = list[tuple[str, frozenset[tuple[str, str]], float]]


def samples(families: Iterable[Metric]) -> Samples:
    return sorted(
        ((sample.name, frozenset(sample.labels.items()), sample.value) for family in families for sample in family.samples),
        key=lambda sample: (sample[0], sorted(sample[1])),
    )


def headers(text: str) -> set[str]:
    return {line for line in text.splitlines() if line.startswith("#")}


def hostile(snapshot: Snapshot) -> Snapshot:
    return replace(snapshot, workloads=tuple(replace(workload, name='a"b\\n\\\n{x="1"}鲸') for workload in snapshot.workloads))


@pytest.mark.parametrize("snapshot", [document(), hostile(document())], ids=["filled", "hostile"])
def test_both_renderers_say_the_same(snapshot: Snapshot) -> None:
    registry = CollectorRegistry()
    registry.register(StrataCollector(lambda: (snapshot, RUN), process=True))
    theirs, ours = generate_latest(registry).decode(), exposition(snapshot, RUN, TextCache()).decode()
    assert samples(parse_text(theirs)) == samples(parse_text(ours))
    assert headers(theirs) == headers(ours)
    theirs = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    ours = exposition(snapshot, RUN, TextCache(), openmetrics=True).decode()
    assert samples(parse_openmetrics(theirs)) == samples(parse_openmetrics(ours))  # type: ignore[no-untyped-call]
    assert headers(theirs) == headers(ours)


def test_beside_the_collectors_of_the_library() -> None:
    """What is in its default registry has the names of the process' metrics."""
    registry = CollectorRegistry(auto_describe=True)
    for theirs in (ProcessCollector, PlatformCollector, GCCollector):
        theirs(registry=registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(StrataCollector(lambda: (document(), RUN), process=True))
    registry.register(StrataCollector(lambda: (document(), RUN)))
    text = generate_latest(registry).decode()
    shown = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")}
    assert shown >= {metric.name for metric in METRICS}
    ours = exposition(document(), RUN, TextCache()).decode()
    process = {metric.name for metric in PROCESS_METRICS}
    assert [sample for sample in samples(parse_text(text)) if sample[0].startswith("strata_")] == [
        sample for sample in samples(parse_text(ours)) if sample[0] not in process
    ]


def test_registering_reads_nothing() -> None:
    def read() -> tuple[Snapshot, Run]:
        raise AssertionError("read")

    registry = CollectorRegistry(auto_describe=True)
    registry.register(StrataCollector(read))
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(StrataCollector(read))


def test_embedded_on_a_tree(tmp_path: Path) -> None:
    """The three lines of agent/embed.py, of another root."""
    registry = CollectorRegistry()
    registry.register(collector(Config(root=str(tmp_path)), process=True))
    text = generate_latest(registry).decode()
    assert 'strata_source_gap_info{reason="absent",source="cgroup"} 1.0' in text
    assert "process_cpu_seconds_total " in text
