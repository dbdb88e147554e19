"""The agent in a process that has a Prometheus registry of its own.

from prometheus_client import REGISTRY
from agent.embed import collector
REGISTRY.register(collector())
"""

from __future__ import annotations

from agent.config import Config
from agent.service import Service
from collectors.root import SysRoot
from exporters.metrics.client import StrataCollector


def collector(config: Config | None = None, process: bool = False) -> StrataCollector:
    """A collector that takes a pass over this host when it is scraped, or shares the last one of the same second.

    `process`: with the metrics of the process itself, for a registry that has no ProcessCollector.
    """
    config = config or Config()
    return StrataCollector(Service(SysRoot(config.root), config).latest, process)
