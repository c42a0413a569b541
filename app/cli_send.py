"""The commands `send` and `broadcast`: store a notification for the workers, without the API, and watch it."""

import json
import sys
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple, TypeVar
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.console import Console

from app.cli_database import open_database, refusal
from app.cli_watch import obstacle_of, print_outcome, reasons_by_status, watch
from app.db.session import PASSING_ERRORS, SessionFactory, database_now, transaction
from app.delivery.targeting import size_of_audience
from app.errors import DomainError
from app.models import DEFAULT_TENANT_ID
from app.notifications import service
from app.notifications.intake import new_notification
from app.notifications.progress import Progress
from app.notifications.schemas import BroadcastRequest, SendRequest
from app.notifications.sent import Replay, Sent
from app.web.send_headers import read_key
from app.workers.opening import payloads_of

Request = TypeVar("Request", SendRequest, BroadcastRequest)

NOT_CONFIRMED, STOPPED_WATCHING = 1, 130
# No refusal: whoever took it for one would send it again.
STORED_BUT_NOT_SEEN = "It is stored. The database is away now: how it goes cannot be told."
OPTION_OF_MEMBER = {"topics": "--topic", "user_ids": "--user", "subscription_ids": "--subscription"}

Title = Annotated[str, typer.Option(help="What it is about.")]
Body = Annotated[str, typer.Option(help="What it says.")]
Type = Annotated[str | None, typer.Option(help="A word of yours, for history and analytics.")]
Picture = Annotated[str | None, typer.Option(help="URL of a picture; relative to ASSET_BASE_URL.", metavar="URL")]
Url = Annotated[str | None, typer.Option(help="Where a click leads; relative to SITE_URL.")]
Tag = Annotated[str | None, typer.Option(help="A later one with the same tag replaces it on screen.")]
Ttl = Annotated[int | None, typer.Option(help="Seconds that a push service may keep it.", metavar="SECONDS")]
Urgency = Annotated[str | None, typer.Option(help="very-low, low, normal or high.")]
CollapseKey = Annotated[str | None, typer.Option(help="A later one with the same key replaces it undelivered.")]
Data = Annotated[str | None, typer.Option(help="A JSON object for the service worker.", metavar="JSON")]
AppBadge = Annotated[int | None, typer.Option(help="The number on the app's icon; 0: none.", metavar="N")]
ScheduledAt = Annotated[str | None, typer.Option(help="When to send it, RFC 3339 with its offset.", metavar="TIME")]
IdempotencyKey = Annotated[str | None, typer.Option(help="The same key again, within 7 days, sends nothing.")]
Watch = Annotated[bool, typer.Option("--watch/--no-watch", help="Show its progress until all are settled.")]
AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Several = Annotated[list[str] | None, typer.Option(help="May be given several times.")]


def send(
    title: Title,
    body: Body,
    topic: Several = None,
    user: Several = None,
    subscription: Several = None,
    url: Url = None,
    tag: Tag = None,
    type: Type = None,
    icon: Picture = None,
    image: Picture = None,
    badge: Picture = None,
    ttl: Ttl = None,
    urgency: Urgency = None,
    collapse_key: CollapseKey = None,
    data: Data = None,
    app_badge: AppBadge = None,
    scheduled_at: ScheduledAt = None,
    idempotency_key: IdempotencyKey = None,
    watch: Watch = False,
    as_json: AsJson = False,
) -> None:
    """Send to everybody who matches a topic, a user or a subscription id, once each.

    The notification is stored in the database of the settings, and workers send it; the API need not run.

    Exit code 0: it is stored, and with --watch, everybody is sent to or settled. 2: it was refused. 130: Ctrl-C
    while watching; sending goes on.
    """
    targets = {"topics": topic, "user_ids": user, "subscription_ids": subscription}
    if not any(targets.values()):
        raise refusal("Say to whom: --topic, --user or --subscription. To everybody: python -m app.cli broadcast")
    content = {
        "title": title,
        "body": body,
        "url": url,
        "tag": tag,
        "type": type,
        "icon": icon,
        "image": image,
        "badge": badge,
        "ttl": ttl,
        "urgency": urgency,
        "collapse_key": collapse_key,
        "data": data,
        "app_badge": app_badge,
        "scheduled_at": scheduled_at,
    }
    _go(_validated(SendRequest, content | targets), idempotency_key, show=Show(watch, as_json))


def broadcast(
    title: Title,
    body: Body,
    url: Url = None,
    tag: Tag = None,
    type: Type = None,
    icon: Picture = None,
    image: Picture = None,
    badge: Picture = None,
    ttl: Ttl = None,
    urgency: Urgency = None,
    collapse_key: CollapseKey = None,
    data: Data = None,
    app_badge: AppBadge = None,
    scheduled_at: ScheduledAt = None,
    idempotency_key: IdempotencyKey = None,
    watch: Watch = False,
    as_json: AsJson = False,
    yes: Yes = False,
) -> None:
    """Send to every active subscriber, after asking.

    Otherwise as send does. Exit code 1: not confirmed.
    """
    content = {
        "title": title,
        "body": body,
        "url": url,
        "tag": tag,
        "type": type,
        "icon": icon,
        "image": image,
        "badge": badge,
        "ttl": ttl,
        "urgency": urgency,
        "collapse_key": collapse_key,
        "data": data,
        "app_badge": app_badge,
        "scheduled_at": scheduled_at,
    }
    _go(_validated(BroadcastRequest, content), idempotency_key, show=Show(watch, as_json), is_asked=not yes)


