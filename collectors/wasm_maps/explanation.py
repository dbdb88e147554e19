"""A run of mappings without holes, explained by the layouts of runtimes: which memories it holds, read from its bottom to its top.

A runtime reserves more address space than a memory may ever use and opens a prefix of it. The kernel merges the closed parts of
neighbours into one `---p` line, so a line's own edges say little; the distances between the open parts say it all. An explanation
counts when nothing is left over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from collectors.root import Budget
from collectors.wasm_maps.layouts import Elastic, Layout
from collectors.wasm_maps.memories import Confidence, MappedMemory, empty_memory, mapped_memory
from collectors.wasm_maps.runs import ARENA_BYTES, GUARD_BYTES, STACK_GUARD_BYTES, WASM_PAGE_BYTES, Part

# Of one run, and of all: each is a few microseconds, and what takes more was made to take more.
MAX_STEPS = 1 << 13
MAX_ALL_STEPS = 1 << 15
# The budget is asked after so many.
STEPS_AT_ONCE = 1 << 6


class Rules(NamedTuple):
    """The layouts that may be in a process: reservations of fixed size, and elastic ones, which grow with their memory."""

    layouts: tuple[Layout, ...]
    elastic: tuple[Elastic, ...]

    @property
    def below(self) -> set[int]:
        """What may be closed below a memory."""
        return {0, STACK_GUARD_BYTES, *(layout.pre for layout in self.layouts), *(elastic.guard for elastic in self.elastic)}


class Step(NamedTuple):
    """Explained up to `at`, which lies in the part `number`; the memories found last, and how it came to be here."""

    at: int
    number: int
    memories: Sequence[MappedMemory] = ()
    before: Step | None = None


class RunReader:
    """Explains runs of mappings by rules. `steps` counts what it has tried, over all runs. Raises OverBudget."""

    def __init__(self, rules: Rules, budget: Budget, steps: int = 0) -> None:
        self.rules = rules
        self.budget = budget
        self.steps = steps
        self.below = sorted(rules.below)
        self.strong = _sized(layout for layout in rules.layouts if not layout.weak)
        self.weak = _sized(layout for layout in rules.layouts if layout.weak)
        # What may start with an open part.
        self.strong_bare = [sized for sized in self.strong if not sized[0].pre]
        self.weak_bare = [sized for sized in self.weak if not sized[0].pre]

    def exactly(self, run: list[Part], step: Step | None = None) -> list[MappedMemory] | None:
        """The memories of a run, read from its bottom, or on from a step, to its top; None when there is no such reading."""
        top = run[-1].end
        tried: set[int] = set()
        # What may come next is worked out only when what came before it leads nowhere.
        stack = [iter((step or Step(run[0].start, 0),))]
        while stack:
            step = next(stack[-1], None)
            if step is None:
                stack.pop()
                continue
            if step.at == top:
                memories = _memories(step)
                # One process has one version of a runtime.
                if len({memory.layout for memory in memories if not memory.size_bytes}) < 2:
                    return memories
                return None
            if step.at in tried:
                continue
            tried.add(step.at)
            self.steps += 1
            if self.steps % STEPS_AT_ONCE == 0:
                self.budget.check()
            if len(tried) > MAX_STEPS or self.steps > MAX_ALL_STEPS:
                return None
            stack.append(self._next(run, step))
        return None

    def loosely(self, run: list[Part], shapes: bool) -> list[MappedMemory]:
        """Open parts with room enough on both sides, whose closed space is merged with something unknown.

        With `shapes`, any open part of whole Wasm pages between closed ones: the reservation may be the embedder's choice.
        """
        loose: list[MappedMemory] = []
        edge = run[0].start
        for index, part in enumerate(run):
            if not part.open or part.start < edge:
                continue
            for layout, total in self.strong:
                start = part.start - layout.pre
                if layout.slots > 1 or start < edge or (not layout.pre and start != edge):
                    continue
                memories = _members(run, index, start, layout, "low")
                if not memories:
                    continue
                loose += memories
                edge = start + total
                at = next((number for number in range(index, len(run)) if run[number].end > edge), len(run) - 1)
                rest = self.exactly(run, Step(edge, at))
                if rest is not None:
                    return loose + rest
                break
            else:
                if shapes and _shaped(run, index):
                    above = run[index + 1].end
                    below = run[index - 1].start if index < 2 else part.start
                    loose.append(
                        MappedMemory(
                            base=part.start,
                            size_bytes=part.end - part.start,
                            reserved_bytes=above - below,
                            layout="wasmtime-custom",
                            confidence="low",
                            guard_bytes=None,
                        )
                    )
                edge = part.end
        return loose

    def _next(self, run: list[Part], step: Step) -> Iterator[Step]:
        """What may come at this place, the likelier first."""
        at, index = step.at, step.number
        part = run[index]
        if part.open and at % ARENA_BYTES == 0 and part.end - at <= ARENA_BYTES:
            yield from self._closed_until(run, step, index + 1, at + ARENA_BYTES)
        above = min(index + 1, len(run) - 1)
        if part.open:
            if self.strong_bare:
                yield from self._reserved(run, step, index, self.strong_bare)
                yield from self._below_the_top(run, step)
            yield Step(part.end, above, (), step)
            yield from self._reserved(run, step, index, self.weak_bare)
            return
        if part.end - at < GUARD_BYTES and (above == index or run[above].open):
            # No guard and no reservation is as small: a stack's.
            yield Step(part.end, above, (), step)
            return
        upper = index
        while upper < len(run) and not run[upper].open:
            upper += 1
        yield from self._reserved(run, step, upper, self.strong)
        if upper < len(run):
            for elastic in self.rules.elastic:
                if run[upper].start - at == elastic.guard:
                    yield from self._elastic(run, step, upper, elastic)
        # A mapping of its own: what is opened out of it would lie beside it.
        alone = at == part.start and not (index and run[index - 1].open) and (index + 1 == len(run) or not run[above].open)
        if alone or part.end - at < GUARD_BYTES:
            yield Step(part.end, above, (), step)
        yield from self._reserved(run, step, upper, self.weak)

    def _reserved(self, run: list[Part], step: Step, upper: int, layouts: Iterable[tuple[Layout, int]]) -> Iterator[Step]:
        """A fixed reservation that starts here; `upper` is the next open part."""
        at, top = step.at, run[-1].end
        open_at = run[upper].start if upper < len(run) else top
        for layout, total in layouts:
            end = at + total
            if end > top or (layout.slots == 1 and open_at != at + layout.pre and open_at < end):
                continue
            memories = _members(run, upper, at, layout, "low" if layout.weak else "high")
            if memories is None or (not memories and (layout.weak or layout.learnt)):
                continue
            if not memories and layout.slots == 1:
                memories = [empty_memory(layout, at)]
            index = step.number
            while index < len(run) - 1 and run[index].end <= end:
                index += 1
            yield Step(end, index, memories, step)

    def _below_the_top(self, run: list[Part], step: Step) -> Iterator[Step]:
        """Without a guard below it a memory may be merged with somebody else's open part: it is measured from its top."""
        index = step.number
        if index + 1 == len(run) or run[index + 1].open:
            return
        part, end = run[index], run[index + 1].end
        for layout, total in self.strong_bare:
            base = end - total
            size = part.end - base
            if layout.slots == 1 and part.start < base < part.end and not size % WASM_PAGE_BYTES:
                yield Step(end, min(index + 2, len(run) - 1), [mapped_memory(layout, base, size, "high")], step)

    def _closed_until(self, run: list[Part], step: Step, index: int, end: int) -> Iterator[Step]:
        while index < len(run) and not run[index].open and run[index].end < end:
            index += 1
        if index < len(run) and not run[index].open:
            yield Step(end, index if run[index].end > end else min(index + 1, len(run) - 1), (), step)

    def _elastic(self, run: list[Part], step: Step, index: int, elastic: Elastic) -> Iterator[Step]:
        """How much a memory had when its space was reserved is not known, only that it was no more than it has now."""
        base, size = run[index].start, run[index].end - run[index].start
        least = base + elastic.growth + elastic.guard
        number = index + 1
        while number < len(run) and not run[number].open:
            edges = [run[number].end]
            if number + 1 < len(run) and run[number + 1].open:
                edges = [run[number].end - below for below in self.below]
            for end in edges:
                if run[number].start < end and least <= end <= least + size and (end - least) % WASM_PAGE_BYTES == 0:
                    following = number if end < run[number].end else min(number + 1, len(run) - 1)
                    reserved = end - base + elastic.guard
                    memory = MappedMemory(
                        base=base,
                        size_bytes=size,
                        reserved_bytes=reserved,
                        layout=elastic.name,
                        confidence="high",
                        guard_bytes=2 * elastic.guard,
                        image_bytes=run[index].image_bytes,
                    )
                    yield Step(end, following, [memory], step)
            number += 1


