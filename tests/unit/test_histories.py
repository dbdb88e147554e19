"""agent/calibrate/histories.py: a restart forgets nothing that still holds, and believes nothing that no windows can have made."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from agent import service
from agent.calibrate import histories as stored
from agent.calibrate.histories import MOST_HISTORIES, keep, load, packed
from agent.config import Config
from agent.model.host import Host
from agent.model.physical import Core, Cpus
from agent.model.snapshot import Prediction
from agent.model.values import CpuSet, Gap
from agent.overhead.residuals import Histories, History, judge
from agent.overhead.window import Window
from tests.unit.overhead_hosts import container, host, machine
from tests.unit.tree import grow


def here() -> Host:
    one = host(1.0)
    return replace(one, identity=replace(one.identity, boot_id="boot", kernel="6.12.1", hostname="node"))


HERE = here()
WINDOW = Window(after=HERE, before=host(), seconds=10.0)
COMPONENTS = ("run_queue_delay", "throttled_time", "halt_polling")


def figure(workload: str, component: str, measured: float) -> Prediction:
    return Prediction(
        workload=workload,
        component=component,
        value=1.0,
        lo=0.5,
        hi=2.0,
        unit="seconds/second",
        kind="contention",
        formula="any",
        inputs={},
        validity=("ok",),
        measured=measured,
        inside=0.5 <= measured <= 2,
    )


def learned(windows: int = 45) -> Histories:
    """Of two workloads, each with three figures; one of a figure made in another way."""
    kept: Histories = {}
    chance = random.Random(1)
    for _ in range(windows):
        predictions = tuple(
            figure(workload.id, component, chance.uniform(0.2, 3.0)) for workload in (container(), machine()) for component in COMPONENTS
        )
        predictions = (*predictions[:-1], replace(predictions[-1], validity=("habit",)))
        _, kept = judge(predictions, WINDOW, kept)
    return kept


def restarted(known: Histories) -> Histories:
    return {key: replace(history, points=()) for key, history in known.items()}


@pytest.mark.parametrize("windows", [1, 7, 45])
def test_what_was_learned_is_there_again(tmp_path: Path, windows: int) -> None:
    path, known = str(tmp_path / "histories"), learned(windows)
    keep(path, packed(known, HERE))
    # What was said of the next window is not: that is over.
    assert load(path, HERE) == (restarted(known), None)
    assert [history.by_habit is not None for history in known.values()] == [False] * 5 + [True]
    assert os.listdir(tmp_path) == ["histories"]


def test_the_first_window_after_a_restart_has_its_interval(tmp_path: Path) -> None:
    path = str(tmp_path / "histories")
    known = learned()
    keep(path, packed(known, HERE))
    again, _ = load(path, HERE)
    (shown,), _ = judge((figure("c0ffee", "run_queue_delay", 1.0),), WINDOW, again)
    (expected,), _ = judge((figure("c0ffee", "run_queue_delay", 1.0),), WINDOW, restarted(known))
    assert shown == expected
    assert (shown.interval, shown.windows) == ("learned", 45)


def test_who_no_longer_lives_is_dropped(tmp_path: Path) -> None:
    path = str(tmp_path / "histories")
    keep(path, packed(learned(), HERE))
    again, _ = load(path, HERE)
    reborn = replace(HERE, workloads=(replace(container(1.0), identity="c0ffee:2"),))
    (shown,), kept = judge((figure("c0ffee", "run_queue_delay", 1.0),), replace(WINDOW, after=reborn), again)
    assert shown.interval == "prior"
    assert {identity for _, identity, _ in kept} == {"c0ffee:2"}


def changed(**identity: str) -> Host:
    return replace(HERE, identity=replace(HERE.identity, **identity))


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (changed(boot_id="another"), "boot"),
        (changed(kernel="6.12.2"), "kernel"),
        (changed(hostname="other"), "hostname"),
        (replace(HERE, physical=replace(HERE.physical, cpus=Cpus(online=CpuSet((0,))))), "topology"),
        (replace(HERE, physical=replace(HERE.physical, cores=(Core(CpuSet((0,)), 0), Core(CpuSet((1,)), 0)))), "topology"),
        (replace(HERE, physical=replace(HERE.physical, nodes=HERE.physical.nodes[:1])), "topology"),
        (replace(HERE, identity=replace(HERE.identity, boot_id=None)), "boot"),
    ],
)
def test_it_is_of_one_boot_kernel_and_topology(tmp_path: Path, now: Host, word: str) -> None:
    path = str(tmp_path / "histories")
    keep(path, packed(learned(7), HERE))
    known, gap = load(path, now)
    assert known == {}
    assert gap
    assert (gap.source, gap.reason) == ("histories", "unsupported")
    assert word in gap.detail
    assert gap.remedy


def test_no_file_is_no_gap(tmp_path: Path) -> None:
    assert load(str(tmp_path / "histories"), HERE) == ({}, None)


def test_it_is_bounded_and_keeps_what_was_watched_longest(tmp_path: Path) -> None:
    path = str(tmp_path / "histories")
    many = {(f"w{number}", "1", "run_queue_delay"): History(seconds=float(number)) for number in range(MOST_HISTORIES + 500)}
    keep(path, packed(many, HERE))
    again, gap = load(path, HERE)
    assert gap is None
    assert len(again) == MOST_HISTORIES
    assert min(history.seconds for history in again.values()) == 500.0


def test_a_full_file_is_not_large() -> None:
    one = next(iter(learned().values()))
    assert len(packed({(f"{number:064}", "123456:7890123", "run_queue_delay"): one for number in range(MOST_HISTORIES)}, HERE)) < 12 << 20


def document() -> dict[str, Any]:
    decoded: dict[str, Any] = msgspec.msgpack.decode(packed(learned(7), HERE))
    return decoded


FIELDS = History.__struct_fields__


def set_value(field: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(whole: dict[str, Any]) -> None:
        whole["entries"][0][3][FIELDS.index(field)] = value

    return change


def in_track(place: int, value: object) -> Callable[[dict[str, Any]], None]:
    def change(whole: dict[str, Any]) -> None:
        whole["entries"][0][3][FIELDS.index("track")][place] = value

    return change


HOSTILE: dict[str, Callable[[dict[str, Any]], None]] = {
    "another schema": lambda whole: whole.update(schema="stratascope-histories/9"),
    "a component that there is not": lambda whole: whole["entries"][0].__setitem__(2, "wishes"),
    "an identity that is a number": lambda whole: whole["entries"][0].__setitem__(1, 7),
    "a value too few": lambda whole: whole["entries"][0][3].pop(),
    "a ratio that is no number": set_value("log_ratio", float("nan")),
    "seconds without end": set_value("seconds", float("inf")),
    "a text for a count": set_value("outside", "many"),
    "an expert that there is not": set_value("chosen", 99),
    "errors of fewer experts": set_value("errors", [0.5]),
    "fewer than no windows outside": set_value("outside", -3),
    "a track that is a list of nothing": set_value("track", []),
    "more windows than residuals": in_track(1, 40),
    "fewer than no windows": in_track(1, -1),
    "residuals cut short": in_track(2, [b"123", b"123", b"123"]),
    "residuals that are no numbers": in_track(2, [b"\xff" * 56] * 3),
    "a scale too few": in_track(2, [b"\0" * 56] * 2),
    "a tail of more than all": in_track(4, [0.1, 7.0]),
    "more inside than scored": in_track(6, 1e6),
    "a score below nothing": in_track(7, -1.0),
    "too many entries": lambda whole: whole.update(entries=[whole["entries"][0]] * (MOST_HISTORIES + 1)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_no_windows_can_have_made_is_left_aside(tmp_path: Path, name: str) -> None:
    whole = document()
    HOSTILE[name](whole)
    path = tmp_path / "histories"
    path.write_bytes(msgspec.msgpack.encode(whole))
    refused(str(path))


@pytest.mark.parametrize("seed", range(20))
def test_a_file_with_broken_bytes_is_left_aside_or_sound(tmp_path: Path, seed: int) -> None:
    data, chance = bytearray(packed(learned(7), HERE)), random.Random(seed)
    for _ in range(20):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path = tmp_path / "histories"
    path.write_bytes(data)
    known, gap = load(str(path), HERE)
    assert gap is None or known == {}
    # What is believed can be learned from.
    judge((figure("c0ffee", "run_queue_delay", 1.0),), WINDOW, known)


@pytest.mark.parametrize("data", [b"", b"\x81", b"{}", b"\x00" * 100, b"\x91" * 100_000], ids=["empty", "cut", "json", "zeros", "deep"])
def test_another_files_content_is_left_aside(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "histories"
    path.write_bytes(data)
    refused(str(path))


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(str(tmp_path / "pipe"))
    (tmp_path / "directory").mkdir()
    refused(str(tmp_path / "directory"))


def test_a_file_that_is_larger_than_it_can_be_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "_MOST_BYTES", 1000)
    path = tmp_path / "histories"
    path.write_bytes(packed(learned(), HERE))
    refused(str(path))


def refused(path: str) -> Gap:
    known, gap = load(path, HERE)
    assert known == {}
    assert gap
    assert gap.source == "histories"
    assert gap.remedy
    return gap


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The daemon's directory."""
    directory = tmp_path / "state"
    directory.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(directory))
    return directory


