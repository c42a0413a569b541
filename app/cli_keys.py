"""The commands `keys`: which VAPID keys there are and who depends on them; making new ones, retiring old ones."""

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.cli_database import working_database
from app.db.session import SessionFactory, transaction, without_time_limit
from app.keyring import retiring
from app.keyring.dependents import Dependents, KeyState, KeyStatus, status_of_keys
from app.keyring.retiring import KeyInUse
from app.keyring.service import Keyring, short
from app.models import VapidKey
from app.settings import Settings
from app.tenants import service as tenants

IN_USE = 1
WIDTH = 150  # a narrower terminal folds the lines, but nothing is cut short

_AFTER_ROTATING = """\
The new application server key: {new}
Browsers subscribe with it from now on: GET /vapid/public-key tells it. Pages that have the old one written into
them are to be changed."""
_ABOUT_THE_OLD_KEY = """\
{old} keeps signing for those who subscribed with it. `python -m app.cli keys status` tells how many are left, and
when none is:
    python -m app.cli keys retire {old}"""
_ABOUT_THE_VARIABLES = """\
VAPID_PRIVATE_KEY and VAPID_PUBLIC_KEY may stay: they hold a key from before, which no restart brings back."""

Key = Annotated[str, typer.Argument(help="The public key, or its first characters: at least six, enough to tell.")]
_TENANT = typer.Option("--tenant", help="The tenant's short name.")
TenantSlug = Annotated[str, _TENANT]
AnyTenant = Annotated[str | None, _TENANT]

keys = typer.Typer(no_args_is_help=True, help="VAPID keys: who depends on each, a new one, the end of an old one.")


@keys.command()
def status(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List every key, and how many subscriptions depend on it. Reads all subscriptions: with millions, seconds."""
    with working_database() as (_, sessions), _patiently(sessions) as session:
        found = status_of_keys(session)
    if as_json:
        typer.echo(json.dumps([_as_json(key) for key in found], indent=2))
    else:
        Console(highlight=False, width=WIDTH, soft_wrap=True).print(_table(found))


@keys.command()
def rotate(
    tenant: TenantSlug = "default",
    force: Annotated[
        bool, typer.Option("--force", help="Also if the SECRET_KEY that sealed those before is lost.")
    ] = False,
) -> None:
    """Make a new active key. The old ones keep signing for their subscribers, so nobody is lost."""
    with working_database() as (settings, sessions), transaction(sessions) as session:
        tenant_id = tenants.find(session, tenant).id
        of_tenant = select(VapidKey).where(VapidKey.tenant_id == tenant_id)
        before = session.scalars(of_tenant.where(VapidKey.is_active)).one_or_none()
        new = _keyring(settings).rotate(session, tenant_id, whatever_opens=force)
        is_configured = session.scalars(of_tenant.where(VapidKey.is_configured)).first() is not None
    typer.echo(_AFTER_ROTATING.format(new=new.public_key))
    if before is not None:
        typer.echo(_ABOUT_THE_OLD_KEY.format(old=short(before)))
    if is_configured:
        typer.echo(_ABOUT_THE_VARIABLES)


@keys.command()
def retire(
    key: Key,
    tenant: AnyTenant = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also if subscriptions depend on it: they are lost.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="With --force: do not ask.")] = False,
) -> None:
    """Sign nothing with a key any more. Refused, with exit code 1, while subscriptions depend on it."""
    with working_database() as (_, sessions):
        with transaction(sessions) as session:
            found = retiring.find_key(session, key, tenant=tenant)
        lost = _retire(sessions, found, force=force, asks=not yes)
    if lost is None:
        typer.echo(f"{short(found)} was retired already.")
    else:
        typer.echo(f"{short(found)} is retired: nothing is signed with it any more. {_lost(lost)}".rstrip())
        typer.echo(f"To take it back: python -m app.cli keys restore {short(found)}")


@keys.command()
def restore(key: Key, tenant: AnyTenant = None) -> None:
    """Let a retired key sign again for those who subscribed with it."""
    with working_database() as (settings, sessions), transaction(sessions) as session:
        found = retiring.find_key(session, key, tenant=tenant)
        was_retired = retiring.restore(session, _keyring(settings), found.id)
    if was_retired:
        typer.echo(f"{short(found)} signs again for those who subscribed with it.")
    else:
        typer.echo(f"{short(found)} is not retired.")


@contextmanager
def _patiently(sessions: SessionFactory) -> Iterator[Session]:
    """Begin a transaction that may count for as long as it takes."""
    with transaction(sessions) as session:
        without_time_limit(session)
        yield session


def _keyring(settings: Settings) -> Keyring:
    assert settings.secret_key is not None  # generated in development, required in production
    return Keyring(settings.secret_key.get_secret_value())


def _retire(sessions: SessionFactory, key: VapidKey, *, force: bool, asks: bool) -> Dependents | None:
    """Retire the key, once the operator knows what that costs; asked anew when it costs more by then."""
    lose_at_most: float = 0 if asks or not force else math.inf
    while True:
        try:
            with _patiently(sessions) as session:
                return retiring.retire(session, key.id, lose_at_most=lose_at_most)
        except KeyInUse as error:
            typer.echo(f"{error.detail} {_off(error.dependents)}".rstrip(), err=not force)
            if not force:
                typer.echo(
                    "They would be lost: wait until they have moved over, or give them up with --force.", err=True
                )
                raise typer.Exit(IN_USE) from None
            typer.confirm("Nothing will reach them any more. Give them up?", abort=True)
            lose_at_most = error.dependents.total


def _off(dependents: Dependents) -> str:
    return f"{dependents.dormant:,} of them are switched off or in quarantine." if dependents.dormant else ""


def _lost(dependents: Dependents) -> str:
    count = dependents.total
    return f"{count:,} subscription{'s are' if count > 1 else ' is'} given up." if count else ""


def _table(found: list[KeyStatus]) -> Table:
    has_tenants = len({key.tenant for key in found}) > 1
    table = Table(box=box.SIMPLE_HEAD)
    for name in (*(["tenant"] if has_tenants else []), "key", "state", "since"):
        table.add_column(name, no_wrap=True)
    for name in ("subscriptions", "sent to in 7 days", "off"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for key in found:
        since = key.retired_at or key.created_at
        colour = {KeyState.ACTIVE: "green", KeyState.SIGNING: "yellow", KeyState.RETIRED: "dim"}[key.state]
        table.add_row(
            *([key.tenant] if has_tenants else []),
            key.public_key[:16],
            f"[{colour}]{key.state}[/]",
            f"{since:%Y-%m-%d %H:%M}",
            *(f"{number:,}" for number in key.dependents),
            "of the variables" if key.is_configured else "",
        )
    return table


def _as_json(key: KeyStatus) -> dict[str, Any]:
    return {
        "tenant": key.tenant,
        "public_key": key.public_key,
        "state": key.state.value,
        "is_configured": key.is_configured,
        "created_at": key.created_at.isoformat(),
        "retired_at": None if key.retired_at is None else key.retired_at.isoformat(),
        "active_subscriptions": key.dependents.active,
        "sent_to_in_7_days": key.dependents.lately,
        "off_subscriptions": key.dependents.dormant,
    }
