"""What a browser offers when it subscribes: between the schema that read it and the service that stores it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Offer:
    """What a browser subscribes with. The keys are canonical (app.push.keys); topics None keeps those stored."""

    endpoint: str
    p256dh: str
    auth: str
    expires_at: datetime | None = None
    topics: list[str] | None = None
    enabled: bool = True
    application_server_key: str | None = None
