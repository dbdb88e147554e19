"""Recordings of the lab's machines render to stored texts; `pytest --update-golden` rewrites them, and the difference is the review.

NAME.json is the snapshot, NAME.prom the whole exposition of the same snapshot. `python -m tests.lab.tiny record` makes the recordings.
"""

from __future__ import annotations

import lzma
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.collect.sources import SOURCES
from agent.config import Config
from agent.service import once
from collectors.root import SysRoot
from exporters.metrics.catalogue import METRICS, exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import json
from tests.lab.shapes import SHAPES
from tests.lab.tiny import TREES, pack
from tests.met import meet
from tests.need import need, which

NAMES = sorted(path.name.removesuffix(".tar.xz") for path in TREES.glob("*.tar.xz"))


def unpack(name: str, into: Path) -> Path:
    with tarfile.open(TREES / f"{name}.tar.xz") as archive:
        for member in archive:
            place = into / member.name
            if member.isdir():
                place.mkdir()
            elif (content := archive.extractfile(member)) is not None:
                place.write_bytes(content.read())
    return into


def test_every_shape_is_recorded_and_nothing_else() -> None:
    assert sorted(shape.name for shape in SHAPES) == NAMES
    assert {path.name.partition(".")[0] for path in TREES.iterdir()} == set(NAMES)


# What a pass cost is another number each time.
RUN = Run(seconds=dict.fromkeys(SOURCES, 0.001), cpu_seconds=1.25, resident_bytes=20 << 20, open_fds=11, started_at=1700000000.5)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tree = unpack(name, tmp_path)
    snapshot = once(SysRoot(tree), Config(root=str(tree)))
    rendered = {"json": json.render(snapshot, pretty=True), "prom": exposition(snapshot, RUN, TextCache())}
    for ending, text in rendered.items():
        golden = TREES / f"{name}.{ending}"
        if request.config.getoption("--update-golden"):
            golden.write_bytes(text)
        assert golden.is_file(), f"no {golden.name}: run pytest --update-golden"
        assert text.decode().splitlines() == golden.read_text().splitlines()
    meet("recorded trees", name)


@pytest.mark.parametrize("name", NAMES)
def test_no_series_is_there_twice(name: str) -> None:
    """promtool does not look."""
    families = text_string_to_metric_families((TREES / f"{name}.prom").read_text())
    series = Counter((sample.name, frozenset(sample.labels.items())) for family in families for sample in family.samples)
    assert {one: count for one, count in series.items() if count > 1} == {}


