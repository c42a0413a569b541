"""How the benchmarks show what they measured: tables in Markdown, with dates, versions and one ECDH as a unit.

The goals that a part can speak for are shown after it, or handed to whoever runs all parts.
"""

import argparse
import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from app.workers.cores import available_cores
from tests.benchmark import node_peers

WIDTH = 116


@dataclass(frozen=True, slots=True)
class Row:
    """What deliveries cost: medians over the rounds. None: not measured, or it says nothing here."""

    name: str
    rate: float | None
    cpu_us: float | None


@dataclass(frozen=True, slots=True)
class Goal:
    """One line of the conclusion. `is_met` is None when it could not be measured, or nothing is asked of it."""

    what: str
    goal: str
    measured: str
    is_met: bool | None


def new_console() -> Console:
    """Return a console wide enough for our tables; on a terminal it also shows how far the work has come."""
    console = Console()
    return console if console.width >= WIDTH else Console(width=WIDTH)


def cost_table(
    title: str,
    rows: Iterable[Row],
    *,
    of: str,
    ecdh_us: float,
    packages: Sequence[str],
    notes: Iterable[str] = (),
) -> Table:
    """Return a table of costs; `of` is what its rows are, `packages` are those whose versions matter."""
    cells = [
        (
            row.name,
            "" if row.rate is None else f"{row.rate:,.0f}",
            "" if row.cpu_us is None else f"{row.cpu_us:,.0f}",
            "" if row.cpu_us is None else f"{row.cpu_us / ecdh_us:.1f}",
        )
        for row in rows
    ]
    columns = (of, "deliveries/s", "CPU µs each", "in ECDHs")
    peers = filter(None, [node_peers.versions()])
    return table(title, columns, cells, notes=[*versions(packages), *peers, *notes, f"one ECDH: {ecdh_us:.0f} µs"])


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, notes: Iterable[str] = ()) -> Table:
    """Return a table that can be pasted into a document: its first column is text, the others are numbers."""
    today = datetime.now(UTC)
    caption = ", ".join([f"{today.day} {today:%B %Y}", f"{available_cores()} cores", *notes])
    shown = Table(
        title=f"\n{title}", caption=caption, box=box.MARKDOWN, title_justify="left", caption_justify="left"
    )
    for number, column in enumerate(columns):
        shown.add_column(column, justify="right" if number else "left")
    for row in rows:
        shown.add_row(*row)
    return shown


def versions(packages: Iterable[str]) -> list[str]:
    """Return the versions of Python and of these packages."""
    return [f"Python {platform.python_version()}", *(f"{package} {version(package)}" for package in packages)]


def parser(description: str, **defaults: int) -> argparse.ArgumentParser:
    """Return a parser with an option for each of these numbers, and one for who collects the goals."""
    options = argparse.ArgumentParser(description=description)
    for name, default in defaults.items():
        option = f"--{name.replace('_', '-')}"
        options.add_argument(option, type=int, default=default, help=f"default: {default:,}")
    options.add_argument("--goals-to", type=Path, default=None, help=argparse.SUPPRESS)
    return options


def conclude(console: Console, goals: Sequence[Goal], *, goals_to: Path | None) -> None:
    """Show the goals; with a file given, add them to it instead, a line of JSON each."""
    if goals_to is None:
        console.print(goal_table(goals))
        return
    with goals_to.open("a", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(asdict(goal))}\n" for goal in goals)


def goals_in(file: Path) -> list[Goal]:
    """Return what `conclude` has written there."""
    return [Goal(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def goal_table(goals: Iterable[Goal]) -> Table:
    said = {True: "yes", False: "no", None: "–"}
    rows = ((goal.what, goal.goal, goal.measured, said[goal.is_met]) for goal in goals)
    return table("The goals", ("what", "goal", "measured", "met"), rows)
