"""Breaks files that belong to one workload, one at a time, and looks whether anything of another workload or of the host has changed.

python -m tests.hosts.isolation 3000          so many mutations of the recorded hosts; each offender prints the seed that makes it again
python -m tests.hosts.isolation 1 --seed 4711 that one
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import sys
from collections.abc import Iterator
from typing import Any

from agent.model.values import Fact
from tests.hosts import seeds
from tests.hosts.fuzz import FELL
from tests.hosts.memory_root import Content
from tests.hosts.owned import HOSTS, host, look, trees

HUGE = ("18446744073709551616", "9" * 30, "9" * 5000, "9223372036854775807")
BINARY = (b"\0\xff\xfe\x80", b"\x1b[31m\xc2\x85", b"\xed\xa0\x80", bytes(range(1, 255)))
WRONG = ("x", "max x", "1 2 3 4 5 6 7 8 9", "key: 5 kB", "0-", "N0=", "some total=", "(", "0x", "-")
ERRORS = (errno.EIO, errno.EACCES, errno.EISDIR)
KINDS = ("wrong", "empty", "missing", "huge", "negative", "binary", "refused", "vanished", "zero", "cut", "repeated", "more")

# What vanished while it was read is no gap, and what is a number may be true.
SPOKEN = ("wrong", "binary", "more", "refused")
VANISHED = (errno.ESRCH, errno.ENODEV)

# What a workload's own figures are compared with, or counted among: these are of several workloads by what they mean.
SHARED = ("placement.shared_cpus", "placement.sharing_workloads", "placement.shared_cores")


class Mutation(Fact, frozen=True, kw_only=True):
    """What was done to which file of which host; the workloads that own it may change, and no other."""

    host: str
    path: str
    kind: str
    content: Content
    owners: frozenset[str]
    later: Content | None = None
    """What the second pass reads, where that is not the same."""


def in_reply(chance: random.Random, name: str) -> Mutation:
    """One word or number of a record in what was asked and not read, changed into what it may be by its type."""
    whole = host(name)
    pids: dict[Any, set[str]] = {}
    for workload in whole.snapshot["workloads"]:
        pids.setdefault(workload.get("pid"), set()).add(workload["id"])
    ids = {workload["id"]: {workload["id"]} for workload in whole.snapshot["workloads"]}
    leaves = [
        (path, key, record[key], keys, owned)
        for path in sorted(path for path in whole.first if path.startswith("replies/") and path[-1] != "/")
        for record in _records(_decoded(whole.first[path]))
        for key in ("pid", "uuid", "id")
        if key in record and (owned := pids.get(record[key]) or ids.get(str(record[key])))
        for keys in _leaves(record)
        if keys[-1] not in ("pid", "uuid", "id")
    ]
    path, key, identity, keys, owned = chance.choice(leaves)
    word = chance.choice(("", "x" * 5000, "\x1b[31m", "\u202e", "0", "-1", "max", "../.."))
    number = chance.choice((0, 1, -1, 7, 1 << 31, (1 << 63) - 1))

    def changed(content: Content) -> bytes:
        reply = _decoded(content)
        for record in _records(reply):
            if record.get(key) == identity and keys in list(_leaves(record)):
                part: Any = record
                for step in keys[:-1]:
                    part = part[step]
                part[keys[-1]] = word if isinstance(part[keys[-1]], str) else number
        return json.dumps(reply).encode()

    return Mutation(
        host=name,
        path=path,
        kind="reply",
        content=changed(whole.first[path]),
        owners=frozenset(owned),
        later=changed(whole.second[path]),
    )


def _decoded(content: Content) -> Any:
    assert isinstance(content, bytes)
    return json.loads(content)


def _records(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _records(part)


def _leaves(value: Any, keys: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The ways to the words and numbers in a record."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        yield keys
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _leaves(part, (*keys, key))


def mutation(seed: int) -> Mutation:
    chance = random.Random(seed)
    name = chance.choice(HOSTS)
    if chance.random() < 0.1:
        return in_reply(chance, name)
    files, owned = host(name).first, host(name).owners
    # A file of each name first, and then one of that name: the many files of threads are not all that there is.
    by_name: dict[str, list[str]] = {}
    for path in sorted(owned):
        by_name.setdefault(_kind(path), []).append(path)
    path = chance.choice(by_name[chance.choice(sorted(by_name))])
    kind = chance.choice(KINDS)
    content = files[path]
    assert isinstance(content, bytes)
    return Mutation(host=name, path=path, kind=kind, content=broken(chance, kind, content), owners=owned[path])


def _kind(path: str) -> str:
    parts = path.split("/")
    return f"{parts[0]} {'task ' if 'task' in parts else ''}{parts[-1]}"


def broken(chance: random.Random, kind: str, content: bytes) -> Content:
    """The content with one line, one number in a line, or all of it broken."""
    if kind == "missing":
        return OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    if kind in ("refused", "vanished"):
        number = chance.choice(ERRORS if kind == "refused" else VANISHED)
        return OSError(number, os.strerror(number))
    if kind == "empty" and chance.random() < 0.5:
        return chance.choice((b"", b"\n", b" \n\n", b"\0"))
    lines = content.split(b"\n")
    at = chance.randrange(len(lines))
    if kind == "empty":
        lines.insert(at, b"")
    elif kind == "cut":
        return content[: chance.randrange(len(content) + 1)]
    elif kind == "repeated":
        lines.insert(at, chance.choice(lines))
    elif kind == "more":
        lines.insert(at, chance.choice((*BINARY, *(word.encode() for word in WRONG))))
    else:
        words = {
            "wrong": [word.encode() for word in WRONG],
            "huge": [word.encode() for word in HUGE],
            "negative": [b"-1", b"-9223372036854775808"],
            "binary": list(BINARY),
            "zero": [b"0"],
        }[kind]
        numbers = list(re.finditer(rb"\d+", lines[at]))
        if numbers and chance.random() < 0.7:
            match = chance.choice(numbers)
            lines[at] = lines[at][: match.start()] + chance.choice(words) + lines[at][match.end() :]
        else:
            lines[at] = chance.choice(words)
    return b"\n".join(lines)


def mutated(change: Mutation) -> dict[str, Any]:
    """The document with the file broken, in both passes."""
    kept = [(tree.files, tree.files[change.path]) for tree in trees(change.host) if change.path in tree.files]
    for (files, _), content in zip(kept, (change.content, change.later or change.content), strict=False):
        files[change.path] = content
    try:
        return look(change.host)
    finally:
        for files, content in kept:
            files[change.path] = content


def offences(change: Mutation, after: dict[str, Any]) -> Iterator[str]:
    """What has changed that is not of the file's owners, and what changed of others without a gap that names the file."""
    before = host(change.host).snapshot
    yield from (f"a reader fell: {gap['detail']}" for gap in after["gaps"] if FELL.search(gap["detail"]))
    was, now = ({workload["id"]: workload for workload in snapshot["workloads"]} for snapshot in (before, after))
    for id_ in was.keys() - now.keys() - change.owners:
        yield f"{id_[:20]} is gone"
    yield from (f"{id_[:20]} has come" for id_ in now.keys() - was.keys() if not _is_of_owners(change, was, now[id_]))
    for id_ in (was.keys() & now.keys()) - change.owners:
        yield from (
            f"{id_[:20]} {path}: {old!r:.60} is {new!r:.60}" for path, old, new in differences(was[id_], now[id_]) if path not in SHARED
        )
    named = {gap["detail"] for gap in after["gaps"]} - {gap["detail"] for gap in before["gaps"]}
    if change.kind in SPOKEN and not any(change.path in detail for detail in named):
        yield from (f"silently {part}.{path}: {old!r:.60} is {new!r:.60}" for part, path, old, new in derived(change, before, after))
    for part in ("host", "physical", "logical"):
        yield from (f"{part}.{path}: {old!r:.60} is {new!r:.60}" for path, old, new in differences(before[part], after[part]))


