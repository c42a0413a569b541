"""The command `drain`: nothing further is sent, on no machine, until it is ended."""

import time
from typing import Annotated

import typer
from rich.console import Console
from sqlalchemy.orm import Session

from app.cli_database import open_database, refusal
from app.db.session import PASSING_ERRORS, SessionFactory, transaction
from app.delivery import drain as drains
from app.delivery.bell import Bell
from app.delivery.drain import InFlight
from app.models import Drain
from app.web.text import refuse_unstorable_text

DRAINED, STILL_IN_FLIGHT, STOPPED_WATCHING = 0, 1, 130
LOOK_EVERY_SECONDS = 1.0
# A claim that read before the mark was set may be written just after the first look.
LOOKS_THAT_PROVE_IT = 2
HOW_TO_END = "Until `python -m app.cli drain --end`, requests are accepted and wait."


def drain(
    note: Annotated[str | None, typer.Option(help="Why, for whoever finds the drain standing.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait for what is in flight.")] = 120.0,
    end: Annotated[bool, typer.Option("--end", help="Let sending go on.")] = False,
    status: Annotated[bool, typer.Option("--status", help="Only tell.")] = False,
) -> None:
    """Let no process on any machine send anything further, and wait until nothing is in flight.

    The API goes on: it accepts notifications, and answers 202. Exit code 0: nothing is in flight. 1: something is
    at the timeout, and the drain stands. 2: it could not be done.
    """
    if end + status + (note is not None) > 1:
        raise refusal("Give one of --note, --end and --status.")
    try:
        refuse_unstorable_text(note or "")
    except ValueError as error:
        raise refusal(f"--note: {error}.") from None
    with open_database() as (_, sessions):
        if end:
            _end(sessions)
        elif status:
            _tell(sessions)
        else:
            with transaction(sessions) as session:
                drains.begin(session, note)
            raise typer.Exit(_wait(sessions, timeout))


def _end(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        was_draining = drains.end(session)
    Bell(sessions).ring()
    typer.echo("The drain has ended: workers go on." if was_draining else "Nothing was drained.")


def _tell(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        mark, in_flight = drains.find(session), drains.in_flight(session)
    typer.echo(f"{_described(mark) if mark else 'Not draining.'} {_counted(in_flight)}")


def _wait(sessions: SessionFactory, timeout_seconds: float) -> int:
    console = Console(highlight=False, soft_wrap=True)
    console.print("Draining: no process begins anything further.", markup=False)
    give_up_at = time.monotonic() + timeout_seconds
    try:
        with console.status("Looking for what is in flight ...") as shown:
            said, empty_looks = None, 0
            while True:
                found = _look(sessions)
                text = "Waiting for the database ..." if found is None else _counted(found)
                shown.update(text)
                if not console.is_terminal and text != said:
                    console.print(text)
                    said = text
                empty_looks = empty_looks + 1 if found == InFlight(0, 0) else 0
                if empty_looks == LOOKS_THAT_PROVE_IT or (empty_looks == 0 and time.monotonic() >= give_up_at):
                    break
                time.sleep(LOOK_EVERY_SECONDS)
    except KeyboardInterrupt:
        console.print(f"The drain stands. {HOW_TO_END}")
        return STOPPED_WATCHING
    if empty_looks < LOOKS_THAT_PROVE_IT:
        console.print(f"[red]✗[/] Not drained within {timeout_seconds:g} s. {text} The drain stands. {HOW_TO_END}")
        return STILL_IN_FLIGHT
    console.print(f"[green]✓[/] Nothing is in flight. {HOW_TO_END}")
    return DRAINED


def _look(sessions: SessionFactory) -> InFlight | None:
    """Return what is in flight, None while the database is away."""
    try:
        with transaction(sessions) as session:
            _keep_the_mark(session)
            return drains.in_flight(session)
    except PASSING_ERRORS:
        return None


def _keep_the_mark(session: Session) -> None:
    if drains.find(session) is None:
        raise refusal("Somebody has ended the drain: workers go on.")


def _described(mark: Drain) -> str:
    note = f" ({mark.note})" if mark.note else ""
    return f"Draining since {mark.began_at:%Y-%m-%d %H:%M:%S} UTC{note}."


def _counted(found: InFlight) -> str:
    if found.batches == 0:
        return "Nothing is in flight."
    batches = f"{found.batches:,} batches" if found.batches > 1 else "a batch"
    return f"In flight: {found.deliveries:,} deliveries, in {batches}."
