"""collectors/proc_cpuinfo.py: every architecture has keys of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors.proc_cpuinfo import Cpuinfo, Processor, parse, read
from collectors.root import SysRoot, Unavailable

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106
model name\t: Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz
stepping\t: 6
microcode\t: 0xd0003a5
physical id\t: 1
core id\t\t: 31
flags\t\t: fpu vme la57 hypervisor
TLB size\t: 1536 4K pages
address sizes\t: 46 bits physical, 57 bits virtual

processor\t: 4
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 106

"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd sve
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
CPU revision\t: 1

"""
ARM_BOARD = """Processor\t: ARMv7 Processor rev 4 (v7l)
processor\t: 0
BogoMIPS\t: 38.40

processor\t: 1
BogoMIPS\t: 38.40

Features\t: swp half thumb
CPU implementer\t: 0x51
CPU part\t: 0x06f

Hardware\t: Some board
Serial\t\t: 0000000000000000
"""
S390 = """vendor_id       : IBM/S390
# processors    : 2
bogomips per cpu: 3033.00
features\t: esan3 zarch stfle
facilities      : 0 1 2
processor 0: version = FF,  identification = 2733E8,  machine = 2964
processor 1: version = FF,  identification = 2733E8,  machine = 2964

cpu number      : 0
cpu MHz dynamic : 5000

"""
POWER = """processor\t: 8
cpu\t\t: POWER9, altivec supported
clock\t\t: 2950.000000MHz
revision\t: 2.2 (pvr 004e 1202)

timebase\t: 512000000
platform\t: PowerNV
machine\t\t: PowerNV 8335-GTH
"""
RISCV = """processor\t: 0
hart\t\t: 2
isa\t\t: rv64imafdc
mmu\t\t: sv39
uarch\t\t: sifive,u74-mc
mvendorid\t: 0x489

"""
SPARC = """cpu\t\t: UltraSparc T5 (Niagara5)
fpu\t\t: UltraSparc T5 integrated FPU
pmu\t\t: niagara5
prom\t\t: OBP 4.38.16
type\t\t: sun4v
ncpus probed\t: 2
ncpus active\t: 2
CPU0ClkTck\t: 00000000d6924470
"""


@pytest.mark.parametrize(
    ("text", "processor", "flags"),
    [
        (
            X86,
            Processor(
                cpu=0,
                vendor="GenuineIntel",
                model_name="Intel(R) Xeon(R) Gold 6330 CPU @ 2.00GHz",
                family="6",
                model="106",
                stepping="6",
                microcode="0xd0003a5",
                package_id=1,
                core_id=31,
            ),
            ("fpu", "vme", "la57", "hypervisor"),
        ),
        (ARM, Processor(cpu=0, vendor="0x41", model_name=None, family="8", model="0xd0c", stepping="1"), ("fp", "asimd", "sve")),
        (RISCV, Processor(cpu=0, vendor="0x489", model_name="sifive,u74-mc"), ("rv64imafdc",)),
        (POWER, Processor(cpu=8, vendor=None, model_name="POWER9, altivec supported", model="2.2 (pvr 004e 1202)"), ()),
        (S390, Processor(cpu=0, vendor="IBM/S390", model_name="2964"), ("esan3", "zarch", "stfle")),
    ],
    ids=["x86", "arm", "risc-v", "power", "s390"],
)
def test_architectures(text: str, processor: Processor, flags: tuple[str, ...]) -> None:
    found = parse(text)
    assert (found.processors[0], found.flags) == (processor, flags)


def test_x86_says_more() -> None:
    found = parse(X86)
    assert [processor.cpu for processor in found.processors] == [0, 4]
    assert found.processors[1] == Processor(cpu=4, vendor="GenuineIntel", family="6", model="106")
    assert (found.tlb, found.address_sizes) == ("1536 4K pages", "46 bits physical, 57 bits virtual")


def test_an_arm_board_describes_all_its_processors_at_the_end() -> None:
    found = parse(ARM_BOARD)
    assert {processor.vendor for processor in found.processors} <= {"0x51"}
    assert [processor.cpu for processor in found.processors][-1] == 1
    assert found.flags == ("swp", "half", "thumb")


LINES = "processor 0: version = FF,  identification = 2733E8,  machine = 2964\nprocessor 1: version = FF,  machine = 3931\n"
NEWER = "".join(
    f"cpu number      : {cpu}\nphysical id     : 1\ncore id         : {cpu}\nversion         : 00\nmachine         : {model}\n\n"
    for cpu, model in enumerate(("2964", "3931"))
)


@pytest.mark.parametrize(
    ("text", "processors"),
    [
        (S390, [(0, "2964", None), (1, "2964", None)]),
        (LINES, [(0, "2964", None), (1, "3931", None)]),
        (NEWER, [(0, "2964", 1), (1, "3931", 1)]),
        (f"{LINES}\n{NEWER}", [(0, "2964", 1), (1, "3931", 1)]),
        (f"{NEWER}{LINES}", [(0, "2964", 1), (1, "3931", 1)]),
        (
            f"{LINES}\ncpu number : 1\ncpu MHz dynamic : 5000\n\ncpu number : 2\nphysical id : 2\n",
            [(0, "2964", None), (1, "3931", None), (2, None, 2)],
        ),
    ],
    ids=["of a line and a block", "lines", "blocks", "both", "blocks first", "a CPU without a line"],
)
def test_two_records_of_an_s390_cpu_are_one(text: str, processors: list[tuple[int, str | None, int | None]]) -> None:
    assert [(processor.cpu, processor.model_name, processor.package_id) for processor in parse(text).processors] == processors


def test_sparc_has_no_blocks() -> None:
    assert parse(SPARC).processors == ()


@pytest.mark.parametrize(
    "text", ["", "\n\n", "no colon\n", "processor : x\n", "processor : -1\n", "processor : 65536\n", "processor :\n", "processor x: a=b\n"]
)
def test_what_names_no_processor(text: str) -> None:
    assert parse(text) == Cpuinfo(())


@pytest.mark.parametrize(("line", "package"), [("physical id : 3", 3), ("physical id : -1", None), ("physical id : 99999999999", None)])
def test_packages(line: str, package: int | None) -> None:
    assert parse(f"processor : 0\n{line}\n").processors == (Processor(cpu=0, package_id=package),)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        read(SysRoot(tmp_path))