@pytest.mark.parametrize("name", NAMES)
def test_promtool_has_nothing_to_say(name: str) -> None:
    need("promtool")
    checked = subprocess.run(
        [which("promtool") or "", "check", "metrics"],
        input=(TREES / f"{name}.prom").read_bytes(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


# Families that no recorded tree has a series of, yet.
UNCOVERED: frozenset[str] = frozenset(
    (
        "strata_cpuset_partition_info",
        "strata_edac_controller_correctable_errors_total",
        "strata_edac_controller_uncorrectable_errors_total",
        "strata_edac_correctable_errors_total",
        "strata_edac_dimm_info",
        "strata_edac_uncorrectable_errors_total",
        "strata_ksm_profit_bytes",
        "strata_machine_counters_age_seconds",
        "strata_machine_mapped_pages",
        "strata_machine_memory_age_seconds",
        "strata_machine_memory_overcommit_ratio",
        "strata_machine_run_seconds_total",
        "strata_machine_thread_info",
        "strata_memory_theoretical_bandwidth_bytes_per_second",
        "strata_overhead_inside_interval",
        "strata_overhead_measured_bytes",
        "strata_overhead_measured_cpus",
        "strata_overhead_measured_per_second",
        "strata_overhead_measured_ratio",
        "strata_overhead_measured_references",
        "strata_overhead_measured_seconds",
        "strata_overhead_parameter_ratio",
        "strata_overhead_parameter_seconds",
        "strata_overhead_predicted_bytes",
        "strata_overhead_predicted_cpus",
        "strata_overhead_predicted_per_second",
        "strata_overhead_predicted_ratio",
        "strata_overhead_predicted_references",
        "strata_overhead_predicted_seconds",
        "strata_overhead_smoothed_ratio",
        "strata_pressure_irq_stalled_seconds_total",
        "strata_pressure_irq_waiting_seconds_total",
        "strata_scheduler_base_slice_seconds",
        "strata_swap_size_bytes",
        "strata_swap_used_bytes",
        "strata_topology_contradictions",
        "strata_vcpu_all_exits_total",
        "strata_vcpu_directed_yields_total",
        "strata_vcpu_exits_total",
        "strata_vcpu_halt_poll_seconds_total",
        "strata_vcpu_halt_wait_seconds_total",
        "strata_vcpu_info",
        "strata_vcpu_last_cpu",
        "strata_vcpu_limit_cpus",
        "strata_vcpu_overcommit_ratio",
        "strata_vcpu_run_delay_seconds_total",
        "strata_vcpu_run_seconds_total",
        "strata_vcpu_seconds_total",
        "strata_workload_address_space_guard_bytes",
        "strata_workload_address_space_reserved_bytes",
        "strata_workload_cpu_limit_cpus",
        "strata_workload_cpu_periods_total",
        "strata_workload_cpu_seconds_total",
        "strata_workload_cpu_system_seconds_total",
        "strata_workload_cpu_throttled_periods_total",
        "strata_workload_cpu_throttled_seconds_total",
        "strata_workload_cpu_user_seconds_total",
        "strata_workload_info",
        "strata_workload_label_info",
        "strata_workload_linear_memories",
        "strata_workload_major_page_faults_total",
        "strata_workload_memory_allotted_bytes",
        "strata_workload_memory_anon_bytes",
        "strata_workload_memory_backing_bytes",
        "strata_workload_memory_backing_swapped_bytes",
        "strata_workload_memory_current_bytes",
        "strata_workload_memory_events_total",
        "strata_workload_memory_file_bytes",
        "strata_workload_memory_kernel_bytes",
        "strata_workload_memory_limit_bytes",
        "strata_workload_memory_node_bytes",
        "strata_workload_memory_peak_bytes",
        "strata_workload_memory_remote_ratio",
        "strata_workload_memory_resident_bytes",
        "strata_workload_memory_swap_bytes",
        "strata_workload_nodes_spanned",
        "strata_workload_page_faults_total",
        "strata_workload_placement_info",
        "strata_workload_pod_info",
        "strata_workload_pressure_cpu_stalled_seconds_total",
        "strata_workload_pressure_cpu_waiting_seconds_total",
        "strata_workload_pressure_io_stalled_seconds_total",
        "strata_workload_pressure_io_waiting_seconds_total",
        "strata_workload_pressure_irq_stalled_seconds_total",
        "strata_workload_pressure_memory_stalled_seconds_total",
        "strata_workload_pressure_memory_waiting_seconds_total",
        "strata_workload_reclaimed_pages_total",
        "strata_workload_refaults_total",
        "strata_workload_run_delay_seconds_total",
        "strata_workload_sharing_workloads",
        "strata_workload_statements",
        "strata_workload_statements_dropped_total",
        "strata_workload_tasks",
        "strata_workload_tasks_limit",
        "strata_zram_bytes",
    )
)


def test_every_family_is_in_a_golden() -> None:
    catalogue = {metric.name for metric in METRICS}
    covered = {
        line.split()[2] for name in NAMES for line in (TREES / f"{name}.prom").read_text().splitlines() if line.startswith("# TYPE ")
    }
    assert catalogue - covered == UNCOVERED
    assert covered <= catalogue


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_depends_on_names_and_contents_only(name: str, tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    again = tmp_path / "again.tar.xz"
    pack(unpack(name, tmp_path / "tree"), again)
    assert lzma.decompress(again.read_bytes()) == lzma.decompress((TREES / f"{name}.tar.xz").read_bytes())