class Show(NamedTuple):
    """What of it is shown: its progress, and to whom."""

    is_watched: bool
    as_json: bool

    @property
    def console(self) -> Console:
        """Where progress goes: not among what a machine reads."""
        return Console(stderr=self.as_json, quiet=self.as_json, highlight=False, soft_wrap=True)


def _validated(kind: type[Request], content: Mapping[str, Any]) -> Request:
    """Return the request that the options make up, by the rules of the API."""
    given = {name: value for name, value in content.items() if value is not None}
    if "data" in given:
        try:
            given["data"] = json.loads(given["data"])
        except ValueError as error:
            raise refusal(f"--data is not JSON: {error}.") from None
        except RecursionError:
            raise refusal("--data is nested too deeply.") from None
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        raise refusal("\n".join(_sentence(each) for each in error.errors())) from None


def _sentence(error: Mapping[str, Any]) -> str:
    member, *path = error["loc"] or ("request",)
    option = OPTION_OF_MEMBER.get(member, f"--{str(member).replace('_', '-')}")
    inside = "".join(f".{part}" for part in path if not isinstance(part, int))
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    if error["type"] == "dict_type":
        message = "must be a JSON object"
    elif error["type"] == "too_short":  # pydantic speaks of items
        message = "must not be empty"
    elif error["type"] == "too_long" and isinstance(error["input"], str):
        message = f"must have at most {error['ctx']['max_length']} characters"
    return f"{option}{inside} {message}."


def _go(request: SendRequest | BroadcastRequest, key: str | None, *, show: Show, is_asked: bool = False) -> None:
    try:
        key = None if key is None else read_key(key)
        with open_database() as (settings, sessions):
            if is_asked:
                _ask(sessions, request)
            sent = service.enqueue(
                sessions,
                payloads_of(settings),
                request,
                tenant_id=DEFAULT_TENANT_ID,
                default_ttl_seconds=settings.push_default_ttl_seconds,
                options=service.SendOptions(key),
            )
            _follow(sessions, sent, show)
    except DomainError as error:
        raise refusal(f"{error.title}. {error.detail}") from None


def _ask(sessions: SessionFactory, request: SendRequest | BroadcastRequest) -> None:
    with transaction(sessions) as session:
        drafted = new_notification(request, DEFAULT_TENANT_ID, database_now(session), default_ttl_seconds=0)
        size = size_of_audience(session, drafted)
    reached = f"{size:,} subscribers" if size != 1 else "one subscriber"
    if sys.stdin is None or not sys.stdin.isatty():  # None when it is closed
        raise refusal(f"It would reach {reached}. There is no terminal to ask on: say --yes.")
    if not typer.confirm(f'"{request.title}" would reach {reached}. Send it?', err=True):
        typer.echo("Nothing was sent.", err=True)
        raise typer.Exit(NOT_CONFIRMED)


def _follow(sessions: SessionFactory, sent: Sent | Replay, show: Show) -> None:
    """Say where the stored notification is; then how it goes, if that is to be watched."""
    body = sent.answer.body
    where = {
        "notification_id": body["notification_id"],
        "status_url": body["status_url"],
        "is_replay": isinstance(sent, Replay),
        "warnings": body.get("warnings", []),  # none where a release before this one stored the answer
    }
    try:
        if show.as_json:
            typer.echo(json.dumps(where | _as_json(sessions, where["notification_id"], show), indent=2))
        else:
            _tell(sessions, where, show)
    except KeyboardInterrupt:
        typer.echo(f"Watching has ended; sending goes on. To stop that: POST {body['status_url']}cancel", err=True)
        raise typer.Exit(STOPPED_WATCHING) from None


def _tell(sessions: SessionFactory, where: Mapping[str, Any], show: Show) -> None:
    verb = "Was sent before with this key" if where["is_replay"] else "Accepted"
    typer.echo(f"{verb}: {where['notification_id']}")
    typer.echo(f"How it goes: GET {where['status_url']}")
    for warning in where["warnings"]:
        typer.echo(f"Warning: {warning['detail']}", err=True)
    try:
        progress = _progress(sessions, where["notification_id"], show)
        if progress.is_over:
            print_outcome(sessions, progress, show.console)
        elif obstacle := obstacle_of(sessions, progress):
            typer.echo(obstacle)
    except PASSING_ERRORS:
        typer.echo(STORED_BUT_NOT_SEEN, err=True)


def _as_json(sessions: SessionFactory, notification_id: str, show: Show) -> dict[str, Any]:
    try:
        progress = _progress(sessions, notification_id, show)
        return {
            **progress.shown().model_dump(mode="json", exclude={"id"}),
            "reasons": reasons_by_status(sessions, progress),
            "obstacle": obstacle_of(sessions, progress),
        }
    except PASSING_ERRORS:
        typer.echo(STORED_BUT_NOT_SEEN, err=True)
        return {}


def _progress(sessions: SessionFactory, notification_id: str, show: Show) -> Progress:
    if show.is_watched:
        return watch(sessions, UUID(notification_id), show.console)
    with transaction(sessions) as session:
        return service.progress(session, DEFAULT_TENANT_ID, UUID(notification_id))
