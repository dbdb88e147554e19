"""The families as a collector of prometheus-client, for a process that has a registry of its own. `agent.embed` makes one in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import Metric as ClientMetric
from prometheus_client.registry import Collector

from agent.model.snapshot import Snapshot
from exporters.metrics.catalogue import METRICS, families
from exporters.metrics.family import Metric
from exporters.metrics.of_agent import PROCESS_METRICS, Run


class StrataCollector(Collector):
    """What /metrics serves, of whatever `read` gives: a snapshot, and what its pass cost. It is called once a scrape.

    Metrics of the process itself are left to prometheus-client's ProcessCollector, which is in its default registry and gives them the
    same names. `process`: they are given here, for a registry without it.
    """

    def __init__(self, read: Callable[[], tuple[Snapshot, Run]], process: bool = False) -> None:
        self._read = read
        self._left_out = () if process else PROCESS_METRICS

    def describe(self) -> Iterator[ClientMetric]:
        """All that there can be, so that a registry finds names that are taken; reads nothing."""
        return (_client_metric(metric) for metric in METRICS if metric not in self._left_out)

    def collect(self) -> Iterator[ClientMetric]:
        for family in families(*self._read()):
            if family.metric in self._left_out:
                continue
            collected = _client_metric(family.metric)
            for labels, value in family.samples():
                collected.add_sample(family.metric.name, labels, value)
            if collected.samples:
                yield collected


def _client_metric(metric: Metric) -> ClientMetric:
    """prometheus-client's names lack what the type adds to them."""
    return ClientMetric(metric.base_name, metric.help, metric.type)
