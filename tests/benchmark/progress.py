"""How far the work has come, on a terminal; elsewhere nothing is shown."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from tests.benchmark.push_service import Sink

ASK_EVERY_SECONDS = 0.5  # the sink has other things to do


@contextmanager
def arrivals(console: Console, what: str, total: int, push_service: Sink) -> Iterator[Callable[[], None]]:
    """Show how many messages have arrived since the block began. What is yielded is to be called now and then."""
    if not console.is_terminal:
        yield lambda: None
        return
    with _bar(console) as progress:
        task = progress.add_task(what, total=total)
        before, asked_at = push_service.accepted, time.monotonic()

        def look() -> None:
            nonlocal asked_at
            if time.monotonic() >= asked_at + ASK_EVERY_SECONDS:
                asked_at = time.monotonic()
                progress.update(task, completed=push_service.accepted - before)
                progress.refresh()

        yield look


@contextmanager
def steps(console: Console, count: int) -> Iterator[Callable[[str], None]]:
    """Show which of so many steps is being taken: what is yielded is called with its name as it begins.

    Nothing is drawn meanwhile: a step may be measuring what this process uses.
    """
    with _bar(console) as progress:
        task = progress.add_task("", total=count)
        begun = 0

        def say(name: str) -> None:
            nonlocal begun
            progress.update(task, description=name, completed=begun)
            progress.refresh()
            begun += 1

        yield say


def round_name(number: int, of: int) -> str:
    """Return what a round is called: number 0 warms everybody up."""
    return f"Round {number} of {of}" if number else "Warming up"


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, auto_refresh=False, disable=not console.is_terminal)
