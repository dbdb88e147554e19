"""How long a task may run before another one's turn: /proc/1/sched. Source: kernel/sched/debug.c, proc_sched_show_task().

Since Linux 857b158dc5e8 ("sched/eevdf: Use sched_attr::sched_runtime to set request/slice suggestion", 6.12) it has the task's
slice, which the first task has from the scheduler unless somebody gave it another one. Earlier kernels have no slice: CFS had none.
"""

from __future__ import annotations

from agent.model.values import Fact
from collectors.root import SysRoot
from collectors.text import newline_separated, unsigned


class TaskSlice(Fact, frozen=True):
    """`slice_ns` of process 1; None on kernels that print none."""

    slice_ns: int | None = None


def read(root: SysRoot) -> TaskSlice:
    return root.require_parsed("proc/1/sched", parse)


def parse(text: str) -> TaskSlice:
    """ "se.slice          :              1400000"."""
    for line in newline_separated(text):
        name, colon, value = line.partition(":")
        if colon and name.strip() == "se.slice":
            return TaskSlice(unsigned(value))
    return TaskSlice()
