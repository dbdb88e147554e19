"""`make truths`: what-if beside what comes true: predict a change of a real load, make it, and look again.

A trial starts two to four loads in control groups of its own, looks at them for a window, asks the agent what one change would do, makes
it, and looks for another window. It wants a machine to itself: 48 trials are 9 minutes. Interrupted, it ends what it started and prints
what it has.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import pickle
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from dataclasses import replace as replaced
from pathlib import Path
from typing import Literal, get_args

from agent.config import Config
from agent.model.change import Change
from agent.model.values import UNLIMITED, CpuSet, Limit
from agent.session import Session, advance
from collectors.root import SysRoot
from tests.lab import surroundings
from tests.lab.loads.behaviours_table import BEHAVIOURS, Behaviour
from tests.lab.loads.generator import Generator, Load, Running, compiled, generator, lacks
from tests.lab.process import terminable
from tests.real.experiments.groups import heaviest, heavy
from tests.validation.matrix_run import Pass
from tests.validation.what_if_score import Row, judged, line, summary

TRIALS, SECONDS, SETTLE_SECONDS = 48, 4.0, 1.0

Kind = Literal["set a quota", "raise a quota", "lift a quota", "weight", "pin", "unpin", "neighbour leaves"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_WORKS = ("steady", "bursts of 5 ms", "bursts of 50 ms", "bursts of 500 ms", "wakes 50 a second", "wakes 500 a second", "many threads")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """`loads`: the first is changed. `quota_cpus`, `weight`, `pin`: what the change makes of it; none of them: the last load leaves."""

    number: int
    kind: Kind
    loads: tuple[Load, ...]
    quota_cpus: float | None = None
    weight: int | None = None
    pin: str | None = None

    def change(self, ids: dict[str, str]) -> Change:
        match self.kind:
            case "set a quota" | "raise a quota":
                return Change(cpus=Limit(self.quota_cpus or 0.0))
            case "lift a quota":
                return Change(cpus=UNLIMITED)
            case "weight":
                return Change(weight=self.weight)
            case "pin" | "unpin":
                return Change(pin=CpuSet.parse_list(self.pin or ""))
            case "neighbour leaves":
                return Change(without=(ids[self.loads[-1].name],))


def plan(seed: int, trials: int, cpus: Sequence[int]) -> list[Trial]:
    """Each kind of change as often as the others; fewer trials are the first ones of more."""
    return [_trial(random.Random(f"{seed} {number}"), number, KINDS[number % len(KINDS)], cpus) for number in range(trials)]


def _trial(dice: random.Random, number: int, kind: Kind, cpus: Sequence[int]) -> Trial:
    behaviours = [_behaviour(dice) for _ in range(dice.choice((2, 3, 3, 4)))]
    loads = [
        Load(
            name=f"trial{number}-{letter}",
            behaviour=behaviour,
            paradigm="container",
            cpus=round(dice.uniform(0.25, 0.8) * min(2, behaviour.count), 2),
            weight=dice.choice((None, None, 50, 200)),
            seed=dice.randrange(1 << 30),
        )
        for letter, behaviour in zip("abcd", behaviours, strict=False)
    ]
    everywhere, alone = str(CpuSet(cpus)), str(dice.choice(cpus))
    own = loads[0]
    asks = float(min(len(cpus), own.behaviour.count)) if own.behaviour.never_sleeps else own.cpus
    quota = round(asks * dice.uniform(0.3, 0.8), 2)
    match kind:
        case "set a quota":
            return Trial(number=number, kind=kind, loads=tuple(loads), quota_cpus=quota)
        case "raise a quota" | "lift a quota":
            first = replaced(own, quota_cpus=quota)
            return Trial(number=number, kind=kind, loads=(first, *loads[1:]), quota_cpus=round(quota * dice.uniform(1.2, 2.0), 2))
        case "weight":
            weights = [weight for weight in (20, 50, 200, 400, 1000) if weight != own.weight]
            return Trial(number=number, kind=kind, loads=tuple(loads), weight=dice.choice(weights))
        case "pin":
            return Trial(number=number, kind=kind, loads=tuple(loads), pin=alone)
        case "unpin":
            return Trial(number=number, kind=kind, loads=(replaced(own, pin=alone), *loads[1:]), pin=everywhere)
        case "neighbour leaves":
            return Trial(number=number, kind=kind, loads=tuple(loads))


def _behaviour(dice: random.Random) -> Behaviour:
    name = dice.choice(_WORKS)
    behaviour = next(behaviour for behaviour in BEHAVIOURS if behaviour.name == name)
    return replaced(behaviour, count=dice.choice((1, 1, 2, 3))) if behaviour.count == 1 else behaviour


def passes(trial: Trial, top: str, place: Path, program: Path, seconds: float) -> list[Pass]:
    """Three before the change and three after it: at the ends and in the middle of each window. The loads end, however it ends."""
    made: list[Pass] = []
    with heavy(), generator(top, place, program, None) as loads:
        # Whoever else is on the machine takes little from it, and the agent has its turn beside it.
        heaviest(top)
        running = {load.name: loads.start(load) for load in trial.loads}
        session = Session(root=SysRoot(), config=Config(workload_groups=(re.compile(f"{re.escape(top)}/(?P<name>[^/]+)"),)))
        for number in range(2):
            time.sleep(SETTLE_SECONDS)
            began = time.monotonic()
            for half in range(3):
                time.sleep(max(0.0, began + half * seconds / 2 - time.monotonic()))
                made.append(_pass(session))
            if not number:
                _change(trial, loads, running)
    return made


def _pass(session: Session) -> Pass:
    after = advance(session, "metrics").after
    ids = {workload.name: workload.id for workload in after.workloads}
    return Pass(host=after, read_at=session.read_at, taken_at=session.taken_at, ids=ids)


def _change(trial: Trial, loads: Generator, running: dict[str, Running]) -> None:
    group = running[trial.loads[0].name].group
    match trial.kind:
        case "neighbour leaves":
            loads.stop(running[trial.loads[-1].name])
        case "set a quota" | "raise a quota":
            group.limit(trial.quota_cpus)
        case "lift a quota":
            group.limit(None)
        case "weight":
            group.weigh(trial.weight or 100)
        case "pin" | "unpin":
            group.pin(trial.pin or "")


def main(words: Sequence[str] | None = None) -> int:
    parsed = _arguments(words)
    if not parsed.judge and (reason := lacks()) is not None:
        print(f"what-if: {reason}", file=sys.stderr)
        return 1
    rows: list[Row] = []
    with contextlib.suppress(KeyboardInterrupt), terminable():
        for trial, of_trial in _kept(parsed.judge) if parsed.judge else _taken(parsed):
            row = judged(trial.number, trial.kind, [load.name for load in trial.loads], trial.change, of_trial)
            rows.append(row)
            print(line(row), flush=True)
    print(*summary(rows), sep="\n")
    return 0


def _taken(parsed: argparse.Namespace) -> Iterator[tuple[Trial, list[Pass]]]:
    with contextlib.ExitStack() as stack:
        # Should this process be killed outright, the warden ends what it started.
        warden = stack.enter_context(surroundings.warden())
        stack.callback(warden.communicate)
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stratascope-what-if-")))
        program = compiled(place)
        keep = None if parsed.keep is None else stack.enter_context(parsed.keep.open("wb"))
        print(f"seed {parsed.seed}: {parsed.trials} trials, windows of {parsed.seconds:g} s", flush=True)
        for trial in plan(parsed.seed, parsed.trials, sorted(os.sched_getaffinity(0))):
            of_trial = passes(trial, f"stratascope-load-{os.getpid()}", place, program, parsed.seconds)
            if keep is not None:
                pickle.dump((trial, of_trial), keep, protocol=5)
                keep.flush()
            yield trial, of_trial


def _kept(path: Path) -> Iterator[tuple[Trial, list[Pass]]]:
    """The trials of such a file, which is one's own."""
    with path.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)  # noqa: S301


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.validation.what_if_truth", description=__doc__)
    parser.add_argument("seed", nargs="?", type=int, default=int(time.time()), help="what the trials are drawn by; it is printed")
    parser.add_argument("trials", nargs="?", type=int, default=TRIALS, help=f"{TRIALS}; fewer are the first ones of them")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of a window; {SECONDS:g}")
    parser.add_argument("--keep", type=Path, help="a file for all that the agent read, for --judge")
    parser.add_argument("--judge", type=Path, help="such a file: it is predicted and scored anew, and nothing is run")
    return parser.parse_args(words)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts its background jobs with SIGINT ignored
    sys.exit(main())
