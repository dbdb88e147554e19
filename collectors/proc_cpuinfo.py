"""What the processors call themselves: /proc/cpuinfo. Its keys differ by architecture (arch/*/kernel/cpu/proc.c and kin)."""

from __future__ import annotations

from agent.model.values import Fact, is_number
from collectors.root import SysRoot
from collectors.text import newline_separated

# x86 | ARM | POWER and SPARC | LoongArch | RISC-V | MIPS. The first one that is there.
_VENDOR = ("vendor_id", "cpu implementer", "vendor", "mvendorid")
_MODEL = ("model name", "cpu model", "cpu", "uarch", "processor type", "machine")
_FLAGS = ("flags", "features", "isa", "pmmu", "features supported")


class Processor(Fact, frozen=True, kw_only=True):
    """One block, a CPU that was online. What comes after `microcode` is for hosts whose topology files are not to be had.

    `package_cores` is how many cores of its package are up.
    """

    cpu: int
    vendor: str | None = None
    model_name: str | None = None
    family: str | None = None
    model: str | None = None
    stepping: str | None = None
    microcode: str | None = None
    package_id: int | None = None
    core_id: int | None = None
    package_cores: int | None = None


class Cpuinfo(Fact, frozen=True):
    """The blocks, and the flags of the first one."""

    processors: tuple[Processor, ...]
    flags: tuple[str, ...] = ()
    tlb: str | None = None
    address_sizes: str | None = None


def read(root: SysRoot) -> Cpuinfo:
    return root.require_parsed("proc/cpuinfo", parse)


def parse(text: str) -> Cpuinfo:
    """Blocks are separated by empty lines; keys that stand outside a CPU's block (ARM's "Hardware") describe all of them.

    s390 has a line and a block of each CPU, which are one: of a key that is in both, the first counts.
    """
    blocks: list[dict[str, str]] = []
    block: dict[str, str] = {}
    common: dict[str, str] = {}
    for line in [*newline_separated(text), ""]:
        key, colon, value = line.partition(":")
        key = key.strip().lower()
        if not colon:
            if "processor" in block or "cpu number" in block:
                blocks.append(block)
            else:
                common.update(block)
            block = {}
        elif key.startswith("processor ") and key[10:].isdecimal():
            # s390 puts a CPU on one line: "processor 0: version = FF,  identification = ..., machine = 2964".
            pairs = dict(pair.partition("=")[::2] for pair in value.split(","))
            blocks.append({"processor": key[10:]} | {name.strip().lower(): text.strip() for name, text in pairs.items()})
        elif key == "processor" and not is_number(block.get(key, "")):
            # Old ARM kernels begin with "Processor : ARMv7 ...".
            block[key] = value.strip()
        else:
            block.setdefault(key, value.strip())
    by_cpu: dict[str, dict[str, str]] = {}
    for entry in blocks:
        # ia64 has both: there, "cpu number" is the hardware's.
        number = entry["processor"] if is_number(entry.get("processor", "")) else entry.get("cpu number", "")
        by_cpu[number] = entry | by_cpu.get(number, {})
    processors = tuple(p for number, entry in by_cpu.items() if (p := _processor(number, common | entry)) is not None)
    first = common | (blocks[0] if blocks else {})
    flags = _first(first, _FLAGS) or ""
    return Cpuinfo(processors, tuple(flags.split()), first.get("tlb size"), first.get("address sizes"))


def _processor(number: str, block: dict[str, str]) -> Processor | None:
    if not is_number(number):
        return None
    return Processor(
        cpu=int(number),
        vendor=_first(block, _VENDOR),
        model_name=_first(block, _MODEL),
        family=_first(block, ("cpu family", "cpu architecture", "family")),
        model=_first(block, ("model", "cpu part", "revision")),
        stepping=_first(block, ("stepping", "cpu revision")),
        microcode=block.get("microcode"),
        package_id=_number(block.get("physical id")),
        core_id=_number(block.get("core id")),
        package_cores=_number(block.get("cpu cores")),
    )


def _first(block: dict[str, str], keys: tuple[str, ...]) -> str | None:
    return next((block[key] for key in keys if block.get(key)), None)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 10 else None