def daemon(tmp_path: Path, config: Config | None = None) -> service.Service:
    """Of a host without anything but its boot, as if it were this one."""
    files = {"proc/sys/kernel/random/boot_id": "11111111-2222-3333-4444-555555555555\n", "sys/devices/system/cpu/online": "0\n"}
    root = grow(tmp_path / "tree", files)
    return service.Service(root, config or Config(root="/", only=("proc_sys", "sys_cpu")))


def test_a_daemon_that_ends_leaves_what_the_next_one_begins_with(tmp_path: Path, state: Path) -> None:
    first = daemon(tmp_path)
    first.metrics(False, 1.0)
    first._session.histories = learned(7)
    first.close()
    assert os.listdir(state) == ["histories"]
    second = daemon(tmp_path)
    second.metrics(False, 1.0)
    assert second._session.histories == restarted(learned(7))


def test_it_is_stored_at_most_every_few_minutes(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(stored, "keep", lambda path, content: written.append(path))
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)
    running = daemon(tmp_path)
    for _ in range(3):
        running.metrics(False, 1.0)
    assert written == []
    running._session.stored -= service.STORE_SECONDS
    for _ in range(3):
        running.metrics(False, 1.0)
    running.close()
    assert written == [str(state / "histories")] * 2


def test_a_stored_file_that_is_no_use_is_a_gap_until_it_is_written_anew(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "FRESH_SECONDS", 0.0)
    (state / "histories").write_text("no histories")
    running = daemon(tmp_path)
    assert b'strata_source_gap_info{source="histories",reason="failed"} 1' in running.metrics(False, 1.0)
    running.close()
    assert b'source="histories"' not in running.metrics(False, 1.0)


@pytest.mark.parametrize("root", ["/host", "/tmp"])
def test_of_another_tree_nothing_is_stored(tmp_path: Path, state: Path, root: str) -> None:
    running = daemon(tmp_path, Config(root=root, only=("proc_sys", "sys_cpu")))
    running.metrics(False, 1.0)
    running.close()
    assert os.listdir(state) == []


def test_where_nobody_made_a_directory_none_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "none"))
    running = daemon(tmp_path)
    running.metrics(False, 1.0)
    running.close()
    assert not (tmp_path / "none").exists()


def test_a_directory_that_may_not_be_written_costs_nothing_else(
    tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: str, content: bytes) -> None:
        raise OSError(30, "Read-only file system", path)

    monkeypatch.setattr(stored, "keep", refuse)
    running = daemon(tmp_path)
    running.metrics(False, 1.0)
    running.close()
    assert "Read-only file system" in caplog.text
