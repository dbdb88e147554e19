"""Names with control characters and marks that turn the direction of writing: escaped wherever a terminal may show them."""

from __future__ import annotations

import json
import logging
import os
import re
from contextlib import suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families as parse_text

from agent.cli import main
from agent.config import Config
from agent.model.values import Gap
from agent.service import _log_gaps
from agent.session import Session, take_snapshot
from exporters.metrics.catalogue import exposition
from exporters.metrics.client import StrataCollector
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views.json import render
from tests.unit.tree import recorded

ID = "0123456789abcdef" * 4
SCOPE = f"sys/fs/cgroup/system.slice/docker-{ID}.scope"
ACTED_ON = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")

NAMES = {
    "a control sequence of C1": "\x9b31mred\x9bm",
    "an operating system command of C1": "\x9d0;title\x9c",
    "next line": "one\x85two",
    "a control sequence": "\x1b[31mred\x1b[m\x07\r\x00",
    "separators": "a\x1cb\x1dc\x0bd\x0ce\tf",
    "right to left": "safe\u202egpj.exe",
    "left to right": "a\u202db\u202c",
    "isolates": "a\u2066b\u2067c\u2068d\u2069",
    "single marks": "a\u200eb\u200fc\u061cd",
    "delete": "a\x7fb",
    "beside a letter that is none": "鲸\u202eÄ",
}


def files(name: str) -> dict[str, str]:
    container = {"id": ID, "name": name, "image": name, "labels": {"team": name}}
    return {
        "sys/fs/cgroup/cgroup.controllers": "cpu memory pids\n",
        "sys/fs/cgroup/system.slice/cgroup.controllers": "\n",
        f"{SCOPE}/cgroup.controllers": "cpu memory pids\n",
        f"{SCOPE}/cgroup.procs": "7\n",
        f"{SCOPE}/cpu.max": "150000 100000\n",
        "replies/docker_engine.json": json.dumps([{"name": "docker", "version": "1", "containers": [container]}]),
    }


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_no_output_acts_on_a_terminal(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    root = recorded(tmp_path, files(name))
    # A group whose path says so, too.
    os.makedirs(tmp_path / f"sys/fs/cgroup/lxc.payload.{name}".replace("\0", ""))
    snapshot = take_snapshot(Session(root=root, config=Config(root=str(tmp_path))))
    for pretty in (False, True):
        document = render(snapshot, pretty).decode()
        assert not ACTED_ON.search(document)
        workloads = {workload["id"]: workload for workload in json.loads(document)["workloads"]}
        assert workloads[ID]["name"] == name
    registry = CollectorRegistry()
    registry.register(StrataCollector(lambda: (snapshot, Run())))
    for text in (exposition(snapshot, Run(), TextCache()).decode(), generate_latest(registry).decode()):
        assert not ACTED_ON.search(text)
        (info,) = [family for family in parse_text(text) if family.name == "strata_workload_info"]
        shown = {sample.labels["workload"]: sample.labels["name"] for sample in info.samples}[ID]
        assert shown.startswith(name[0]) == name[0].isprintable()
    for verb in (["explain", ID], ["topology"], ["snapshot", "--pretty"], ["explain", ID, "--json"], ["explain", "nobody"]):
        with suppress(SystemExit):
            main([*verb, "--root", str(tmp_path)])
        output = capsys.readouterr()
        assert not ACTED_ON.search(output.out)
        assert not ACTED_ON.search(output.err)


@pytest.mark.parametrize("name", [*NAMES.values(), "two\nlines", "\x1b[2J"])
def test_the_log_has_one_line_a_gap(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stratascope"):
        _log_gaps((), (Gap("cgroup", "failed", f"sys/fs/cgroup/{name}: x", f"look at {name}"),))
    (message,) = caplog.messages
    assert message.isprintable()
