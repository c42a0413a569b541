"""The command `retention`: lets go what is too old now, or says what would go."""

from typing import Annotated

import typer
from rich.console import Console

from app.cli_database import open_database
from app.db.session import SessionFactory, transaction, without_time_limit
from app.delivery.retention import GONE_KEPT, Removed, clean_up, preview

DONE, STOPPED = 0, 130


def retention(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say how much would go.")] = False,
) -> None:
    """Let go deliveries older than LOG_RETENTION_DAYS, and subscriptions gone or deleted for 30 days.

    The service does so by itself, once an hour. Counts are frozen first, and stay; notifications that are not
    finished keep all they have. Exit code 0: done. 2: it could not be done; what was done by then stays done.
    """
    with open_database() as (settings, sessions):
        kept_days = settings.log_retention_days
        if dry_run:
            _foretell(sessions, kept_days)
        else:
            raise typer.Exit(_clean_up(sessions, kept_days))


def _foretell(sessions: SessionFactory, kept_days: int) -> None:
    with transaction(sessions) as session:
        without_time_limit(session)
        removed = preview(session, kept_days=kept_days)
    typer.echo(f"Older than {kept_days} days, or gone for {GONE_KEPT.days}, and would go: {_told(removed)}.")


def _clean_up(sessions: SessionFactory, kept_days: int) -> int:
    console = Console(highlight=False, soft_wrap=True)
    try:
        with console.status("Looking for what is too old ...") as shown:
            removed = clean_up(sessions, kept_days=kept_days, tell=lambda so_far: shown.update(_told(so_far)))
    except KeyboardInterrupt:
        console.print("Stopped. Nothing is half done: the next run goes on.")
        return STOPPED
    if removed == Removed():
        console.print(f"[green]✓[/] Nothing is older than {kept_days} days, or gone for {GONE_KEPT.days}.")
    else:
        console.print(f"[green]✓[/] Removed: {_told(removed)}.")
    return DONE


def _told(removed: Removed) -> str:
    months = f" ({removed.months} months as a whole)" if removed.months else ""
    return (
        f"{removed.deliveries:,} deliveries of {removed.notifications:,} notifications{months},"
        f" {removed.receipts:,} receipts, {removed.skips:,} skips, {removed.subscriptions:,} subscriptions"
    )
