"""The commands `api-keys`: credentials of services, made, listed and revoked."""

import json
import sys
from datetime import datetime
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli_database import refusal, working_database
from app.db.session import transaction
from app.models import ApiKey
from app.tenants import api_keys as store
from app.tenants import service as tenants
from app.tenants.scopes import Scope
from app.web.key_login import REMEMBERED_SECONDS

NOT_CONFIRMED = 1
WIDTH = 150  # a narrower terminal folds the lines, but nothing is cut short
DEFAULT_SCOPES = (Scope.SEND, Scope.READ)

api_keys = typer.Typer(
    no_args_is_help=True, help="API keys of services: a new one, which there are, the end of one."
)


@api_keys.command()
def create(
    name: Annotated[str, typer.Argument(help="The service that will use it.")],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            help="send: send, broadcast, cancel. read: history, deliveries, analytics, subscriptions. manage: make,"
            " change and delete subscriptions, erase users. May be given several times. Default: send and read.",
            show_default=False,
        ),
    ] = None,
    tenant: Annotated[str, typer.Option(help="The tenant's short name.")] = "default",
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Take it from this address or network only, like 10.0.0.0/8. May be given several times."
        ),
    ] = None,
) -> None:
    """Make an API key and print it, this once: only its hash is stored.

    Two keys of one name may live at a time. To rotate: create the second, let the service use it, revoke the first.
    """
    with working_database() as (_, sessions), transaction(sessions) as session:
        owner = tenants.find(session, tenant)
        key, row = store.create(session, owner, name, scopes=scope or DEFAULT_SCOPES, networks=network or ())
    # Only what is committed is shown; and the key alone on the standard output, for scripts.
    typer.echo(f"The key of {row.name} (scopes: {', '.join(row.scopes)}). It is never shown again:", err=True)
    typer.echo(key)


@api_keys.command("list")
def list_keys(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List every key that was ever made, by its beginning."""
    with working_database() as (_, sessions), transaction(sessions) as session:
        found = [_described(key, slug) for key, slug in store.all_keys(session)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif found:
        Console(highlight=False, width=WIDTH, soft_wrap=True).print(_table(found))
    else:
        typer.echo("None yet: services use API_KEY. Make one: python -m app.cli api-keys create NAME")


@api_keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or its beginning as `list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Let a key open nothing any more, after asking. It cannot be taken back.

    Exit code 0: it is revoked. 1: not confirmed. 2: it could not be done.
    """
    with working_database() as (_, sessions):
        with transaction(sessions) as session:
            found = store.find(session, key.removesuffix("…"))
        if found.revoked_at is None and not yes:
            _ask(found)
        with transaction(sessions) as session:
            was_live = store.revoke(session, found)
    if was_live:
        typer.echo(f"{found.prefix} of {found.name} is revoked: nobody takes it after {REMEMBERED_SECONDS:g} s.")
    else:
        typer.echo(f"{found.prefix} of {found.name} was revoked already.")


def _ask(key: ApiKey) -> None:
    used = f"last used {_minute(key.last_used_at.isoformat())} UTC" if key.last_used_at else "never used"
    if not is_terminal():
        raise refusal(f"{key.prefix} of {key.name}, {used}. There is no terminal to ask on: say --yes.")
    if not typer.confirm(f"Revoke {key.prefix} of {key.name}, {used}?", err=True):
        typer.echo("Nothing was revoked.", err=True)
        raise typer.Exit(NOT_CONFIRMED)


def is_terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()  # None when it is closed


def _described(key: ApiKey, slug: str) -> dict[str, Any]:
    return {
        "id": str(key.id),
        "name": key.name,
        "tenant": slug,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "networks": key.allowed_networks,
        "created_at": key.created_at.isoformat(),
        "last_used_at": _iso(key.last_used_at),
        "revoked_at": _iso(key.revoked_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _minute(moment: str | None) -> str:
    return "" if moment is None else moment[:16].replace("T", " ")


def _table(found: list[dict[str, Any]]) -> Table:
    """The keys, the tenant among them where there are several; times to the minute."""
    has_tenants = len({key["tenant"] for key in found} | {"default"}) > 1
    table = Table(box=box.SIMPLE_HEAD)
    columns = ["name", "key", "scopes", "from", "created (UTC)", "last used", "revoked"]
    for column in [*(["tenant"] if has_tenants else []), *columns]:
        table.add_column(column, overflow="fold")
    for key in found:
        table.add_row(
            *([key["tenant"]] if has_tenants else []),
            escape(key["name"]),
            f"{key['prefix']}…",
            ", ".join(key["scopes"]),
            ", ".join(key["networks"]) or "anywhere",
            *(_minute(key[name]) for name in ("created_at", "last_used_at", "revoked_at")),
            style="dim" if key["revoked_at"] else None,
        )
    return table
