"""What people call a workload: which workloads a word may mean, and the word that means one of them alone."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from itertools import chain, islice

from agent.model.runtimes import SYSTEMD, Paradigm
from agent.model.sandbox import statements
from agent.model.values import Fact, safe
from agent.model.workload import Workload

KINDS: dict[str, Paradigm] = {
    "container": "containerization",
    "machine": "virtualization",
    "sandbox": "sandbox",
    "process": "process",
    "vm": "virtualization",
    "containerization": "containerization",
    "virtualization": "virtualization",
}
"""What may stand before a colon and a name, beside the names of runtimes; the first of each paradigm is the one that is suggested."""

LONGEST = 64
"""Longer names are not suggested where there is a shorter word: a command should fit in a line."""
SHORT_ID = 12
"""So many digits of an id are what engines print."""
_NEAR = 0.5
_UNIT = re.compile(r"(.+)\.(?:service|scope|slice)", re.DOTALL)
_ESCAPED = re.compile(r"\\x([0-9a-f]{2})")
_HEX_ID = re.compile(r"[0-9a-f]{16,}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

Positions = list[int]
Wanted = Callable[[Workload], bool]


class NameIndex(Fact, frozen=True, kw_only=True):
    """The workloads of one host by all that they may be called; made once where many are looked for.

    `given` are names that an engine, a manager or the kernel gives, `published` those of instances that an embedder publishes, `pods`
    names of pods; `numbers` are those of processes and threads. `sorted_ids` are ids with the position of their workload.
    """

    workloads: tuple[Workload, ...]
    ids: dict[str, Positions]
    given: dict[str, Positions]
    published: dict[str, Positions]
    pods: dict[str, Positions]
    numbers: dict[int, Positions]
    sorted_ids: tuple[tuple[str, int], ...]

    def matching(self, word: str) -> tuple[Workload, ...]:
        """Those that somebody may mean by a word: the best reading of it that means any.

        In this order: a whole id; a name, or the number of a process or thread, where of workloads in one another the innermost is meant;
        an instance that an embedder publishes; a pod; the beginning of an id; the beginning of a name. `KIND:WORD` means those of that
        kind or runtime only. What owners of workloads choose, instances and pods, never hides what engines and the kernel say.
        """
        return tuple(self.workloads[position] for position in sorted(self._positions(word)))

    def word_for(self, workload: Workload) -> str:
        """What means this workload alone: its name where that is enough, printable and fit for a command line; at worst its id."""
        for word in _suggestions(workload):
            if word.isprintable() and not word.startswith("-") and self._is_alone(word, workload):
                return word
        return safe(workload.id)

    def nearest(self, word: str, most: int = 3) -> list[tuple[str, Workload]]:
        """Names that look like a word that means nobody, the nearest first, each with the workload that it is a name of.

        A name that several have is replaced by the word for the first of them.
        """
        names: dict[str, tuple[str, int]] = {}
        for table in (self.given, self.published, self.pods):
            for name, positions in table.items():
                names.setdefault(name.lower(), (name, positions[0]))
        after_kind = word.rpartition(":")[2]
        close = [*get_close_matches(word.lower(), names, most, _NEAR), *get_close_matches(after_kind.lower(), names, most, _NEAR)]
        by_position: dict[int, str] = {}
        for name, position in (names[close_name] for close_name in close):
            by_position.setdefault(position, name)
        nearest = [(name, self.workloads[position]) for position, name in by_position.items()][:most]
        return [(name if self._is_alone(name, workload) else self.word_for(workload), workload) for name, workload in nearest]

    def _is_alone(self, word: str, workload: Workload) -> bool:
        # Of a thousand namesakes the second says enough.
        positions = list(islice(self._positions(word), 2))
        return len(positions) == 1 and self.workloads[positions[0]] is workload

    def _positions(self, word: str) -> Iterator[int]:
        kind, _, rest = word.partition(":")
        # As the kubelet and kubectl write ids: containerd://0123.
        inner = rest.removeprefix("//")
        is_of_kind = self._filter(kind, is_url=inner != rest)
        for read in (self._by_id, self._by_given, self._by_published, self._by_pod, self._by_id_prefix, self._by_name_prefix):
            matches = set()
            for position in chain(read(word, _any) if word else (), read(inner, is_of_kind) if inner else ()):
                if position not in matches:
                    matches.add(position)
                    yield position
            if matches:
                return

    def _filter(self, kind: str, is_url: bool) -> Wanted:
        paradigm = KINDS.get(kind)
        if paradigm is not None:
            return lambda workload: workload.paradigm == paradigm
        return lambda workload: workload.runtime == kind or is_url

    def _these(self, positions: Iterable[int], wanted: Wanted) -> Iterator[int]:
        return (position for position in positions if wanted(self.workloads[position]))

    def _by_id(self, word: str, wanted: Wanted) -> Iterator[int]:
        return self._these(self.ids.get(word, self.ids.get(word.lower(), ())), wanted)

    def _by_given(self, word: str, wanted: Wanted) -> Iterator[int]:
        yield from self._these(self.given.get(word, ()), wanted)
        number = int(word) if word.isascii() and word.isdecimal() and len(word) < 10 else None
        numbered = list(self._these(self.numbers.get(number, ()) if number is not None else (), wanted))
        around = {self.workloads[position].parent for position in numbered}
        yield from (position for position in numbered if self.workloads[position].id not in around)

    def _by_published(self, word: str, wanted: Wanted) -> Iterator[int]:
        return self._these(self.published.get(word, ()), wanted)

    def _by_pod(self, word: str, wanted: Wanted) -> Iterator[int]:
        return self._these(self.pods.get(word, ()), wanted)

    def _by_id_prefix(self, word: str, wanted: Wanted) -> Iterator[int]:
        return self._these(chain(self._prefixed(word), self._prefixed(word.lower())), wanted)

    def _prefixed(self, word: str) -> Iterator[int]:
        for number in range(bisect_left(self.sorted_ids, (word, -1)), len(self.sorted_ids)):
            id_, position = self.sorted_ids[number]
            if not id_.startswith(word):
                return
            yield position

    def _by_name_prefix(self, word: str, wanted: Wanted) -> Iterator[int]:
        named = (positions for name, positions in self.given.items() if name.startswith(word))
        return self._these(chain.from_iterable(named), wanted)


def _any(_workload: Workload) -> bool:
    return True


def kind_of(workload: Workload) -> str:
    """The word for its kind that may stand before its name: "container"."""
    return next(kind for kind, paradigm in KINDS.items() if paradigm == workload.paradigm)


def index(workloads: Sequence[Workload]) -> NameIndex:
    """All that the workloads of a host may be called."""
    return NameIndex(
        workloads=tuple(workloads),
        ids=_table(workloads, lambda workload: (workload.id,)),
        given=_table(workloads, _given),
        published=_table(workloads, _published),
        pods=_table(workloads, _pods),
        numbers=_numbered(workloads),
        sorted_ids=tuple(sorted((workload.id, position) for position, workload in enumerate(workloads))),
    )


def _table(workloads: Sequence[Workload], names: Callable[[Workload], Iterable[str]]) -> dict[str, Positions]:
    table: dict[str, Positions] = {}
    for position, workload in enumerate(workloads):
        for name in dict.fromkeys(names(workload)):
            # A name is also found as it is shown, escaped.
            for written in dict.fromkeys((name, safe(name))) if name else ():
                table.setdefault(written, []).append(position)
    return table


def _numbered(workloads: Sequence[Workload]) -> dict[int, Positions]:
    table: dict[int, Positions] = {}
    for position, workload in enumerate(workloads):
        threads = (*workload.threads, *(vcpu.thread for vcpu in workload.vcpus if vcpu.thread))
        numbers = {thread.tid for thread in threads} | ({workload.pid} if workload.pid is not None else set())
        for number in numbers:
            table.setdefault(number, []).append(position)
    return table


def _given(workload: Workload) -> Iterator[str]:
    """Its name; in its pod; without its unit's suffix; and the path of a control group that is its own."""
    yield workload.name
    yield from _in_pod(workload)
    unit = _UNIT.fullmatch(workload.name) if workload.runtime == SYSTEMD.name else None
    if unit:
        yield unit[1]
        # As systemd-escape writes what no unit may be called.
        yield _ESCAPED.sub(lambda escaped: chr(int(escaped[1], 16)), unit[1])
    if workload.cgroup is not None and workload.paradigm != "sandbox":
        yield workload.cgroup


