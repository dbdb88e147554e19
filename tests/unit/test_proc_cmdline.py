"""collectors/proc_cmdline.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.model.values import CpuSet
from collectors.proc_cmdline import CommandLine, parse, read
from collectors.root import SysRoot, Unavailable
from collectors.root.recorder import Recorder
from collectors.text import Malformed
from tests.unit.tree import grow


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", CommandLine()),
        ("isolcpus", CommandLine(parameters=("isolcpus",))),
        ("BOOT_IMAGE=/vmlinuz root=UUID=x ro quiet nosmt\n", CommandLine(parameters=("nosmt",))),
        (
            "isolcpus=managed_irq,domain,2-3,6 nohz_full=2-3 rcu_nocbs=2-3 irqaffinity=0-1",
            CommandLine(
                parameters=("isolcpus=managed_irq,domain,2-3,6", "nohz_full=2-3", "rcu_nocbs=2-3", "irqaffinity=0-1"),
                isolcpus=CpuSet((2, 3, 6)),
                isolcpus_flags=("managed_irq", "domain"),
                rcu_nocbs=CpuSet((2, 3)),
                irqaffinity=CpuSet((0, 1)),
            ),
        ),
        # Pools of huge pages go by their order.
        (
            "hugepagesz=1G hugepages=4 hugepagesz=2M hugepages=512",
            CommandLine(parameters=("hugepagesz=1G", "hugepages=4", "hugepagesz=2M", "hugepages=512")),
        ),
        ("isolcpus=1 isolcpus=2", CommandLine(parameters=("isolcpus=1", "isolcpus=2"), isolcpus=CpuSet((2,)))),
        ("rcu_nocbs=all isolcpus=2-N", CommandLine(parameters=("rcu_nocbs=all", "isolcpus=2-N"))),
        ("rcu_nocbs preempt=none", CommandLine(parameters=("rcu_nocbs", "preempt=none"), preempt="none")),
        ('"isolcpus=1" foo="a nosmt b" -- nosmt', CommandLine(parameters=("isolcpus=1",), isolcpus=CpuSet((1,)))),
        ('foo="open nosmt', CommandLine()),
    ],
)
def test_lines(text: str, line: CommandLine) -> None:
    assert parse(text) == line


@pytest.mark.parametrize(
    "text",
    [
        "password=hunter2 rd.luks.key=abc token=nosmt=x",
        'mem="8G secret"',
        "hugepages=$(id)",
        "nohz_full=\x1b[31m",
        "mitigations=" + "a" * 600,
        "nosmt_secret=1",
    ],
)
def test_what_is_not_known_or_not_of_its_kind_stays_here(text: str) -> None:
    assert parse(text) == CommandLine()


def test_a_long_line_is_bounded() -> None:
    assert len(parse("nosmt " * 10_000).parameters) == 256


@pytest.mark.parametrize("text", ["isolcpus=3-1", "isolcpus=1-99999999", "rcu_nocbs=1,x"])
def test_bad_lists(text: str) -> None:
    with pytest.raises(Malformed):
        parse(text)


def test_a_recording_holds_no_more(tmp_path: Path) -> None:
    grow(tmp_path, {"host/proc/cmdline": "password=hunter2 isolcpus=1 -- secret\n"})
    recorder = Recorder(tmp_path / "host", tmp_path / "into", 0, "0")
    assert read(recorder) == read(SysRoot(tmp_path / "host")) == CommandLine(parameters=("isolcpus=1",), isolcpus=CpuSet((1,)))
    recorder.close()
    assert (tmp_path / "into/proc/cmdline").read_text() == "isolcpus=1"
    assert read(SysRoot(tmp_path / "into")) == CommandLine(parameters=("isolcpus=1",), isolcpus=CpuSet((1,)))


def test_files(tmp_path: Path) -> None:
    assert read(grow(tmp_path, {"proc/cmdline": "nosmt\n"})).parameters == ("nosmt",)
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path / "proc"))
