from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import host
from tests.need import OUTSIDE, SHARED, STRICT

_skipped: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/trees/*.json anew: the difference is the review")


@pytest.fixture(scope="session")
def docker() -> Iterator[host.Docker]:
    with tempfile.TemporaryDirectory(prefix="lab-docker-") as name, host.dockerd(Path(name)) as docker:
        yield docker


@pytest.fixture(scope="session")
def libvirt() -> Iterator[host.Libvirt]:
    with tempfile.TemporaryDirectory(prefix="lab-libvirt-") as name, host.libvirtd(Path(name)) as libvirt:
        yield libvirt


@pytest.fixture
def alone() -> None:
    """For tests that start their own daemons: they run before the session's are up."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: "alone" not in getattr(item, "fixturenames", ()))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if STRICT and _skipped and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if STRICT and _skipped:
        terminalreporter.section("skipped, which STRATASCOPE_STRICT=1 does not allow", red=True)
        for line in _skipped:
            terminalreporter.line(line)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if OUTSIDE not in reason or SHARED.is_dir():
            _skipped.append(f"{report.nodeid}: {reason}")
