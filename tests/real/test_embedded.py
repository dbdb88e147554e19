"""The agent in a registry beside prometheus-client's own collectors, and `agent serve`, as a real Prometheus scrapes both."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.hosts.trees import unpack
from tests.need import TOP, need, which
from tests.real.test_serve import fetch, free_port, serving

pytestmark = pytest.mark.real

PROGRAM = """
import sys, time
from prometheus_client import REGISTRY, start_http_server
from agent.config import Config
from agent.embed import collector
REGISTRY.register(collector(Config(root=sys.argv[1])))
start_http_server(int(sys.argv[2]), addr="127.0.0.1")
time.sleep(120)
"""
Series = dict[frozenset[tuple[str, str]], float]
# What a pass cost is another number each time.
OF_THE_PASS = ("strata_source_duration_seconds",)


def configuration(**ports: int) -> str:
    jobs = "".join(f"  - job_name: {job}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n" for job, port in ports.items())
    return f"global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n{jobs}"


def series(url: str, job: str) -> Series:
    """All that a job shows, without what Prometheus adds."""
    selector = quote('{job="' + job + '"}')
    _, _, answer = fetch(f"{url}/api/v1/query?query={selector}")
    added = {"job", "instance"}
    return {
        frozenset((name, label) for name, label in entry["metric"].items() if name not in added): float(entry["value"][1])
        for entry in json.loads(answer)["data"]["result"]
    }


def of_name(found: Series, wanted: Callable[[str], bool]) -> Series:
    return {labels: value for labels, value in found.items() if wanted(dict(labels)["__name__"])}


def of_the_tree(name: str) -> bool:
    return name.startswith("strata_") and name not in OF_THE_PASS


def both(url: str) -> tuple[Series, Series]:
    """What Prometheus has of both jobs once it has scraped them."""
    end = time.monotonic() + 30
    while True:
        try:
            found = series(url, "embedded"), series(url, "served")
        except OSError:
            found = {}, {}
        if all(of_name(job, lambda name: name == "strata_build_info") for job in found) or time.monotonic() > end:
            return found
        time.sleep(0.25)


def test_a_registry_shows_what_serve_does(tmp_path: Path) -> None:
    need("prometheus")
    tree, data = tmp_path / "tree", tmp_path / "data"
    tree.mkdir()
    # Without workloads: of a recording a daemon sees the same pass again and again, and has no rates.
    unpack("memoryless", tree)
    port, own = free_port(), free_port()
    with ExitStack() as stack:
        embedded = stack.enter_context(subprocess.Popen([sys.executable, "-c", PROGRAM, str(tree), str(port)], cwd=TOP))
        stack.callback(embedded.kill)
        _, served = stack.enter_context(serving("--root", str(tree)))
        file = tmp_path / "prometheus.yml"
        file.write_text(configuration(embedded=port, served=int(served.rpartition(":")[2])))
        options = ("--config.file", file, "--storage.tsdb.path", data, "--web.listen-address", f"127.0.0.1:{own}", "--log.level", "error")
        prometheus = stack.enter_context(subprocess.Popen([which("prometheus") or "", *map(str, options)]))
        stack.callback(prometheus.kill)
        ours, theirs = both(f"http://127.0.0.1:{own}")
    assert of_name(ours, of_the_tree) == of_name(theirs, of_the_tree)
    assert len(of_name(ours, of_the_tree)) > 100
    assert of_name(ours, OF_THE_PASS.__contains__).keys() == of_name(theirs, OF_THE_PASS.__contains__).keys()
    names = {dict(labels)["__name__"] for labels in ours}
    assert {dict(labels)["__name__"] for labels in theirs if "process_" in dict(labels)["__name__"]} <= names
    assert {"python_info", "process_max_fds"} <= names
