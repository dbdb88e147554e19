"""Every parser on any text, and a whole pass over roots in which nothing is as it should be."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import random
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import collectors
from agent.collect.caches import Caches
from agent.collect.sample import Sample
from agent.collect.sources import SOURCES
from agent.collect.take import take
from agent.config import Config
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from collectors import docker_engine, libvirt_stats, proc_cpuinfo, proc_stat, qemu, smbios, sys_cpu_vulnerabilities, sys_mm, taskstats
from collectors.proc_pid.smaps import parse_smaps
from collectors.proc_pid.status import status_parser
from collectors.root import MARK, SysRoot, Tree, Unavailable
from collectors.text import Malformed
from collectors.wasm_stats import statements
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import json as document
from tests.unit.tree import A_MARK, grow, malformed, plant

Parser = Callable[[str], object]


def _parsers() -> Iterator[tuple[str, Parser]]:
    """Every function of the collectors that is named as a parser."""
    for module in pkgutil.walk_packages(collectors.__path__, "collectors."):
        for name, function in vars(importlib.import_module(module.name)).items():
            here = getattr(function, "__module__", None) == module.name
            if here and callable(function) and name.startswith("parse"):
                yield f"{module.name.removeprefix('collectors.')}.{name}", function
    yield "sys_mm.chosen", sys_mm.chosen


def _answered(parse: Callable[[bytes], object], text: str) -> None:
    with suppress(OSError):
        parse(text.encode("utf-8", "replace"))


def _rows(body: bytes) -> None:
    """An engine's body, of which whoever asked makes a gap where it is no list."""
    with suppress(ValueError, msgspec.MsgspecError, RecursionError):
        docker_engine.parse_rows(body)


PARSERS = dict(_parsers())
# This one is told whose text it is.
PARSERS["qemu.guest_memory"] = lambda text: qemu.guest_memory(parse_smaps(text), 1, (8192, 4096))
PARSERS["proc_pid.status"] = lambda text: status_parser("Name", "Cpus_allowed_list")(text).cpus("Cpus_allowed_list")
PARSERS["sys_cpu_vulnerabilities.parse"] = lambda text: sys_cpu_vulnerabilities.parse("meltdown", text)
# What libvirt's library hands over is no text.
PARSERS["libvirt_stats.parse_stats"] = lambda text: libvirt_stats.parse_stats("u", 1, {key: len(key) for key in text.split()})
# Tables of bytes; tests/unit/test_smbios.py and test_wasm_stats.py break whole ones.
PARSERS["smbios.parse_table"] = lambda text: smbios.parse_table(text.encode("utf-8", "replace"))
# Messages of netlink; a refusal in one of them is the kernel's, and an OSError.
PARSERS |= {f"taskstats.{parse.__name__}": partial(_answered, parse) for parse in (taskstats.parse_family, taskstats.parse_account)}
PARSERS["docker_engine.parse_rows"] = lambda text: _rows(text.encode("utf-8", "replace"))
PARSERS["wasm_stats.statements.parse"] = lambda text: statements.parse(1, text.encode("utf-8", "replace"))

# The words of every format, put together in every order.
_WORDS = """
cpu cpu0 cpu16384 cpu1 CPU0 CPU1 intr ctxt btime Node 0, zone Normal pages free high managed MemTotal: kB 0 1 12 -1 99999
some full avg10=0.00 total=12 total=x processor : vendor_id model name 0: version=FF , max 100000 4:memory:/docker/x 0::/
1000-2000 2000-3000 Rss: AnonHugePages: Cpus_allowed_list: 0-3 f,, 1 (a) R [always] N0=1 kernelpagesize_kB=4 rw-p 00000000
version 15 17 timestamp domain0 MC se.slice isolcpus=1- rcu_nocbs=x nosmt /dev/zram0 partition \\040 CONFIG_HZ=
<domain> </domain> <cpu> <a b='c'> &x; \u0663
"""
WORDS = [*_WORDS.split(), "processor\t:", "\0", "\x0b", "\x85", ""]
NUMBERS = [f"{1 << 64}", "9" * 400, "9" * 5000]
words = st.one_of(st.sampled_from([*WORDS, *NUMBERS]), st.text(max_size=5))
lines = st.lists(st.lists(words, max_size=12).map(" ".join), max_size=8).map("\n".join)
binary = st.binary(max_size=80).map(lambda data: data.decode("utf-8", "backslashreplace"))


