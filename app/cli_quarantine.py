"""The commands `quarantine`: what the guard against mass losses holds, and what is to become of it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy.orm import Session

from app.cli_database import open_database, refusal
from app.db.session import SessionFactory, database_now, transaction
from app.delivery import guard
from app.delivery import quarantine as quarantines
from app.delivery.bell import Bell
from app.delivery.quarantine import Listed, RefusedLane
from app.keyring.service import SHORT_CHARACTERS
from app.models import Quarantine

DONE, SOME_ARE_LEFT = 0, 1
WIDTH = 180  # of a table with millions in it; a narrower terminal folds the lines, but nothing is cut short

Which = Annotated[UUID | None, typer.Argument(metavar="ID", help="One of the list.", show_default=False)]
Host = Annotated[str | None, typer.Option(help="All that are open of this push service, as the list names it.")]
All = Annotated[bool, typer.Option("--all", help="All that are open.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]

LetGo = Callable[[Session, UUID, Sequence[str]], int]

quarantine = typer.Typer(
    no_args_is_help=True, help="Suspected mass losses: what is held, and what is to become of it."
)


@quarantine.command("list")
def list_() -> None:
    """List the suspected mass losses, and the push services that refuse our credentials. Reads only."""
    with open_database() as (_, sessions), transaction(sessions) as session:
        found, refusing = quarantines.listed(session), quarantines.refused_lanes(session)
    console = Console(highlight=False, width=WIDTH, soft_wrap=True)
    if found:
        console.print(_table(found))
    if refusing:
        console.print(_refusing_table(refusing))
    if not found and not refusing:
        console.print("[green]✓[/] Nothing is in quarantine, and no push service refuses our credentials.")


@quarantine.command()
def restore(which: Which = None, host: Host = None, all_: All = False) -> None:
    """They are there: make them active again. Also after a release, as long as they are not purged.

    Whoever subscribed again, unsubscribed or switched it off meanwhile is left as he is. Can be interrupted and
    repeated. Exit code 1: some came in meanwhile, and are still held. 2: it could not be done.
    """
    with open_database() as (_, sessions):
        chosen = _chosen(sessions, which, host, all_)
        for each in chosen:
            _let_the_last_join(sessions, each)
        done = _go_through(sessions, chosen, "Restoring", quarantines.restore, quarantines.RESTORED)
    raise typer.Exit(_say(done, "active again"))


@quarantine.command()
def prune(which: Which = None, host: Host = None, all_: All = False, yes: Yes = False) -> None:
    """They are gone indeed: delete them now. This cannot be taken back.

    Exit code 1: it was not confirmed, or some came in meanwhile and are still held. 2: it could not be done.
    """
    with open_database() as (_, sessions):
        chosen = _chosen(sessions, which, host, all_)
        with transaction(sessions) as session:
            members = sum(quarantines.count(session, each.id) for each in chosen)
        if members and not yes:
            typer.confirm(f"Delete {members:,} subscriptions? They can only come back by themselves.", abort=True)
        done = _go_through(sessions, chosen, "Deleting", quarantines.prune, quarantines.PRUNED)
    raise typer.Exit(_say(done, "deleted"))


@quarantine.command()
def release(which: Which = None, host: Host = None, all_: All = False) -> None:
    """They are gone indeed: treat them like any other, to be purged by and by. Until then `restore` undoes it.

    With --host or --all it also ends the pause of push services that refused our credentials.
    """
    with open_database() as (_, sessions):
        refusing = []
        if which is None and (host is not None or all_):
            with transaction(sessions) as session:
                refusing = [lane.lane for lane in quarantines.refused_lanes(session, host=host)]
                quarantines.resume(session, refusing)
            Bell(sessions).ring()
        chosen = _chosen(sessions, which, host, all_)
        for each in chosen:
            _let_the_last_join(sessions, each)
            with transaction(sessions) as session:
                released = quarantines.release(session, each.id)
            typer.echo(
                f"{each.endpoint_host}: {each.id} was {each.ended_as} already."
                if released is None
                else f"{each.endpoint_host}: {released:,} subscriptions are believed gone."
            )
        for lane in refusing:
            typer.echo(f"{lane.endpoint_host}: the pause is over, it is tried again now.")
        if not chosen and not refusing:
            typer.echo("Nothing is in quarantine there, and our credentials are not refused.")


def _chosen(sessions: SessionFactory, which: UUID | None, host: str | None, all_: bool) -> list[Quarantine]:
    """Return the quarantines that the arguments mean. Refuses none and contradictions."""
    if (which is not None) + (host is not None) + all_ != 1:
        raise refusal("Give one of ID, --host and --all: `quarantine list` tells what there is.")
    with transaction(sessions) as session:
        ids = [which] if which is not None else quarantines.open_ids(session, host=host)
        found = [quarantines.find(session, each) for each in ids]
    if which is not None and found == [None]:
        raise refusal(f"There is no quarantine {which}.")
    return [each for each in found if each is not None]


def _let_the_last_join(sessions: SessionFactory, each: Quarantine) -> None:
    """Whoever was called gone since the guard looked can be restored, too; once it has ended, nobody joins."""
    with transaction(sessions) as session:
        losses = [loss for loss in guard.losses(session) if loss.open_id == each.id]
    for loss in losses:
        guard.join(sessions, each.id, loss.lane, since=loss.since)


def _go_through(
    sessions: SessionFactory,
    chosen: Iterable[Quarantine],
    verb: str,
    let_go: LetGo,
    how: str,
) -> list[tuple[Quarantine, int, int]]:
    """Let everybody go who is in these now; return for each how many did, and how many are left."""
    done = []
    for each in chosen:
        with transaction(sessions) as session:
            until, total = database_now(session), quarantines.count(session, each.id)
        with _progress(f"{verb} at {each.endpoint_host}", total) as advance:
            count = sum(_chunks(sessions, let_go, each.id, until, advance))
        if how == quarantines.RESTORED:
            _let_the_last_join(sessions, each)
        with transaction(sessions) as session:
            left = quarantines.end_if_empty(session, each.id, how)
        done.append((each, count, left))
    return done


def _chunks(
    sessions: SessionFactory, let_go: LetGo, quarantine_id: UUID, until: datetime, advance: Callable[[int], None]
) -> Iterator[int]:
    """Yield how many are let go, chunk by chunk, until nobody is left who came in until then."""
    let_go_of_found = True
    while let_go_of_found:
        with transaction(sessions) as session:
            found = quarantines.members(session, quarantine_id, until=until)
        let_go_of_found = False
        for first in range(0, len(found), quarantines.ROWS_AT_ONCE):
            with transaction(sessions) as session:
                count = let_go(session, quarantine_id, found[first : first + quarantines.ROWS_AT_ONCE])
            let_go_of_found |= count > 0
            advance(count)
            yield count


@contextmanager
def _progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is, on a terminal only."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)


def _say(done: list[tuple[Quarantine, int, int]], what: str) -> int:
    for each, count, left in done:
        typer.echo(f"{each.endpoint_host}: {count:,} subscriptions are {what}.")
        if left:
            typer.echo(f"{each.endpoint_host}: {left:,} came in meanwhile, and are still held.")
    if not done:
        typer.echo("Nothing is in quarantine there.")
    return SOME_ARE_LEFT if any(left for _, _, left in done) else DONE


def _table(found: list[Listed]) -> Table:
    has_tenants = len({each.tenant for each in found}) > 1
    table = Table(box=box.SIMPLE_HEAD, title="Suspected mass losses", title_justify="left")
    for name in (*(["tenant"] if has_tenants else []), "id", "push service", "key", "since (UTC)"):
        table.add_column(name, no_wrap=True)
    for name in ("gone", "of tried", "in it"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in found:
        row = each.quarantine
        table.add_row(
            *([each.tenant] if has_tenants else []),
            str(row.id),
            row.endpoint_host,
            each.public_key[:SHORT_CHARACTERS],
            f"{row.tripped_at:%Y-%m-%d %H:%M}",
            f"{row.gone_count:,}",
            f"{row.tried_count:,}",
            f"{each.members:,}",
            _how_it_ended(row),
        )
    return table


def _how_it_ended(row: Quarantine) -> str:
    if row.ended_at is None:
        return "[yellow]open[/]"
    return f"[dim]{row.ended_as} {row.ended_count or 0:,} on {row.ended_at:%Y-%m-%d}[/]"


def _refusing_table(refusing: list[RefusedLane]) -> Table:
    has_tenants = len({lane.tenant for lane in refusing}) > 1
    table = Table(
        box=box.SIMPLE_HEAD,
        title="Push services that refuse our credentials: asked once a minute",
        title_justify="left",
    )
    for name in (*(["tenant"] if has_tenants else []), "push service", "key"):
        table.add_column(name, no_wrap=True)
    for name in ("refused", "of tried"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in refusing:
        table.add_row(
            *([each.tenant] if has_tenants else []),
            each.lane.endpoint_host,
            each.public_key[:SHORT_CHARACTERS],
            f"{each.refused:,}",
            f"{each.tried:,}",
        )
    return table
