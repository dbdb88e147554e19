"""Questions to other programs, which may hang: each in a thread that can be left behind. The last answer stands in for a late one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from agent.collect.ask import Pass, Reading, ask
from agent.model.values import Gap
from collectors.root import SysRoot

T = TypeVar("T")

KEPT_SECONDS = 900.0
"""How long the last answer stands in for one that does not come."""

_GIVEN_UP_SECONDS = 60.0
_MAX_ABANDONED = 4

_REMEDY = "look at the log of the program that is asked"


class DatedAnswer(NamedTuple, Generic[T]):
    """What a program said, now or some seconds ago."""

    value: T
    seconds_ago: float


class Answers(NamedTuple, Generic[T]):
    """The answers of the programs that were asked, a gap for each that has not answered now, and how long the slowest took."""

    answers: tuple[DatedAnswer[T], ...] = ()
    gaps: tuple[Gap, ...] = ()
    seconds: float = 0.0


class Ended(NamedTuple, Generic[T]):
    """A question that has ended, with an answer or without: when it was asked, and when it ended (time.monotonic)."""

    asked_at: float
    ended_at: float
    reading: Reading[T]

    @property
    def seconds(self) -> float:
        return self.ended_at - self.asked_at


@dataclass(slots=True, kw_only=True)
class Query(Generic[T]):
    """What is asked of one program, again and again.

    `thread` asks since `asked_at`, and a pass waits for it if it `waits`. `ended` is the last question that ended, `answered` the last one
    that was answered.
    """

    thread: threading.Thread | None = None
    asked_at: float = 0.0
    waits: bool = True
    ended: Ended[T] | None = None
    answered: Ended[T] | None = None


class BackgroundQueries(Generic[T]):
    """The questions to programs of one kind, by address, from pass to pass.

    A pass waits for a late answer once. While it is out, and where the last one took longer than a pass may wait, passes go on without: the
    last answer stands in, for 15 minutes, and says how old it is.

    A question that has no answer yet is not asked again: a hung daemon costs one thread, and not one a scrape. A peer that went away
    without a word may never answer, though its successor would: after 60 s the question is asked anew, and at most four threads are
    left behind like this.
    """

    def __init__(self) -> None:
        self._queries: dict[str, Query[T]] = {}
        self._abandoned: list[threading.Thread] = []

    def begin(
        self,
        current: Pass,
        source: str,
        addresses: Callable[[SysRoot], Iterable[str]],
        read: Callable[[SysRoot, str], T],
        deadline: float,
    ) -> Callable[[], Answers[T]]:
        """Ask each address. What is returned waits for the answers, at most until the deadline (time.monotonic)."""
        if not current.root.live or not current.wants(source):
            return Answers
        began = time.monotonic()
        listed = ask(current.root, source, lambda root: tuple(addresses(root)))
        asked = {address: self._asked(current.root, source, address, read, deadline - began) for address in listed.value or ()}

        def wait() -> Answers[T]:
            outcomes = [_outcome(query, source, address, began, deadline) for address, query in asked.items()]
            for address, query in self._unasked(asked):
                outcomes.append(_stand_in(query, Gap(source, "absent", f"{_named(address)}: gone", _REMEDY)))
            answers = tuple(answer for answer, _ in outcomes if answer is not None)
            gaps = (*listed.gaps, *(gap for _, gaps in outcomes for gap in gaps))
            ended = [query.ended.seconds for query in asked.values() if query.ended and query.ended.asked_at >= began]
            return Answers(answers, gaps, max(ended) if len(ended) == len(asked) > 0 else time.monotonic() - began)

        return wait

    def _asked(self, root: SysRoot, source: str, address: str, read: Callable[[SysRoot, str], T], patience_seconds: float) -> Query[T]:
        """Ask in a thread of its own, unless the last question to this address is still out."""
        query, now = self._queries.setdefault(address, Query()), time.monotonic()
        is_out = query.thread is not None and query.thread.is_alive()
        query.waits = not is_out and (query.ended is None or query.ended.seconds <= patience_seconds)
        if is_out and query.thread is not None:
            self._abandoned = [thread for thread in self._abandoned if thread.is_alive()]
            if now - query.asked_at < _GIVEN_UP_SECONDS or len(self._abandoned) >= _MAX_ABANDONED:
                return query
            self._abandoned.append(query.thread)

        def run() -> None:
            reading = ask(root, source, lambda view: read(view, address))
            ended = Ended(now, time.monotonic(), reading)
            # One that was left behind may end after its successor.
            if reading.value is not None and (query.answered is None or query.answered.asked_at < now):
                query.answered = ended
            if query.ended is None or query.ended.asked_at < now:
                query.ended = ended

        # A daemon thread does not keep the process from ending.
        query.thread, query.asked_at = threading.Thread(target=run, name=f"{source} {_named(address)}", daemon=True), now
        query.thread.start()
        return query

    def _unasked(self, asked: Collection[str]) -> list[tuple[str, Query[T]]]:
        """Those that were asked before, and whose last answer still counts."""
        self._queries = {
            address: query
            for address, query in self._queries.items()
            if address in asked or _last(query) is not None or (query.thread is not None and query.thread.is_alive())
        }
        return [(address, query) for address, query in self._queries.items() if address not in asked and _last(query) is not None]


def _outcome(query: Query[T], source: str, address: str, began: float, deadline: float) -> tuple[DatedAnswer[T] | None, tuple[Gap, ...]]:
    """The answer to what a pass asked that `began` then, else the last one; and why it has none of now."""
    if query.waits and query.thread is not None:
        query.thread.join(max(0.0, deadline - time.monotonic()))
    ended = query.ended
    if ended is None or ended.asked_at < began:
        took = f"its last answer took {ended.seconds:.1f} s" if ended and query.asked_at >= began and not query.waits else None
        detail = took or f"no answer in {time.monotonic() - query.asked_at:.1f} s"
        return _stand_in(query, Gap(source, "late", f"{_named(address)}: {detail}", _REMEDY))
    if ended.reading.value is not None:
        return DatedAnswer(ended.reading.value, 0.0), ended.reading.gaps
    return _stand_in(query, *ended.reading.gaps)


def _stand_in(query: Query[T], *gaps: Gap) -> tuple[DatedAnswer[T] | None, tuple[Gap, ...]]:
    """The last answer, if it still counts, and the gaps with its age."""
    answer = _last(query)
    if answer is None:
        return None, gaps
    age = f"{answer.seconds_ago:.1f}" if answer.seconds_ago < 10 else f"{answer.seconds_ago:.0f}"
    return answer, tuple(replace(gap, detail=f"{gap.detail}; shown is what it said {age} s ago") for gap in gaps)


def _last(query: Query[T]) -> DatedAnswer[T] | None:
    answered, now = query.answered, time.monotonic()
    if answered is None or answered.reading.value is None or now - answered.ended_at >= KEPT_SECONDS:
        return None
    return DatedAnswer(answered.reading.value, round(now - answered.ended_at, 3))


def _named(address: str) -> str:
    """An address without its parameters."""
    return address.partition("?")[0]
