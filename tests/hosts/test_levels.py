"""Series of level core that a workload of a recorded host has: as few as a fleet can keep."""

from __future__ import annotations

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporters.metrics.catalogue import METRICS
from exporters.metrics.of_overhead import OVERHEAD_METRICS
from tests.hosts.trees import NAMES, TREES

MOST = {"containerization": 25, "virtualization": 40, "sandbox": 15, "process": 25}
# Findings and what the model says come on top.
COUNTED = {metric.name for metric in METRICS if metric.level == "core" and metric not in OVERHEAD_METRICS} - {"strata_finding_info"}


@pytest.mark.parametrize("name", NAMES)
def test_series_of_a_workload(name: str) -> None:
    families = text_string_to_metric_families((TREES / f"{name}.prom").read_text())
    samples = [sample for family in families for sample in family.samples if "workload" in sample.labels]
    paradigms = {sample.labels["workload"]: sample.labels["paradigm"] for sample in samples if sample.name == "strata_workload_info"}
    series = Counter(sample.labels["workload"] for sample in samples if sample.name in COUNTED)
    assert {workload: count for workload, count in series.items() if count > MOST[paradigms[workload]]} == {}
