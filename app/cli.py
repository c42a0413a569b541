"""The command line: serve, worker, drain, ledger, simulate, demo and more. `python -m app.cli --help` lists it."""

import errno
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer
import uvicorn
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from app import simulator
from app.cli_api_keys import api_keys
from app.cli_drain import drain
from app.cli_keys import keys
from app.cli_ledger import ledger
from app.cli_quarantine import quarantine
from app.cli_retention import retention
from app.cli_send import broadcast, send
from app.cli_tenants import tenants
from app.db.embedded import EmbeddedPostgresUnavailable
from app.db.session import database_url_of
from app.demo import showcase
from app.keyring.sealing import CannotUnseal
from app.settings import Settings, SettingsError, load_settings
from app.web.http_protocol import BoundedHttp
from app.workers import foreground
from app.workers.cores import default_worker_count
from app.workers.opening import refuse_another_secret_key

PROJECT_ROOT = Path(__file__).parents[1]
GRACEFUL_SHUTDOWN_SECONDS = 30
_EVERYWHERE = "0.0.0.0"  # nosec B104  # noqa: S104 - compared only

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False, rich_markup_mode="markdown"
)
for each in (send, broadcast, drain, ledger, retention):
    cli.command()(each)
cli.add_typer(keys, name="keys")
cli.add_typer(api_keys, name="api-keys")
cli.add_typer(tenants, name="tenants")
cli.add_typer(quarantine, name="quarantine")


@cli.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 8001,
    migrate: Annotated[
        bool | None, typer.Option(help="Bring the database's schema up to date first. Default: in development.")
    ] = None,
) -> None:
    """Serve the API, with an embedded PostgreSQL when DATABASE_URL is not set."""
    settings = _settings()
    _refuse_a_port_in_use(host, port)
    try:
        url = database_url_of(settings)
    except EmbeddedPostgresUnavailable as error:
        sys.exit(str(error))
    if migrate if migrate is not None else not settings.is_production:
        _upgrade_schema(url)
    if not settings.is_production:
        _say_where(settings, host, port)
    uvicorn.run(
        "app.main:app",
        http=BoundedHttp,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACEFUL_SHUTDOWN_SECONDS,
    )


@cli.command()
def worker(
    processes: Annotated[
        int | None, typer.Option(min=1, max=256, help="How many. Default: one for each core but one.")
    ] = None,
) -> None:
    """Run workers apart from the API, which then wants WORKER_MODE=external."""
    settings = _settings()
    try:
        refuse_another_secret_key(settings)
    except (EmbeddedPostgresUnavailable, CannotUnseal) as error:
        sys.exit(str(error))
    raise SystemExit(foreground.run(settings, processes or default_worker_count()))


@cli.command()
def simulate(
    host: Annotated[str, typer.Option(help="Loopback address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses one.")] = 8443,
    tls: Annotated[bool, typer.Option(help="Speak TLS, with a certificate of an authority of its own.")] = True,
) -> None:
    """Run a push service to test against, until Ctrl-C."""
    settings = _settings()

    def say(serving: simulator.Serving) -> None:
        typer.echo(f"Push service:  {serving.url}/fcm/..., /mozilla/..., /apple/..., /wns/...")
        typer.echo(f"Control:       {serving.control_url}")
        if serving.ca_file is not None:
            typer.echo(f"Let the service use it: PUSH_ALLOW_LOOPBACK=true PUSH_CA_FILE={serving.ca_file}")

    try:
        simulator.serve(host, port, tls=tls, ca_dir=settings.data_dir / "simulator", ready=say)
    except OSError as error:
        sys.exit(f"The simulator cannot listen on {host}:{port}: {error.strerror}.")


@cli.command()
def demo(
    browsers: Annotated[int, typer.Option(min=4, max=1000, help="How many browsers to simulate.")] = 100,
) -> None:
    """Show the service at work with simulated browsers, offline, beside whatever else is installed."""
    raise SystemExit(showcase.run(browsers))


def _settings() -> Settings:
    try:
        return load_settings()
    except SettingsError as error:
        sys.exit(str(error))


def _refuse_a_port_in_use(host: str, port: int) -> None:
    """Say so before anything is started or migrated; uvicorn would find out last."""
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the last server's connections may linger
            probe.bind((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            sys.exit(f"Port {port} is taken. Stop what listens there, or take another: make run PORT={port + 1}")
        sys.exit(f"Cannot listen on {host}, port {port}: {error.strerror}.")


def _upgrade_schema(database_url: str) -> None:
    config = Config(PROJECT_ROOT / "alembic.ini")
    config.attributes["database_url"] = database_url
    try:
        command.upgrade(config, "head")
    except OperationalError as error:
        sys.exit(f"The database's schema cannot be brought up to date: {str(error.orig).strip()}")


def _say_where(settings: Settings, host: str, port: int) -> None:
    name = "localhost" if host in ("127.0.0.1", _EVERYWHERE) else f"[{host}]" if ":" in host else host
    base = f"http://{name}:{port}"
    database = "that of DATABASE_URL" if settings.database_url else f"embedded, in {settings.data_dir / 'postgres'}"
    typer.echo(f"Demo page           {base}/demo")
    if settings.shows_docs:
        typer.echo(f"API documentation   {base}/docs")
    typer.echo(f"Health              {base}/health/")
    typer.echo(f"API key             {_where_the_api_key_is(settings)}")
    typer.echo(f"PostgreSQL          {database}")
    typer.echo("Ctrl-C stops it.")


def _where_the_api_key_is(settings: Settings) -> str:
    generated = settings.data_dir / "api-key"
    key = settings.api_key
    if key is not None and generated.exists() and generated.read_text().strip() == key.get_secret_value():
        return f"in {generated}"
    return "that of API_KEY"


if __name__ == "__main__":
    cli()
