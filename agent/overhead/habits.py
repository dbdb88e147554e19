"""How threads sleep, by habit: with it, what a thread did not run in a window is divided into waiting and sleep.

1 = run + wait + sleep. A thread sleeps when its work is done, or until its timer rings: after each voluntary switch for as long, on
average, as in the windows before, whoever its neighbours are. The waiting that follows is accounting, and not a model of who competes; of
the window itself it takes running and switches, and never the run delay that it is compared with.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from agent.model.snapshot import Param
from agent.overhead.activity import Activity, ThreadTimes

_KEPT = 0.9
"""What a window leaves of a habit: the best of 0.5 to 0.95 for loads of twelve behaviours."""
_NEVER_SLEEPS = 0.03

Key = tuple[int, int]
Habit = tuple[float, float]
"""Share of the time asleep, and voluntary switches a second, smoothed over the windows before."""
Habits = dict[Key, Habit]
"""By number and start of the thread."""
NO_HABITS: Mapping[Key, Habit] = {}


def waiting(threads: Sequence[ThreadTimes] | None, habits: Mapping[Key, Habit], longer: Param) -> tuple[float, float, float] | None:
    """How many threads waited, on average: point and interval. None where one has no habit yet, or a counter of one is missing.

    `longer`: how many times as long a window's sleep after a switch may be as the habit's.
    """
    if not threads or not habits:
        return None
    point = low = high = 0.0
    for thread in threads:
        if not thread.run and not thread.switches:
            continue
        habit = habits.get(thread.key)
        if habit is None:
            return None
        idle, slept = 1.0 - thread.run, _slept(thread, habit)
        point += max(0.0, idle - slept)
        low += max(0.0, idle - longer.hi * slept)
        high += max(0.0, idle - longer.lo * slept)
    return point, low, high


def _slept(thread: ThreadTimes, habit: Habit) -> float:
    sleep, switches = habit
    if sleep <= _NEVER_SLEEPS:
        # Readings that are some moments apart look like so much.
        return 0.0
    return thread.switches * sleep / switches if switches > 0 else sleep


def learned(habits: Mapping[Key, Habit], activities: Iterable[Activity | None]) -> Habits:
    """The habits after one more window: of who did nothing in it as before, of who is gone none."""
    kept: Habits = {}
    for activity in activities:
        is_wrong = activity is not None and activity.impossible_delays > 0
        for thread in () if activity is None else activity.threads or ():
            habit = habits.get(thread.key)
            if (thread.run or thread.switches) and not is_wrong:
                asleep, switches = max(0.0, 1.0 - thread.run - thread.wait), thread.switches
                if habit is not None:
                    asleep, switches = (_KEPT * was + (1 - _KEPT) * now for was, now in zip(habit, (asleep, switches), strict=True))
                habit = asleep, switches
            if habit is not None:
                kept[thread.key] = habit
    return kept
