"""Names are the users' to choose: quotes, newlines, emoji and bytes that are not UTF-8 break neither the JSON nor the metrics."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jsonschema
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.config import Config
from agent.model.snapshot import Snapshot
from agent.session import Session, take_snapshot
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views.json import render, schema
from tests.unit.tree import recorded

ID = "0123456789abcdef" * 4
SCOPE = f"sys/fs/cgroup/system.slice/docker-{ID}.scope"

NAMES = {
    "quotes": (b'say \\"hi\\"', 'say "hi"'),
    "newline": (b"one\\ntwo\\r", "one\ntwo\r"),
    "backslash": (b"back\\\\slash\\\\n", "back\\slash\\n"),
    "emoji": ("🐳 鲸".encode(), "🐳 鲸"),
    "invalid UTF-8": (b"bad \xff\xfe", "bad \ufffd\ufffd"),
    "labels": (b'x\\"} 1\\n# TYPE fake counter\\nfake{a=\\"', 'x"} 1\n# TYPE fake counter\nfake{a="'),
    "empty": (b"", None),
}


def snapshot(root: Path, name: bytes) -> Snapshot:
    tree = recorded(
        root,
        {
            "proc/1/mountinfo": "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
            "sys/fs/cgroup/cgroup.controllers": "cpuset cpu memory pids\n",
            "sys/fs/cgroup/system.slice/cgroup.controllers": "\n",
            f"{SCOPE}/cgroup.controllers": "cpuset cpu memory pids\n",
            f"{SCOPE}/cgroup.procs": "7\n",
            f"{SCOPE}/cpu.max": "150000 100000\n",
            f"{SCOPE}/memory.max": "max\n",
            "replies/docker_engine.json": b'[{"name":"docker","version":"1","containers":[{"id":"%s","name":"%s","image":"%s"}]}]'
            % (ID.encode(), name, name),
        },
    )
    # A group that somebody called what they liked.
    hostile = os.fsencode(root / "sys/fs/cgroup") + b'/lxc.payload.\xff"\n{}'
    os.mkdir(hostile)
    Path(os.fsdecode(hostile + b"/cgroup.procs")).write_text("8\n")
    return take_snapshot(Session(root=tree, config=Config(root=str(root))))


@pytest.mark.parametrize(("written", "shown"), NAMES.values(), ids=NAMES.keys())
def test_a_hostile_name_is_only_a_name(tmp_path: Path, written: bytes, shown: str | None) -> None:
    found = snapshot(tmp_path, written)
    document = json.loads(render(found).decode("utf-8", "strict"))
    jsonschema.Draft202012Validator(json.loads(schema())).validate(document)
    workloads = {workload["id"]: workload for workload in document["workloads"]}
    assert workloads[ID]["name"] == (shown or ID[:12])
    assert workloads[ID]["cpu"]["quota_usec"] == 150000
    assert workloads[ID]["memory"]["max_bytes"] == "max"
    assert workloads['\\xff"\n{}']["runtime"] == "lxc"

    text = exposition(found, Run(), TextCache()).decode("utf-8", "strict")
    families = {family.name: family for family in parse_text(text)}
    assert "fake" not in families
    names = {sample.labels["workload"]: sample.labels["name"] for sample in families["strata_workload_info"].samples}
    # The text format has no escape for a carriage return, which a terminal would act on.
    assert names[ID] == (shown or ID[:12]).replace("\r", "\\x0d")
    modern = exposition(found, Run(), TextCache(), openmetrics=True).decode("utf-8", "strict")
    assert {family.name for family in parse_openmetrics(modern)} >= {"strata_workload"}  # type: ignore[no-untyped-call]
    limits = {sample.labels["workload"]: sample.value for sample in families["strata_workload_memory_limit_bytes"].samples}
    assert limits[ID] == float("inf")
