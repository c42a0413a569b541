"""The commands `tenants`: audiences of their own, and whose tokens their users bring."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli_database import refusal, working_database
from app.db.session import transaction
from app.keyring.service import Keyring
from app.models import Tenant
from app.tenants import service
from app.tenants.public_keys import InvalidPublicKey, read_public_keys
from app.tenants.service import TrustedIssuer
from app.web.key_login import REMEMBERED_SECONDS

MAX_KEY_FILE_BYTES = 100_000

Slug = Annotated[str, typer.Argument(help="Its short name: a to z, 0 to 9 and hyphens.")]
Name = Annotated[str | None, typer.Option(help="Its name, for people.")]
Issuer = Annotated[str | None, typer.Option(help="What its users' tokens say in iss.")]
PublicKeyFile = Annotated[
    Path | None,
    typer.Option(help="The public keys of that issuer: PEM, RSA or EC; while they are rotated, both in one file."),
]

tenants = typer.Typer(no_args_is_help=True, help="Tenants: audiences apart, each with keys of its own.")


@tenants.command()
def create(slug: Slug, name: Name = None, issuer: Issuer = None, public_key_file: PublicKeyFile = None) -> None:
    """Make a tenant, with its first VAPID key."""
    trusted = _trusted(issuer, public_key_file)
    with working_database() as (settings, sessions), transaction(sessions) as session:
        assert settings.secret_key is not None  # the settings see to that
        keyring = Keyring(settings.secret_key.get_secret_value())
        service.create(session, keyring, slug, name=name, trusted=trusted, own_issuer=settings.jwt_issuer)
    typer.echo(f"The tenant {slug} is there, with a VAPID key: GET /vapid/public-key?tenant={slug}")
    typer.echo(f"A key for its services: python -m app.cli api-keys create NAME --tenant {slug}")


@tenants.command()
def change(
    slug: Slug,
    name: Name = None,
    issuer: Issuer = None,
    public_key_file: PublicKeyFile = None,
    no_issuer: Annotated[bool, typer.Option("--no-issuer", help="Take no tokens of its own any more.")] = False,
) -> None:
    """Change a tenant's name, or whose tokens its users bring. With --public-key-file alone: the issuer's keys."""
    changes_issuer = issuer is not None or public_key_file is not None
    if no_issuer and changes_issuer:
        raise refusal("Give --no-issuer, or --issuer and --public-key-file.")
    if name is None and not changes_issuer and not no_issuer:
        raise refusal("Say what to change: --name, --issuer, --public-key-file or --no-issuer.")
    with working_database() as (settings, sessions), transaction(sessions) as session:
        tenant = service.find(session, slug)
        if name is not None:
            service.rename(session, tenant, name)
        if no_issuer:
            service.trust(session, tenant, None, own_issuer=settings.jwt_issuer)
        elif changes_issuer:
            issuer = tenant.jwt_issuer if issuer is None else issuer
            trusted = _trusted(issuer, public_key_file, stored=tenant.jwt_public_key)
            service.trust(session, tenant, trusted, own_issuer=settings.jwt_issuer)
    typer.echo(f"{slug} is changed. What concerns tokens is in force everywhere within {REMEMBERED_SECONDS:g} s.")


@tenants.command("list")
def list_tenants(as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False) -> None:
    """List all tenants."""
    with working_database() as (_, sessions), transaction(sessions) as session:
        found = [_described(tenant) for tenant in service.all_tenants(session)]
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        Console(highlight=False, soft_wrap=True).print(_table(found))


def _trusted(issuer: str | None, file: Path | None, *, stored: str | None = None) -> TrustedIssuer | None:
    public_key = _read(file) if file is not None else stored
    if issuer is None and public_key is None:
        return None
    if issuer is None or public_key is None:
        raise refusal("An issuer and its public keys belong together: give --issuer and --public-key-file.")
    return TrustedIssuer(issuer, public_key)


def _read(file: Path) -> str:
    try:
        with file.open(encoding="ascii") as opened:
            return opened.read(MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise refusal(f"--public-key-file cannot be read: {error.strerror}.") from None
    except ValueError:
        raise refusal("--public-key-file is not a public key in PEM.") from None


def _described(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": str(tenant.id),
        "slug": tenant.slug,
        "name": tenant.name,
        "issuer": tenant.jwt_issuer,
        "public_keys": _kinds(tenant.jwt_public_key),
        "created_at": tenant.created_at.isoformat(),
    }


def _kinds(pem: str | None) -> list[str]:
    """Return what kinds of keys are registered; a text that holds none can only be another hand's."""
    try:
        return [key.kind for key in read_public_keys(pem)] if pem else []
    except InvalidPublicKey:
        return ["unreadable"]


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("tenant", "name", "since", "issuer of its tokens", "public keys"):
        table.add_column(column, overflow="fold")
    for tenant in found:
        table.add_row(
            tenant["slug"],
            escape(tenant["name"]),
            tenant["created_at"][:10],
            escape(tenant["issuer"] or ""),
            ", ".join(tenant["public_keys"]),
        )
    return table
