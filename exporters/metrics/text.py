"""Families as Prometheus text (0.0.4) or OpenMetrics (1.0).

Formats: prometheus.io/docs/instrumenting/exposition_formats, and the OpenMetrics specification.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from msgspec import Struct

from exporters.metrics.family import Family, LabelValues, Metric, Value, label_text

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"

# Unused texts of so few labels are not dropped.
_FEW = 256


class Block(Struct, frozen=True):
    """The lines of a family, and what they were made of: texts of labels, and values."""

    labels: list[str]
    values: tuple[Value, ...]
    text: str


class TextCache(Struct):
    """What one render leaves for the next one: texts of labels by their names and values, and of families by their name.

    It holds at most twice the labels of the last exposition. Threads may share it: at worst they make a text twice.
    """

    labels: dict[tuple[str, ...], dict[LabelValues, str]] = {}
    blocks: dict[str, Block] = {}


def render(families: Iterable[Family], cache: TextCache, openmetrics: bool = False) -> bytes:
    """The whole exposition in UTF-8. A family without samples is not written."""
    parts: list[str] = []
    # By identity, as metrics of the same subjects share their labels. They are held beside their texts: an id is unique among the living.
    shared: dict[tuple[int, tuple[str, ...]], tuple[tuple[LabelValues, ...], list[str]]] = {}
    used: dict[tuple[str, ...], int] = {}
    for family in families:
        metric = family.metric
        key = id(family.labels), metric.labels
        if key not in shared:
            shared[key] = family.labels, _label_texts(metric.labels, family.labels, cache)
            used[metric.labels] = used.get(metric.labels, 0) + len(family.labels)
        if text := _lines(family, shared[key][1], cache):
            parts += _head(metric, openmetrics), text
    _drop_unused(cache, used)
    if openmetrics:
        parts.append("# EOF\n")
    return "".join(parts).encode()


def _head(metric: Metric, openmetrics: bool) -> str:
    name, kind = (metric.base_name, metric.type) if openmetrics else (metric.name, "gauge" if metric.type == "info" else metric.type)
    return f"# HELP {name} {metric.help}\n# TYPE {name} {kind}\n"


def _lines(family: Family, labels: list[str], cache: TextCache) -> str:
    """The samples of a family: the text of the last render where nothing has changed."""
    name = family.metric.name
    last = cache.blocks.get(name)
    if last is not None and last.values == family.values and last.labels == labels:
        return last.text
    # Most values are whole numbers, for which no function is called.
    text = "".join(
        [
            f"{name}{label} {value if type(value) is int else _number(value)}\n"
            for label, value in zip(labels, family.values, strict=True)
            if value is not None
        ]
    )
    cache.blocks[name] = Block(labels, family.values, text)
    return text


def _label_texts(names: tuple[str, ...], labels: tuple[LabelValues, ...], cache: TextCache) -> list[str]:
    if not names:
        return [""] * len(labels)
    texts = cache.labels.setdefault(names, {})
    return [texts.get(values) or _add_text(texts, names, values) for values in labels]


def _add_text(texts: dict[LabelValues, str], names: tuple[str, ...], values: LabelValues) -> str:
    pairs = [f'{name}="{_escaped(label_text(value))}"' for name, value in zip(names, values, strict=True) if value is not None]
    text = texts[values] = f"{{{','.join(pairs)}}}" if pairs else ""
    return text


def _drop_unused(cache: TextCache, used: dict[tuple[str, ...], int]) -> None:
    """Drops the texts of a set of label names when more than half of them were not used."""
    for names, texts in list(cache.labels.items()):
        if len(texts) > 2 * used.get(names, 0) + _FEW:
            cache.labels.pop(names, None)


def _escaped(text: str) -> str:
    if text.isalnum():
        return text
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float | int) -> str:
    if isinstance(value, float):
        return repr(float(value)) if math.isfinite(value) else "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"
    return str(int(value))
