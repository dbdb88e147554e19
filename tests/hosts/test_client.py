"""Recorded machines by prometheus-client's renderer and by ours: the same samples, the same families."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from agent.config import Config
from agent.session import Session, take_snapshot
from collectors.root import SysRoot
from exporters.metrics.catalogue import exposition
from exporters.metrics.client import StrataCollector
from exporters.metrics.text import TextCache
from tests.hosts.test_golden import RUN
from tests.hosts.trees import NAMES, unpack
from tests.unit.test_client import headers, samples


@pytest.mark.parametrize("name", NAMES)
def test_both_renderers_say_the_same(name: str, tmp_path: Path) -> None:
    tree = unpack(name, tmp_path)
    snapshot = take_snapshot(Session(root=SysRoot(tree), config=Config(root=str(tree))))
    registry = CollectorRegistry()
    registry.register(StrataCollector(lambda: (snapshot, RUN), process=True))
    theirs, ours = generate_latest(registry).decode(), exposition(snapshot, RUN, TextCache()).decode()
    assert samples(text_string_to_metric_families(theirs)) == samples(text_string_to_metric_families(ours))
    assert headers(theirs) == headers(ours)
