from __future__ import annotations

import contextlib
import gc
import os
import platform
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import settings

from tests import met
from tests.lab import engines, host, surroundings
from tests.lab.ahead import Ahead
from tests.lab.process import terminable
from tests.need import SHARED, STRICT

REAL = Path(__file__).with_name("real")

_skipped: dict[str, None] = {}
_stayed: list[str] = []
_BEFORE = pytest.StashKey[dict[str, str]]()
_WARDEN = pytest.StashKey[int]()
# How long the end of a run waits for another run's turn to be over, should something be there that was not there before.
_PATIENCE_SECONDS = 60


# `make check` looks at a third of the examples; --hypothesis-profile=long at many.
settings.register_profile("check", max_examples=10, deadline=None)
settings.register_profile("test", max_examples=30, deadline=None)
settings.register_profile("long", max_examples=2000, deadline=None)
settings.load_profile("test")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write tests/trees/*.json anew: the difference is the review")


@pytest.fixture(scope="session")
def docker() -> Iterator[host.Docker]:
    with host.dockerd() as docker:
        _meet_this_host()
        yield docker


@pytest.fixture(scope="session")
def libvirt() -> Iterator[host.Libvirt]:
    with host.libvirtd() as libvirt:
        _meet_this_host()
        yield libvirt


@pytest.fixture(scope="session")
def podman() -> Iterator[engines.Podman]:
    with engines.podman() as podman:
        _meet_this_host()
        yield podman


@pytest.fixture(scope="session")
def containerd() -> Iterator[engines.Containerd]:
    with engines.containerd() as containerd:
        _meet_this_host()
        yield containerd


@pytest.fixture
def alone() -> None:
    """For tests that start their own daemons: they run before the session's are up."""


def pytest_sessionstart(session: pytest.Session) -> None:
    if _is_worker(session.config):
        return  # the run that started it looks after this host
    stack = contextlib.ExitStack()
    session.config.add_cleanup(stack.close)
    stack.enter_context(terminable())
    session.config.stash[_BEFORE] = surroundings.look()
    session.config.stash[_WARDEN] = stack.enter_context(surroundings.warden()).pid


@pytest.fixture(scope="session", autouse=True)
def ahead(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ahead | None]:
    """The guests that this run's tests wait for, under way since its beginning."""
    modules = dict.fromkeys(item.module.__name__ for item in request.session.items if _waits(item) and isinstance(item, pytest.Function))
    if not modules:
        yield None
        return
    guests = Ahead(tmp_path_factory.mktemp("ahead"), tuple(modules))
    try:
        yield guests
    finally:
        guests.end()


def pytest_collection_finish() -> None:
    """What was imported and collected is no garbage: the collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What measures this host comes last: the guests that others wait for have ended then. What needs files from outside needs them."""
    if not SHARED.is_dir():
        outside = [item for item in items if item.get_closest_marker("shared")]
        config.hook.pytest_deselected(items=outside)
        items[:] = [item for item in items if item not in outside]

    def turn(item: pytest.Item) -> tuple[bool, bool, bool]:
        alone = REAL in item.path.parents and item.get_closest_marker("beside") is None
        return alone, _waits(item), "alone" not in getattr(item, "fixturenames", ())

    items.sort(key=turn)


def _waits(item: pytest.Item) -> bool:
    """Whether a test waits for its module's guest."""
    return "result" in getattr(item, "fixturenames", ()) and hasattr(getattr(item, "module", None), "plan")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if not hasattr(report, "wasxfail"):
        _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run for what it skipped in strict mode, and for what it left behind."""
    if _is_worker(session.config):
        vars(session.config)["workeroutput"] |= {"met": met.noted(), "skipped": _skipped}
        return
    before = session.config.stash[_BEFORE]
    if surroundings.changes(before, surroundings.look()):
        # Another run's, perhaps: looked at again when no other one has the lab.
        try:
            with host.turn(_PATIENCE_SECONDS):
                _stayed.extend(surroundings.changes(before, surroundings.look()))
        except (pytest.skip.Exception, pytest.fail.Exception):
            pass  # the lab is still another's: nobody can say whose traces these are
    left = host.alive([*{*psutil.Process().children(recursive=True), *surroundings.marked(os.environ[surroundings.MARK])}])
    _stayed.extend(f"still running: {process}" for process in left if process.pid != session.config.stash[_WARDEN])
    if (_stayed or (STRICT and _skipped)) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """What a worker of pytest-xdist has met or skipped, this run has: of modules that were skipped, only workers know."""
    output = getattr(node, "workeroutput", {})
    _skipped.update(output.get("skipped", {}))
    for kind, hosts in output.get("met", {}).items():
        for name, shape in hosts.items():
            met.meet(kind, name, shape)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if lines := met.lines():
        terminalreporter.section("hosts met")
        for line in lines:
            terminalreporter.line(line)
    if STRICT and _skipped:
        terminalreporter.section("skipped, which STRATASCOPE_STRICT=1 does not allow", red=True)
        for line in _skipped:
            terminalreporter.line(line)
    if _stayed:
        terminalreporter.section("this host is not as it was before", red=True)
        for line in _stayed:
            terminalreporter.line(line)


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        _skipped[f"{report.nodeid}: {reason}"] = None


def _is_worker(config: pytest.Config) -> bool:
    """Whether this process runs a share of the tests of another one, with pytest-xdist."""
    return hasattr(config, "workerinput")


def _meet_this_host() -> None:
    cgroups = "v2" if (host.CGROUP / "cgroup.controllers").exists() else "v1"
    met.meet("this host", f"{os.cpu_count()} CPUs, cgroup {cgroups}, Linux {platform.release()}")