def derived(change: Mutation, before: dict[str, Any], after: dict[str, Any]) -> Iterator[tuple[str, str, Any, Any]]:
    """What has changed of predictions, findings and counts that are not only the owners'."""
    for part, keys in (("predictions", ("workload", "component")), ("findings", ("workload", "id"))):
        was, now = ({" ".join(str(entry.get(key)) for key in keys): entry for entry in snapshot[part]} for snapshot in (before, after))
        for name in was.keys() | now.keys():
            if name.partition(" ")[0] not in change.owners:
                yield from ((part, f"{name} {path}", old, new) for path, old, new in differences(was.get(name, {}), now.get(name, {})))
    yield from (("devices", *difference) for difference in differences(before["devices"], after["devices"]))


def _is_of_owners(change: Mutation, was: dict[str, Any], workload: dict[str, Any]) -> bool:
    """Whether what came is one of the owners under another id, as where the file was what named it."""
    mine = [was[id_] for id_ in change.owners if id_ in was]
    return any(workload.get(key) is not None and workload.get(key) == other.get(key) for key in ("cgroup", "pid") for other in mine)


def differences(before: Any, after: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before.keys() | after.keys():
            yield from differences(before.get(key), after.get(key), f"{path}.{key}" if path else key)
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for place, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from differences(old, new, f"{path}.{place}")
    elif before != after:
        yield path, before, after


def judge(seed: int) -> list[str]:
    change = mutation(seed)
    what = f"seed {seed} ({change.host} {change.path} {change.kind}{f': {change.content}' if isinstance(change.content, OSError) else ''})"
    try:
        return [f"{what}: {offence}" for offence in offences(change, mutated(change))]
    except Exception as error:
        return [f"{what}: {type(error).__name__}: {error}"]


if __name__ == "__main__":
    sys.exit(seeds.main("tests.hosts.isolation", __doc__, judge, "mutations", "change another workload or the host"))
