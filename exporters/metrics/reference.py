"""docs/metrics.md, from the declarations: `python -m exporters.metrics.reference` prints it, `make docs` writes it."""

from __future__ import annotations

from exporters.metrics.catalogue import GROUPS
from exporters.metrics.family import Metric

_HEAD = """# Metrics

All families that `/metrics` can show. This file is generated from the tables in `exporters/metrics/`, by `make docs`.

Conventions:

- Values are in base units, and names end with them. Counters leave as the kernel has them: rates are for PromQL. There are no timestamps.
- What is not known has no series, and is never 0. A limit that is not set is `+Inf`. What a source could not say is a gap, with a reason.
- The label `workload` is the id of a workload: of a container, of a libvirt domain (its uuid), of a process (runtime/pid/start). Names
  and images are on `_info` families, whose value is 1, to join by id. Labels of the topology are those of other exporters: `cpu`,
  `core`, `die`, `package`, `node`. Sets of CPUs and nodes are kernel lists: `0-3,8`. A label without a value is left out.
- Predicted and measured values never share a family. Bounds of predictions are `lo`, `mode` (the point) and `hi`.
- Files without a directory are those of the workload's control group; PID, TID and N stand for numbers.
- Level `core` is for a first look at a host and its workloads, `full` is detail. Both are served.

## In your own registry

A Python program that has a registry of prometheus-client shows the same families in it, next to its own:

```python
from prometheus_client import REGISTRY
from agent.embed import collector

REGISTRY.register(collector())
```

A scrape of the registry then takes a pass over the host, or shares the last one of the same second. The families of the process itself are
left to prometheus-client's own collector, which gives them the same names: `collector(process=True)` is for a registry without it.
"""
_COLUMNS = ("family", "type", "unit", "labels", "meaning", "source", "level")


def reference() -> str:
    """The whole document, as Markdown."""
    parts = [_HEAD]
    for title, metrics in GROUPS:
        rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(metric) for metric in metrics)]
        parts.append(f"\n## {title}\n\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows))
    return "".join(parts)


def _row(metric: Metric) -> tuple[str, ...]:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    source = metric.source.replace("*", r"\*")
    return f"`{metric.name}`", metric.type, metric.unit or "", labels, metric.meaning, source, metric.level


if __name__ == "__main__":
    print(reference(), end="")