def _in_pod(workload: Workload) -> Iterator[str]:
    pod = workload.pod
    if pod is not None and pod.name:
        yield f"{pod.name}/{workload.name}"
        if pod.namespace:
            yield f"{pod.namespace}/{pod.name}/{workload.name}"


def _pods(workload: Workload) -> Iterator[str]:
    pod = workload.pod
    if pod is not None:
        yield pod.uid
        if pod.name:
            yield pod.name
            if pod.namespace:
                yield f"{pod.namespace}/{pod.name}"


def _published(workload: Workload) -> Iterator[str]:
    return (statement.instance for statement in statements(workload.memories, workload.published))


def _suggestions(workload: Workload) -> Iterator[str]:
    """Words that may mean it alone, those that a person would use first."""
    kinds = (kind_of(workload), workload.runtime)
    shown = safe(workload.name)
    names = (shown, *_in_pod(workload), *(f"{kind}:{shown}" for kind in kinds)) if shown else ()
    yield from (name for name in names if len(name) <= LONGEST)
    if _HEX_ID.fullmatch(workload.id):
        yield workload.id[:SHORT_ID]
    if workload.pid is not None:
        yield f"{workload.pid}"
        yield f"{kinds[0]}:{workload.pid}"
    yield workload.id
    yield from names
    yield from (f"{kind}:{workload.id}" for kind in kinds)
    if workload.cgroup is not None:
        yield workload.cgroup
