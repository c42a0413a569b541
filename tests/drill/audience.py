"""Who is sent to in a drill: thousands of subscriptions, each with an endpoint of its own, copied in at once."""

import io
import secrets
from base64 import urlsafe_b64encode
from hashlib import sha256
from urllib.parse import urlsplit
from uuid import UUID

import psycopg2
from alembic import command
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from app.db.session import create_sessions, transaction
from app.ids import new_id
from app.keyring.service import Keyring
from app.models import DEFAULT_TENANT_ID
from tests.drill.push_service import PushService
from tests.support.api import SECRET_KEY
from tests.support.databases import alembic_config, create_database, dispose

KEYS = 200  # made and shared: a drill is about what is sent to whom, not about keys
SINCE = "2026-01-01T00:00:00Z"
ONE_IN = 10  # so many of them is at the second push service

_COLUMNS = "id, tenant_id, endpoint, endpoint_hash, endpoint_host, p256dh, auth, vapid_key_id, created_at"


def database_with(server_url: str, name: str, push_service: PushService, count: int) -> str:
    """Create a migrated database in which so many are subscribed, and return its URL."""
    url = create_database(server_url, name)
    command.upgrade(alembic_config(url), "head")
    sessions = create_sessions(url)
    with transaction(sessions) as session:
        key_id = Keyring(SECRET_KEY).synchronise(session, None).id
    dispose(sessions)
    subscribe(url, push_service, count, vapid_key_id=key_id)
    return url


def subscribe(database_url: str, push_service: PushService, count: int, *, vapid_key_id: UUID) -> None:
    """Subscribe so many browsers, a tenth of them at the second push service."""
    keys = [(new_p256dh(), _base64url(secrets.token_bytes(16))) for _ in range(KEYS)]
    lines = io.StringIO()
    for number in range(count):
        url = push_service.url if number % ONE_IN else push_service.second_url
        endpoint = f"{url}/fcm/{number:x}"  # short: the sink has to read every one
        p256dh, auth = keys[number % KEYS]
        digest = sha256(endpoint.encode()).hexdigest()
        whom = (new_id(), DEFAULT_TENANT_ID, endpoint, f"\\\\x{digest}", urlsplit(url).netloc)
        lines.write("\t".join(map(str, (*whom, p256dh, auth, vapid_key_id, SINCE))) + "\n")
    lines.seek(0)
    connection = psycopg2.connect(database_url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.copy_expert(f"COPY push_subscriptions ({_COLUMNS}) FROM STDIN", lines)
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE push_subscriptions")
    finally:
        connection.close()


def new_p256dh() -> str:
    public_key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return _base64url(public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _base64url(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()
