"""Breaks the recorded trees, a few files at a time, and holds what the agent says of them against the laws of every machine.

python -m tests.hosts.fuzz 200000          as many broken trees; each failure prints the seed that makes it again
python -m tests.hosts.fuzz 1 --seed 4711   that one
"""

from __future__ import annotations

import errno
import json
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from itertools import combinations

from agent.collect.caches import Caches
from agent.collect.take import take
from agent.config import Config
from agent.model.physical import Physical
from agent.model.snapshot import Snapshot
from agent.model.values import CpuSet
from agent.normalise import normalise
from agent.overhead.window import Window
from agent.session import snapshot_of
from collectors.root import MARK
from exporters.metrics.catalogue import exposition
from exporters.metrics.of_agent import Run
from exporters.metrics.text import TextCache
from exporters.views import json as document
from tests.hosts import seeds
from tests.hosts.memory_root import CPU, MACHINE, NODE, Content, Files, MemoryRoot, recorded
from tests.hosts.trees import TINY

PASS_SECONDS = 1.0
# How agent/collect/ask.py says that a reader fell over something it has no name for.
FELL = re.compile(r"\(\w+\.py:\d+\)$")
NUMBERS = (
    "-1",
    "0",
    "1",
    "1023",
    "1024",
    "1025",
    "5000",
    "16383",
    "16384",
    "2147483648",
    "18446744073709551616",
    "9" * 50,
    "x",
    "1_0",
    "٣",
)
LISTS = ("", "0", "3-0", "3,2,1,0", "0-3:1/2", "0,0,0", "0-4999", "0-16383", "0-16384", "1025-1030", "5000", "0-", ",", "0-3,x", "(null)")
MASKS = ("", "0", "00000000,00000000", "ffffffff", "f,,1", ",", "1,00000000", "ffffffff," * 160 + "ffffffff", "f" * 17000, "xyz")
ERRORS = (
    *(errno.EIO, errno.EINVAL, errno.EISDIR, errno.ELOOP, errno.EACCES),
    *(errno.ENODEV, errno.EFBIG, errno.EXDEV, errno.EOPNOTSUPP),
)

Mutation = Callable[[random.Random, Files], None]


def some(chance: random.Random, files: Files) -> str:
    """A file, most often one of the topology."""
    paths = sorted(path for path in files if path != MARK and path[-1] != "/") or sorted(files)
    wanted = [path for path in paths if path.startswith((CPU, NODE))]
    return chance.choice(wanted if wanted and chance.random() < 0.9 else paths)


def content(files: Files, path: str) -> bytes:
    found = files[path]
    return found if isinstance(found, bytes) else b""


def file_gone(chance: random.Random, files: Files) -> None:
    del files[some(chance, files)]


def directory_gone(chance: random.Random, files: Files) -> None:
    parts = some(chance, files).split("/")
    directory = "/".join(parts[: chance.randrange(min(4, len(parts)), len(parts) + 1)])
    for path in [path for path in files if path == directory or path.startswith(directory + "/")]:
        if len(files) > 1:
            del files[path]


def cut_short(chance: random.Random, files: Files) -> None:
    path = some(chance, files)
    files[path] = content(files, path)[: chance.randrange(len(content(files, path)) + 1)]


def empty(chance: random.Random, files: Files) -> None:
    files[some(chance, files)] = chance.choice((b"", b"\n", b"\0", b" \n\n"))


def nul_bytes(chance: random.Random, files: Files) -> None:
    path = some(chance, files)
    old, at = content(files, path), chance.randrange(len(content(files, path)) + 1)
    files[path] = old[:at] + b"\0" * chance.choice((1, 7, 5000)) + old[at:]


def bytes_changed(chance: random.Random, files: Files) -> None:
    path = some(chance, files)
    data = bytearray(content(files, path))
    for _ in range(chance.randrange(1, 4)):
        if data:
            data[chance.randrange(len(data))] = chance.randrange(256)
    files[path] = bytes(data)


def swapped(chance: random.Random, files: Files) -> None:
    one, other = some(chance, files), some(chance, files)
    files[one], files[other] = files[other], files[one]