@pytest.mark.parametrize("name", PARSERS)
@given(text=st.one_of(lines, st.text(max_size=80), binary))
@example(text="")
@example(text="\n")
@example(text=" ".join(["1"] * 60))
@example(text="\n".join(f"cpu0 {number} 1 1 1 1 1 1 1 1 1" for number in NUMBERS))
@example(text="\n".join(f"0: {number} x" for number in ["CPU0", *NUMBERS]))
@example(text="CPU0 CPU0\n 0: 1 2 x\n")
@example(text=f"CPU{'9' * 5000}\n")
@example(text="1 (x) R " + " ".join(["9" * 5000] * 40))
@example(text="\udcff <domain/>")
def test_any_text_is_read_or_malformed(name: str, text: str) -> None:
    with suppress(Malformed):
        PARSERS[name](text)


def test_every_parser_is_here() -> None:
    assert {
        "cgroup.others.parse_stall",
        "cgroup.memory.parse_numa_stat",
        "domain_xml.parse_xml",
        "proc_stat.parse",
        "proc_pid.maps.parse_maps",
    } <= PARSERS.keys()
    assert {name.partition(".")[0] for name in PARSERS} <= {*SOURCES, "domain_xml", "proc_pid"}


class Listing(Tree):
    """A tree that notes which files are read."""

    def __init__(self) -> None:
        super().__init__()
        self.paths: set[str] = set()

    def read(self, path: str) -> bytes:
        self.paths.add(path)
        return super().read(path)


@pytest.fixture(scope="module")
def paths() -> list[str]:
    """The files that a pass over this host asks for, and those that only other machines have."""
    listing = Listing()
    root = SysRoot("/", listing)
    root.can_hold = False
    look(root, "/", only=tuple(source for source in SOURCES if source not in ("docker_engine", "libvirt_domains", "libvirt_stats")))
    process = {path.replace(path.split("/")[1], "1", 1) for path in listing.paths if path.split("/")[1].isdecimal()}
    # Not one for each process and group that happen to be here.
    others = (path for path in listing.paths if not path.split("/")[1].isdecimal())
    found = {path for path in others if not path.startswith(("proc/", "sys/fs/cgroup/")) or path.count("/") < 4}
    found |= {path for path in process if path.count("/") < 3}
    found |= {f"proc/1/task/1/{name}" for name in ("stat", "status", "schedstat")}
    files = {path.rpartition("/")[2] for path in listing.paths if path.startswith("sys/fs/cgroup/")}
    v2 = ["cpu.max", "cpu.stat", "cpu.weight", "cpu.pressure", "memory.max", "memory.stat", "memory.events", "cgroup.procs", "pids.max"]
    v2 += ["memory.numa_stat", "cpu.uclamp.max", "cpuset.cpus.partition", "irq.pressure", "pids.events", "cgroup.type", "hugetlb.2MB.max"]
    found |= {f"sys/fs/cgroup/system.slice/docker-{'0a' * 32}.scope/{name}" for name in {*v2, *files}}
    found |= {
        f"sys/devices/system/node/node{node}/{name}" for node in (0, 99999) for name in ("cpulist", "distance", "meminfo", "numastat")
    }
    mc = ["size_mb", "ce_count", "dimm0/dimm_location", "dimm0/size", "dimm0/dimm_ce_count", "dimm0/dimm_label", "csrow0/ch0_ce_count"]
    found |= {f"sys/devices/system/edac/mc/mc0/{name}" for name in mc} | {"sys/devices/system/edac/mc/mc1/csrow1/ch1_ce_count"}
    pci = ["class", "vendor", "numa_node", "local_cpulist", "local_cpus", "uevent", "current_link_speed", "max_link_width", "msi_irqs/30"]
    found |= {f"sys/bus/pci/devices/10000:00:1f.7/{name}" for name in pci} | {smbios.TABLE}
    found |= {f"replies/{name}.json" for name in ("processes", "docker_engine", "libvirt_domains", "libvirt_stats", "cpuid")}
    return sorted(found)


def look(root: SysRoot, path: str, only: tuple[str, ...] = ()) -> Sample:
    """One pass, as far as the exporters: nothing may raise."""
    sample = take(root, Config(root=path, only=only), Caches())
    host = normalise(sample)
    found = snapshot_of(Window(after=host, before=host, seconds=1.0), 0.0)
    json.loads(document.render(found))
    for openmetrics in (False, True):
        assert exposition(found, Run(seconds=sample.seconds), TextCache(), openmetrics).decode().isprintable() is False
    return sample


