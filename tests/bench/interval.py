"""`python -m tests.bench.interval`: how long the two passes of a verb have to be apart: what a window of each length is off by.

Six real loads run in control groups for 40 s, and the agent looks at them four times a second. What a window says of a workload (CPU time,
run delay, the estimate of its delay) stands beside what the 40 s say: the median and the ninth of ten, over workloads and windows, of how
far it is off, in CPUs and in seconds a second.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

from agent.config import Config
from agent.overhead.compose import components
from agent.overhead.window import Window
from agent.session import Session, advance
from collectors.root import SysRoot
from tests.lab import surroundings
from tests.lab.loads.behaviours_table import BEHAVIOURS
from tests.lab.loads.generator import Load, compiled, generator
from tests.validation.matrix_run import Pass

LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
SECONDS, STEP = 40.0, 0.25
LOADS = {
    "steady": 1.0,
    "bursts of 5 ms": 0.3,
    "bursts of 50 ms": 0.3,
    "bursts of 500 ms": 0.3,
    "wakes 50 a second": 0.2,
    "wakes 500 a second": 0.2,
}

Figures = dict[str, tuple[float, float, float | None]]
"""By workload: CPUs that it ran, waited for, and is estimated to have waited for."""


def passes() -> list[Pass]:
    top = f"stratascope-load-{os.getpid()}"
    with (
        surroundings.warden(),
        tempfile.TemporaryDirectory() as place,
        generator(top, Path(place), compiled(Path(place)), None) as loads,
    ):
        for number, (name, cpus) in enumerate(LOADS.items()):
            behaviour = next(behaviour for behaviour in BEHAVIOURS if behaviour.name == name)
            loads.start(Load(name=name.replace(" ", "-"), behaviour=behaviour, paradigm="container", cpus=cpus, seed=number))
        session = Session(root=SysRoot(), config=Config(workload_groups=(re.compile(f"{top}/(?P<name>[^/]+)"),)))
        made = []
        time.sleep(1.0)
        began = time.monotonic()
        for number in range(round(SECONDS / STEP) + 1):
            time.sleep(max(0.0, began + number * STEP - time.monotonic()))
            host = advance(session, "metrics").after
            made.append(Pass(host=host, read_at=session.read_at, taken_at=session.taken_at, ids={}))
    return made


def figures(after: Pass, before: Pass) -> Figures:
    window = Window.between(after.host, after.read_at, before.host, before.read_at)
    of_window: Figures = {}
    for workload in after.host.workloads:
        activity = window.activity(workload)
        if activity is None or activity.run_seconds is None or activity.delay_seconds is None or not activity.run_seconds:
            continue
        estimates = {prediction.component: prediction.value for prediction in components(workload, window, activity)}
        run, waited = activity.run_seconds / activity.seconds, activity.delay_seconds / activity.seconds
        of_window[workload.name] = run, waited, estimates.get("run_queue_delay")
    return of_window


def main() -> None:
    made = passes()
    truth = figures(made[-1], made[0])
    print(f"{len(truth)} loads for {SECONDS:g} s; off by, median and ninth of ten:")
    print(f"{'window':>8} {'CPUs run':>16} {'waited':>16} {'waiting, estimated':>20}")
    for length in LENGTHS:
        steps = round(length / STEP)
        off: dict[int, list[float]] = defaultdict(list)
        for first in range(0, len(made) - steps, steps):
            for name, said in figures(made[first + steps], made[first]).items():
                if name in truth:
                    run, waited, _ = truth[name]
                    for place, (figure, true) in enumerate(zip(said, (run, waited, waited), strict=True)):
                        off[place] += [] if figure is None else [abs(figure - true)]
        words = [f"{median(of_it):.3f} {sorted(of_it)[len(of_it) * 9 // 10]:.3f}" for of_it in (off[place] for place in range(3))]
        print(f"{length:7g}s {words[0]:>16} {words[1]:>16} {words[2]:>20}")


if __name__ == "__main__":
    main()