def of_another(chance: random.Random, files: Files) -> None:
    """What another CPU, cache or node says under the same name: ids twice, siblings that do not sibling back."""
    path = some(chance, files)
    same = [other for other in sorted(files) if other.rpartition("/")[2] == path.rpartition("/")[2]]
    files[path] = files[chance.choice(same)]


def alike_everywhere(chance: random.Random, files: Files) -> None:
    name = some(chance, files).rpartition("/")[2]
    text = value(chance, name)
    for path in files:
        if path.rpartition("/")[2] == name:
            files[path] = text


def other_value(chance: random.Random, files: Files) -> None:
    path = some(chance, files)
    files[path] = value(chance, path.rpartition("/")[2])


def other_sets(chance: random.Random, files: Files) -> None:
    """Siblings, caches and nodes that contradict themselves and each other."""
    kinds = [path for path in sorted(files) if path.endswith(("_cpus", "_siblings", "_map", "cpumap", "_list", "cpulist"))]
    for path in chance.sample(kinds, min(len(kinds), chance.randrange(1, 20))):
        cpus = CpuSet(chance.randrange(chance.choice((4, 16, 70))) for _ in range(chance.randrange(6)))
        files[path] = (f"{cpus}\n" if path.endswith("list") else f"{cpus.mask:x}\n").encode()


def other_lists(chance: random.Random, files: Files) -> None:
    """present, online and possible that contradict one another."""
    for name in chance.sample(("online", "present", "possible", "isolated"), chance.randrange(1, 4)):
        cpus = CpuSet(chance.randrange(20) for _ in range(chance.randrange(12)))
        files[f"{CPU}/{name}"] = f"{cpus}\n".encode()


def refused(chance: random.Random, files: Files) -> None:
    """A directory, a link that leads to itself, a device error, a file without end."""
    number = chance.choice(ERRORS)
    files[some(chance, files)] = OSError(number, "refused")


def a_directory(chance: random.Random, files: Files) -> None:
    path = some(chance, files)
    files[f"{path}/{chance.choice(('level', 'cpu0', 'x'))}"] = files.pop(path)


def copied(chance: random.Random, files: Files) -> None:
    """A CPU, cache or node once more, under another number."""
    found = [match for path in sorted(files) if (match := re.search(r".*?/(?:cpu|node|index|memory)(?=\d+/)", path))]
    if not found:
        return
    prefix = chance.choice(found)[0]
    source = chance.choice(sorted({path[len(prefix) :].partition("/")[0] for path in files if path.startswith(prefix)}))
    target = chance.choice(NUMBERS)
    for path in [path for path in files if path.startswith(f"{prefix}{source}/")]:
        files[f"{prefix}{target}{path[len(prefix) + len(source) :]}"] = files[path]


def value(chance: random.Random, name: str) -> bytes:
    """Something for a file of this name, or of another kind of file."""
    kinds: tuple[tuple[str, ...], ...] = (NUMBERS, LISTS, MASKS, ("Data", "Instruction", "Unified", "32K", "0K", "9999999T", "\udcff"))
    by_name = 1 if name.endswith("list") or name in ("online", "present", "possible") else 2 if "cpu" in name or "sib" in name else 0
    texts = kinds[by_name] if chance.random() < 0.7 else chance.choice(kinds)
    return chance.choice(texts).encode("utf-8", "surrogateescape") + chance.choice((b"\n", b"\n", b"", b"\nmore\n"))


MUTATIONS: tuple[Mutation, ...] = (
    file_gone, directory_gone, cut_short, empty, nul_bytes, bytes_changed, swapped, of_another, alike_everywhere, other_value, other_sets,
    other_lists, refused, a_directory, copied,
)  # fmt: skip

TREE_NAMES = TINY
tree = cache(recorded)


def broken(seed: int) -> tuple[str, list[str], Files]:
    """The machine that a seed stands for: which tree it was, what was done to it, its files."""
    chance = random.Random(seed)
    name = chance.choice(TREE_NAMES)
    files: dict[str, Content] = dict(tree(name))
    done = chance.choices(MUTATIONS, k=chance.choice((1, 1, 2, 3, 5)))
    for mutation in done:
        if files.keys() - {MARK}:
            mutation(chance, files)
    return name, [mutation.__name__ for mutation in done], files