def noise(chance: random.Random) -> bytes:
    """Bytes that resemble what the kernel writes, more or less."""
    match chance.randrange(9):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return b"\0" * 30
        case 2:
            return b"9" * chance.choice((10, 39, 400, 5000))
        case 3:
            return str(chance.choice((-1, 0, 1, 7, 16383, 16384, 1 << 64))).encode() + b"\n"
        case 4:
            return chance.choice((b"0-16383", b"0-3:1/2", b"ffffffff,,1", b"\n", b"max", b"max 100000", b"-5 7", b"0-4294967295"))
        case 5:
            return chance.choice(
                (b"0x020000\n", b"8.0 GT/s PCIe\n", b"channel 0 slot 1 \n", b"DRIVER=x\nPCI_ID=1:2\n", b"\x11\x04\0\0\0\0")
            )
        case 6:
            return b"".join(chance.choice((b"some ", b"full ", b"total=7", b"\n", b"avg10=x ", b"=")) for _ in range(20))
        case 7:
            return "\n".join(" ".join(chance.choices(WORDS, k=chance.randrange(1, 9))) for _ in range(9)).encode("utf-8", "replace")
        case _:
            return chance.choice((b"[]", b"{}", b"[{}]", b"null", b'"\xff"', b"[[", b"1e999"))


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mark", [True, False], ids=["recording", "live"])
def test_a_root_full_of_noise(tmp_path: Path, paths: list[str], seed: int, mark: bool) -> None:
    chance = random.Random(seed)
    for path in paths:
        with suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
            match chance.randrange(10):
                case 0:
                    (tmp_path / path).mkdir(parents=True)
                case 1 if not path.startswith("proc/1/"):
                    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                    os.mkfifo(tmp_path / path)
                case 2:
                    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                    (tmp_path / path).symlink_to(chance.choice(("/etc/passwd", "../../../../../../../..", path.rpartition("/")[2], ".")))
                case _:
                    plant(tmp_path, {path: noise(chance)})
    if mark:
        (tmp_path / MARK).write_text(A_MARK)
    assert look(SysRoot(tmp_path), str(tmp_path)).gaps


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"0\n", b"-1\n", b"99999\n", b"18446744073709551616\n", b"9" * 39, b"\xff\xff", b"0-16383\n"]
)
def test_the_same_everywhere(tmp_path: Path, paths: list[str], content: bytes) -> None:
    grow(tmp_path, {MARK: A_MARK, **dict.fromkeys(paths, content)})
    look(SysRoot(tmp_path), str(tmp_path))


def test_directories_everywhere(tmp_path: Path, paths: list[str]) -> None:
    look(grow(tmp_path, {MARK: A_MARK, **{f"{path}/": "" for path in paths}}), str(tmp_path))


def test_nothing_anywhere(tmp_path: Path) -> None:
    sample = look(SysRoot(tmp_path), str(tmp_path))
    assert {gap.reason for gap in sample.gaps} == {"absent"}
    host = sample.host
    assert (host.stat, host.memory, sample.workloads.cgroups, host.interrupts, host.pressures) == (None, None, None, None, None)


def test_a_deep_tree_of_groups(tmp_path: Path) -> None:
    """Whoever is given a group may nest groups in it: each asks for all its ancestors."""
    grow(tmp_path, {MARK: A_MARK, "sys/fs/cgroup/cgroup.controllers": "cpu\n"})
    place = os.open(tmp_path / "sys/fs/cgroup", os.O_DIRECTORY)
    for _ in range(1000):
        os.mkdir("a", dir_fd=place)
        below = os.open("a", os.O_DIRECTORY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    try:
        began = time.process_time()
        sample = look(SysRoot(tmp_path), str(tmp_path), only=("cgroup",))
        assert sample.workloads.cgroups is not None
        assert len(sample.workloads.cgroups.groups) == 1001
        assert time.process_time() - began < 2.5
    finally:
        # Deeper than Python recurses.
        subprocess.run(["rm", "-rf", str(tmp_path / "sys")], check=True)


@given(data=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_mark_of_noise(tmp_path: Path, data: bytes) -> None:
    with suppress(Unavailable):
        grow(tmp_path, {MARK: data})


@pytest.mark.parametrize("config", [b"", b"x", b"\x1f\x8b\x08", zlib.compress(b"\nCONFIG_HZ=250\n")])
def test_a_broken_kernel_configuration(tmp_path: Path, config: bytes) -> None:
    look(grow(tmp_path, {MARK: A_MARK, "proc/config.gz": config}), str(tmp_path))


def test_names_that_are_numbers(tmp_path: Path) -> None:
    root = grow(
        tmp_path,
        {
            MARK: A_MARK,
            "sys/devices/system/cpu/cpu99999/topology/core_id": "0",
            "sys/devices/system/cpu/cpu٣/topology/core_id": "0",
            "sys/devices/system/node/node99999/cpulist": "0",
            "sys/devices/system/node/node²/cpulist": "0",
            "sys/kernel/mm/hugepages/hugepages-99999999999999kB/nr_hugepages": "1",
            "proc/cpuinfo": "processor : 99999\nmodel name : x\n",
            "proc/stat": "cpu99999 1 1 1 1\n",
            f"proc/{'9' * 200}/stat": "",
        },
    )
    look(root, str(tmp_path))
    assert proc_cpuinfo.read(root).processors == ()
    assert proc_stat.read(root) == proc_stat.Stat(cpus=())
    assert malformed(root) == ["proc/stat"]
