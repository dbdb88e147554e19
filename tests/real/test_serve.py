"""agent serve as Prometheus meets it: what promtool and both reference parsers say of /metrics, and how it ends."""

from __future__ import annotations

import gzip
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.need import TOP, need, which

pytestmark = pytest.mark.real


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    command = [sys.executable, "-m", "agent", "serve", "--web.listen-address", f"127.0.0.1:{port}", *arguments]
    with subprocess.Popen(command, cwd=TOP, stderr=subprocess.PIPE, text=True) as process:
        try:
            url = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 20
            while time.monotonic() < end and process.poll() is None:
                try:
                    if fetch(f"{url}/-/ready")[0] == 200:
                        break
                except OSError:
                    time.sleep(0.05)
            yield process, url
        finally:
            process.kill()


def fetch(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, {key.lower(): value for key, value in answer.headers.items()}, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, {}, error.read()


def test_metrics_are_clean_and_readable() -> None:
    need("promtool")
    with serving() as (_, url):
        status, headers, text = fetch(f"{url}/metrics")
        assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
        _, headers, modern = fetch(f"{url}/metrics", accept="application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        _, headers, packed = fetch(f"{url}/metrics", accept_encoding="gzip")
        assert headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed).startswith(b"# HELP")
    lint = subprocess.run([which("promtool") or "", "check", "metrics"], input=text, capture_output=True, check=False, timeout=60)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")
    families = {family.name for family in parse_text(text.decode())}
    assert {"strata_cpu_info", "strata_source_up", "strata_node_memory_bytes", "strata_meminfo_bytes"} <= families
    assert len(list(parse_openmetrics(modern.decode()))) == len(families)  # type: ignore[no-untyped-call]


def test_health_readiness_and_landing_page() -> None:
    with serving() as (_, url):
        assert fetch(f"{url}/-/healthy")[0] == 200
        assert fetch(f"{url}/-/ready")[0] == 200
        status, headers, page = fetch(f"{url}/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"/metrics" in page
        assert fetch(f"{url}/nothing")[0] == 404


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(number: signal.Signals) -> None:
    with serving() as (process, url):
        fetch(f"{url}/metrics")
        process.send_signal(number)
        assert process.wait(10) == 0
        assert process.stderr
        assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_predictions_were_off_by_outlives_the_daemon(number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    gap = b'strata_source_gap_info{source="histories"'
    with serving() as (process, url):
        assert gap not in fetch(f"{url}/metrics")[2]
        process.send_signal(number)
        assert process.wait(20) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["histories"]
    with serving() as (process, url):
        # It is of this boot, kernel and topology.
        assert gap not in fetch(f"{url}/metrics")[2]
    (tmp_path / "histories").write_bytes(b"something else")
    with serving() as (process, url):
        assert gap in fetch(f"{url}/metrics")[2]
        process.send_signal(number)
        assert process.wait(20) == 0
    assert (tmp_path / "histories").read_bytes() != b"something else"


def test_a_taken_port_is_one_line_and_exit_1() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        command = [sys.executable, "-m", "agent", "serve", "--web.listen-address", address]
        done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert done.stderr == f"agent: cannot listen on {address}: Address already in use\n"


def test_scrapes_in_a_second_share_a_pass() -> None:
    with serving() as (_, url):
        time.sleep(1.1)
        first, second = (fetch(f"{url}/metrics")[2] for _ in range(2))
        assert first == second
        time.sleep(1.1)
        assert fetch(f"{url}/metrics")[2] != first