def _sized(layouts: Iterable[Layout]) -> list[tuple[Layout, int]]:
    """Each with its total, which is asked for at each step."""
    return [(layout, layout.total) for layout in layouts]


def _memories(step: Step | None) -> list[MappedMemory]:
    pieces = []
    while step is not None:
        pieces.append(step.memories)
        step = step.before
    return [memory for memories in reversed(pieces) for memory in memories]


def _members(run: list[Part], index: int, first: int, layout: Layout, confidence: Confidence) -> list[MappedMemory] | None:
    """The open parts of one reservation that starts at `first`; None when one of them is out of place."""
    end = first + layout.total
    if end > run[-1].end:
        return None
    base_of_all = first + layout.pre
    members = []
    for index in range(index, len(run)):  # noqa: B020
        base, stop, is_open, image_bytes = run[index]
        if base >= end:
            break
        if is_open:
            size = stop - base
            if base < base_of_all or (base - base_of_all) % layout.slot or size > layout.reserve:
                return None
            if (layout.weak or layout.learnt or confidence == "low") and size % WASM_PAGE_BYTES:
                return None
            if not layout.pre and not layout.guard:
                if not (index + 1 < len(run) and run[index + 1].end - stop >= GUARD_BYTES):
                    return None  # a stack, with the guard of the next one above it
                if index and not run[index - 1].open and base - run[index - 1].start == STACK_GUARD_BYTES:
                    return None  # a stack, with its own below it: nothing else ends with so little that is closed
            members.append(mapped_memory(layout, base, size, confidence, image_bytes))
    return members


def _shaped(run: list[Part], index: int) -> bool:
    """Whether whole Wasm pages are open between two closed parts that guard no stack, and where no arena starts."""
    if not 0 < index < len(run) - 1:
        return False
    below, part, above = run[index - 1 : index + 2]
    closed = not below.open and not above.open and min(below.end - below.start, above.end - above.start) >= GUARD_BYTES
    arena = not part.start % ARENA_BYTES and above.end == part.start + ARENA_BYTES
    return closed and not arena and (part.end - part.start) % WASM_PAGE_BYTES == 0