def look(files: Files) -> Snapshot:
    """One pass, as far as the exporters."""
    root = MemoryRoot(files)
    sample = take(root, Config(root=root.path, only=MACHINE), Caches())
    found = snapshot_of(Window(after=normalise(sample)), 0.0)
    json.loads(document.render(found))
    text = exposition(found, Run(seconds=sample.seconds), TextCache()).decode().splitlines()
    series = [line.rpartition(" ")[0] for line in text if line[0] != "#"]
    if len(set(series)) != len(series):
        raise AssertionError(f"twice: {[one for one, count in Counter(series).items() if count > 1][:3]}")
    return found


def wrong(found: Snapshot) -> Iterator[str]:
    """What breaks a law."""
    yield from (f"a reader fell: {gap.source}: {gap.detail}" for gap in found.gaps if gap.reason == "failed" and FELL.search(gap.detail))
    said = {entry.subject for entry in found.physical.contradictions}
    physical = found.physical
    online = physical.cpus.online
    # Where a CPU sits that shows no topology, and that no other CPU lists, is not known.
    unplaced = online - CpuSet.union(package.cpus for package in physical.packages)
    if not unplaced <= CpuSet.union(entry.cpus for entry in physical.contradictions if entry.subject == "topology"):
        yield f"CPUs {unplaced} are in no package and nobody says so"
    placed = online - unplaced
    for name, things in (("cores", physical.cores), ("packages", physical.packages)):
        if sum(len(thing.cpus) for thing in things) != len(placed) or CpuSet.union(thing.cpus for thing in things) != placed:
            yield f"{name} {[str(thing.cpus) for thing in things][:9]} do not partition {placed}"
    for core in physical.cores:
        if not core.cpus <= physical.packages[core.package].cpus:
            yield f"core {core.cpus} is not in package {physical.packages[core.package].cpus}"
    for name, groups in (("dies", physical.dies), ("clusters", physical.clusters)):
        for group in groups:
            if not group.cpus <= physical.packages[group.package].cpus:
                yield f"one of the {name}, {group.cpus}, is not in package {physical.packages[group.package].cpus}"
        if sum(len(group.cpus) for group in groups) != len(CpuSet.union(group.cpus for group in groups)):
            yield f"{name} overlap: {[str(group.cpus) for group in groups]}"
    if not any(subject.startswith(("L", "caches")) for subject in said):
        yield from (f"caches do not nest and nobody says so: {pair}" for pair in crossing(physical))
    if physical.cpus.present is not None and not online <= physical.cpus.present and "online" not in said:
        yield f"online {online} is not within present {physical.cpus.present} and nobody says so"
    for node in physical.nodes:
        if node.cpus is not None and not node.cpus <= online:
            yield f"node {node.os_index} has CPUs {node.cpus} that are not there"


def crossing(physical: Physical) -> Iterator[str]:
    """Caches of one kind are apart; what is further out, and holds data, holds all of what is nearer."""
    for inner, outer in combinations(physical.caches, 2):
        if (
            not inner.cpus.mask & outer.cpus.mask
            or (inner.level == outer.level and inner.type != outer.type)
            or outer.type == "Instruction"
        ):
            continue
        if inner.level == outer.level or not inner.cpus <= outer.cpus:
            yield f"L{inner.level} {inner.type} {inner.cpus} and L{outer.level} {outer.type} {outer.cpus}"


def judge(seed: int) -> list[str]:
    name, done, files = broken(seed)
    began = time.process_time()
    try:
        faults = list(wrong(look(files)))
    except Exception as error:
        faults = [f"{type(error).__name__}: {error}"]
    took = time.process_time() - began
    if took > PASS_SECONDS:
        faults.append(f"took {took:.1f} s")
    return [f"seed {seed} ({name}: {', '.join(done)}): {fault}" for fault in faults]


if __name__ == "__main__":
    sys.exit(seeds.main("tests.hosts.fuzz", __doc__, judge, "broken trees", "break a law"))
