"""A budget that is spent by asking for it, so that a test knows when."""

from __future__ import annotations

from collectors.root import Budget


class CountedBudget(Budget):
    """Each question takes one of so many seconds."""

    def __init__(self, questions: int) -> None:
        super().__init__()
        self.questions = questions

    @property
    def left(self) -> float:
        self.questions -= 1
        return float(self.questions)
