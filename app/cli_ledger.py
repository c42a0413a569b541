"""The command `ledger`: what the audit found, for people as a table, for machines as JSON."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any
from uuid import UUID

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError

from app.db.embedded import EmbeddedPostgresUnavailable
from app.db.session import SessionFactory, create_sessions, database_url_of
from app.delivery import audit
from app.delivery.audit import Account, Report, Tell
from app.models import DeliveryStatus
from app.settings import SettingsError, load_settings

ADDS_UP, DOES_NOT_ADD_UP, CANNOT_TELL = 0, 1, 2
WIDTH = 150  # of a table with millions in it; a narrower terminal folds the lines, but no number is cut short


def ledger(
    notification_id: Annotated[UUID | None, typer.Argument(help="Only this notification.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many of the newest notifications to list.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Prove that every delivery is accounted for, in one consistent snapshot, also while workers send.

    Reads only. Exit code 0: all adds up. 1: it does not, and what is wrong is told. 2: it could not be looked at.
    """
    try:
        sessions = create_sessions(database_url_of(load_settings()), pool_size=1)
    except (SettingsError, EmbeddedPostgresUnavailable) as error:
        raise _cannot_tell(str(error)) from None
    report = _examine(sessions, notification_id, limit, is_silent=as_json)
    if notification_id is not None and not report.notifications and not report.strays:
        raise _cannot_tell(f"There is no notification {notification_id}.")
    if as_json:
        typer.echo(json.dumps(_as_json(report), indent=2))
    else:
        _print(report)
    raise typer.Exit(ADDS_UP if report.adds_up else DOES_NOT_ADD_UP)


def _examine(sessions: SessionFactory, only: UUID | None, listed: int, *, is_silent: bool) -> Report:
    try:
        with _progress(is_silent) as tell, audit.snapshot(sessions) as session:
            return audit.examine(session, only=only, listed=listed, tell=tell)
    except ProgrammingError:
        raise _cannot_tell("The tables are not there, or of another version: run alembic upgrade head.") from None
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or type(error).__name__).strip()
        raise _cannot_tell(f"The ledger cannot be read: {cause}") from None


def _cannot_tell(why: str) -> typer.Exit:
    typer.echo(why, err=True)
    return typer.Exit(CANNOT_TELL)


@contextmanager
def _progress(is_silent: bool) -> Iterator[Tell]:
    """Show how far the audit is while it works, on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    is_shown = console.is_terminal and not is_silent
    with Progress(*columns, console=console, transient=True, disable=not is_shown) as progress:
        task = progress.add_task("Reading the ledger", total=None)

        def tell(done: int, total: int) -> None:
            progress.update(task, completed=done, total=total, description=f"{done:,} of {total:,} deliveries")

        yield tell


def _print(report: Report) -> None:
    console = Console(highlight=False, width=WIDTH, soft_wrap=True)
    console.print(_table(report))
    for account in report.wrong:
        for finding in account.findings:
            console.print(f"[red]✗[/] {account.facts.notification_id}: {finding.text}.")
    for stray in report.strays:
        console.print(f"[red]✗[/] {stray.notification_id}: {stray.finding.text}.")
    if report.untold:
        console.print(f"[red]✗[/] {report.untold:,} more do not add up.")
    if report.adds_up:
        console.print("[green]✓[/] All adds up: planned = pending + sent + delivered + failed + expired.")
    else:
        wrong = len(report.wrong) + len(report.strays) + report.untold
        console.print(f"[red]✗[/] It does not add up, at {wrong:,} of {report.notifications:,} notifications.")


def _table(report: Report) -> Table:
    """The newest notifications and those that do not add up, then the total."""
    table = Table(box=box.SIMPLE_HEAD, title=f"The ledger at {report.snapshot_at:%Y-%m-%d %H:%M:%S} UTC")
    for name in ("notification", "accepted", "state"):
        table.add_column(name, no_wrap=True)
    for name in ("planned", *DeliveryStatus):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    shown = {account.facts.notification_id for account in report.newest}
    older = [account for account in report.wrong if account.facts.notification_id not in shown]
    for account in [*report.newest, *older]:
        facts = account.facts
        numbers = (facts.planned, *(facts.by_status[status] for status in DeliveryStatus))
        table.add_row(
            str(facts.notification_id),
            f"{facts.accepted_at:%Y-%m-%d %H:%M}",
            facts.state,
            *(f"{number:,}" for number in numbers),
            "[red]✗[/]" if account.findings else "[green]✓[/]",
        )
    left_out = report.notifications - len(report.newest) - len(older)
    if left_out:
        table.add_row(f"and {left_out:,} more, which add up" if not report.untold else f"and {left_out:,} more")
    table.add_section()
    totals = (report.planned, *(report.by_status[status] for status in DeliveryStatus))
    table.add_row(f"{report.notifications:,} notifications", "", "", *(f"{number:,}" for number in totals))
    return table


def _as_json(report: Report) -> dict[str, Any]:
    return {
        "adds_up": report.adds_up,
        "snapshot_at": report.snapshot_at.isoformat(),
        "notifications": report.notifications,
        "planned": report.planned,
        **{status.value: report.by_status[status] for status in DeliveryStatus},
        "newest": [_account_as_json(account) for account in report.newest],
        "wrong": [_account_as_json(account) for account in report.wrong],
        "strays": [
            {
                "notification_id": str(stray.notification_id),
                "rows": stray.rows,
                "rule": stray.finding.rule,
                "text": stray.finding.text,
            }
            for stray in report.strays
        ],
        "untold": report.untold,
    }


def _account_as_json(account: Account) -> dict[str, Any]:
    facts = account.facts
    return {
        "notification_id": str(facts.notification_id),
        "accepted_at": facts.accepted_at.isoformat(),
        "state": facts.state,
        "planned": facts.planned,
        "targeted": facts.targeted,
        **{status.value: facts.by_status[status] for status in DeliveryStatus},
        "findings": [{"rule": finding.rule, "text": finding.text} for finding in account.findings],
    }
