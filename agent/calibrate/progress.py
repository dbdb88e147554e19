"""A progress bar for a run, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Yields a function that takes the name of the step that begins and the share of the time that is over."""
    if not sys.stderr.isatty():
        yield lambda step, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    # No refreshing thread: a run forks, and it measures on a CPU that nothing else should use.
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    with Progress(*columns, console=Console(stderr=True), transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=1.0)

        def say(step: str, share: float) -> None:
            bar.update(task, description=step.ljust(14), completed=share, refresh=True)

        yield say
