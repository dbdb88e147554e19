"""Recordings of the lab's machines render to stored texts; `pytest --update-golden` rewrites them, and the difference is the review.

NAME.json is the snapshot, NAME.prom the whole exposition of the same snapshot, as a daemon has it after its second pass.
`python -m tests.lab.recordings` makes the recordings.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from agent.collect.sources import SOURCES
from agent.overhead.learned import FEWEST
from agent.overhead.residuals import judge, scores
from agent.session import Session, snapshot_of, take_window
from collectors.root import SysRoot
from exporters.metrics.catalogue import METRICS, exposition
from exporters.metrics.of_agent import Run
from exporters.views import json
from tests.hosts.trees import NAMES, TREES, replayed, unpack
from tests.met import meet
from tests.need import need, which

# What a pass cost is another number each time.
RUN = Run(
    seconds=dict.fromkeys(SOURCES, 0.001),
    ages={"docker_engine": 0.0, "libvirt_domains": 12.5},
    cpu_seconds=1.25,
    resident_bytes=20 << 20,
    open_fds=11,
    started_at=1700000000.5,
)


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    tree = unpack(name, tmp_path)
    session = Session(root=SysRoot(tree), config=replayed(name, tree))
    window = take_window(session)
    document = snapshot_of(window, session.taken_at)
    judged, histories = judge(document.predictions, window, {})
    # As if more windows like it had gone before: there is no score before intervals are learned.
    for _ in range(FEWEST + 2):
        _, histories = judge(document.predictions, window, histories)
    exposed = exposition(replace(document, predictions=judged, scores=scores(histories)), RUN, session.texts)
    rendered = {"json": json.render(document, pretty=True), "prom": exposed}
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


def test_every_family_is_in_a_golden() -> None:
    catalogue = {metric.name for metric in METRICS}
    covered = {
        line.split()[2] for name in NAMES for line in (TREES / f"{name}.prom").read_text().splitlines() if line.startswith("# TYPE ")
    }
    assert catalogue - covered == set()
    assert covered <= catalogue
