"""Watching a notification from the command line, until everybody is sent to, or settled otherwise."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery import drain
from app.delivery.bell import is_anybody_listening
from app.models import DEFAULT_TENANT_ID, DeliveryStatus, NotificationState
from app.notifications import service
from app.notifications.progress import Progress, reasons_of

LOOK_EVERY_SECONDS = 0.5
A_LINE_EVERY_SECONDS = 5.0  # where there is no terminal
BAR_WIDTH = 40
DATABASE_IS_AWAY = "The database is away: waiting for it."


class Show(Protocol):
    """Shows how far it has come, None while the database is away, and what stands in the way."""

    def __call__(self, progress: Progress | None, obstacle: str | None) -> None: ...


def watch(sessions: SessionFactory, notification_id: UUID, console: Console) -> Progress:
    """Show the progress of a notification until it is over, and return the last one. It may be away for a while.

    Raises NotificationNotFound, also when it is deleted meanwhile.
    """
    with _showing(console) as show:
        while True:
            try:
                with transaction(sessions) as session:
                    progress = service.progress(session, DEFAULT_TENANT_ID, notification_id)
                obstacle = obstacle_of(sessions, progress)
            except PASSING_ERRORS:
                show(None, DATABASE_IS_AWAY)
            else:
                show(progress, obstacle)
                if progress.is_over:
                    return progress
            time.sleep(LOOK_EVERY_SECONDS)


def obstacle_of(sessions: SessionFactory, progress: Progress) -> str | None:
    """Return why a notification does not move, if an operator can do something about it."""
    if progress.is_over or progress.notification.state == NotificationState.SCHEDULED:
        return None
    with transaction(sessions) as session:
        if drain.find(session) is not None:
            return "Everything is drained: it waits until `python -m app.cli drain --end`."
        if not progress.rate_per_second and not is_anybody_listening(session):
            return "No worker seems to run: it waits for one (make run, or `python -m app.cli worker`)."
    return None


def print_outcome(sessions: SessionFactory, progress: Progress, console: Console) -> None:
    """Print what came of a notification that is over: a row for each status, with the reasons."""
    reasons = reasons_by_status(sessions, progress)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(overflow="fold")
    for status in DeliveryStatus:
        count = progress.counts.get(status, 0)
        if count or status is DeliveryStatus.SENT:
            why = ", ".join(f"{reason} {of_it:,}" for reason, of_it in reasons.get(status, {}).items())
            table.add_row(status.value, f"{count:,}", why)
    notification = progress.notification
    assert notification.finished_at is not None
    what = "Cancelled, and all are settled" if notification.state == NotificationState.CANCELLED else "Finished"
    console.print(f"{what}: {_length(notification.finished_at - notification.accepted_at)} after it was accepted.")
    console.print(table)


def reasons_by_status(sessions: SessionFactory, progress: Progress) -> dict[DeliveryStatus, dict[str, int]]:
    """Return the reasons of what failed or expired. Reads no row when nothing did."""
    if not any(progress.counts.get(status) for status in (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)):
        return {}
    with transaction(sessions) as session:
        return reasons_of(session, progress.notification)


@contextmanager
def _showing(console: Console) -> Iterator[Show]:
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, transient=True) as live:
        newest: Progress | None = None

        def show(progress: Progress | None, obstacle: str | None) -> None:
            nonlocal newest
            newest = progress or newest
            live.update(_picture(newest, obstacle))

        yield show


def _picture(progress: Progress | None, obstacle: str | None) -> Table:
    """Return what a terminal shows: a bar, what it means, and what stands in the way; wrapped if it is narrow."""
    lines = Table.grid()
    if progress is not None:
        lines.add_row(ProgressBar(progress.notification.targeted, _settled(progress), width=BAR_WIDTH))
        lines.add_row(Text(described(progress), no_wrap=False))
    if obstacle is not None:
        lines.add_row(Text(obstacle, style="yellow", no_wrap=False))
    return lines


class _Lines:
    """A line now and then, and none that says what the one before said."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: str | None = None
        self._say_again_at = 0.0

    def __call__(self, progress: Progress | None, obstacle: str | None) -> None:
        text = ". ".join(filter(None, (described(progress) if progress else None, obstacle)))
        if text != self._said and time.monotonic() >= self._say_again_at:
            self._console.print(text, markup=False)
            self._said = text
            self._say_again_at = time.monotonic() + A_LINE_EVERY_SECONDS


def described(progress: Progress) -> str:
    """Return in a line how far it has come: "sending: settled 1,200 of 5,000, failed 3, 400/s, 0:00:10 left"."""
    notification = progress.notification
    if notification.state == NotificationState.SCHEDULED:
        return f"scheduled for {notification.scheduled_at:%Y-%m-%d %H:%M:%S} UTC"
    planned = f"{notification.planned_count:,}{' so far' if notification.targeted is None else ''}"
    parts = [f"{notification.state}: settled {_settled(progress):,} of {planned}"]
    parts += [
        f"{status} {progress.counts[status]:,}"
        for status in (DeliveryStatus.FAILED, DeliveryStatus.EXPIRED)
        if progress.counts.get(status)
    ]
    if progress.rate_per_second:
        parts.append(f"{progress.rate_per_second:,.0f}/s")
    if progress.seconds_left is not None:
        parts.append(f"{_length(timedelta(seconds=progress.seconds_left))} left")
    return ", ".join(parts)


def _settled(progress: Progress) -> int:
    return sum(count for status, count in progress.counts.items() if status != DeliveryStatus.PENDING)


def _length(duration: timedelta) -> str:
    return str(timedelta(seconds=round(duration.total_seconds())))
