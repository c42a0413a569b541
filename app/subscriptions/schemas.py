"""What subscribers send and see. The keys leave here in canonical form; the endpoint is the service's to check."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, model_validator
from pydantic.config import JsonDict

from app.push.endpoint import MAX_ENDPOINT_CHARACTERS
from app.push.keys import normalise_application_server_key, normalise_auth, normalise_p256dh
from app.subscriptions.offer import Offer
from app.web.text import NonBlankText, PlainText

MAX_TOPICS = 100
MAX_TOPIC_CHARACTERS = 100
MAX_KEY_CHARACTERS = 1024
LAST_MILLISECOND = 253_402_300_799_999  # of the year 9999

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# RFC 8291 appendix A: a browser's keys that everybody may know.
_EXAMPLE: JsonDict = {
    "endpoint": "https://updates.push.services.mozilla.com/wpush/v2/example",
    "expirationTime": None,
    "keys": {
        "p256dh": "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4",
        "auth": "BTBZMqHH6r4Tts7J_aSIgg",
    },
    "topics": ["blog"],
}


def _without_repeats(topics: list[str]) -> list[str]:
    return list(dict.fromkeys(topics))


Topic = Annotated[
    NonBlankText,
    Field(max_length=MAX_TOPIC_CHARACTERS, json_schema_extra={"pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}),
    AfterValidator(str.strip),
]
Topics = Annotated[
    list[Topic],
    Field(max_length=MAX_TOPICS, description="Audience topics. Trimmed; repeats are dropped, the order is kept."),
    AfterValidator(_without_repeats),
]
P256dh = Annotated[
    PlainText,
    Field(
        max_length=MAX_KEY_CHARACTERS,
        description="The browser's public key: 65 bytes, a point on P-256, base64url.",
    ),
    AfterValidator(normalise_p256dh),
]
Auth = Annotated[
    PlainText,
    Field(max_length=MAX_KEY_CHARACTERS, description="The browser's authentication secret: 16 bytes, base64url."),
    AfterValidator(normalise_auth),
]


class BrowserKeys(BaseModel):
    p256dh: P256dh
    auth: Auth


class SubscriptionIn(BaseModel):
    """What `PushSubscription.toJSON()` gives, or the same with p256dh and auth beside the endpoint."""

    # Browsers add members of their own: unknown ones are ignored here, and only here.
    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "anyOf": [{"required": ["keys"]}, {"required": ["p256dh", "auth"]}],
            "examples": [_EXAMPLE],
        },
    )

    endpoint: Annotated[PlainText, Field(min_length=1, max_length=MAX_ENDPOINT_CHARACTERS)]
    keys: BrowserKeys | None = None
    p256dh: P256dh | None = None
    auth: Auth | None = None
    expiration_time: float | None = Field(
        default=None,
        alias="expirationTime",
        strict=True,
        ge=0,
        le=LAST_MILLISECOND,
        allow_inf_nan=False,
        description="When the browser lets the subscription end: milliseconds since 1970, as toJSON() gives it.",
    )
    topics: Topics | None = Field(default=None, description="Left out, those already stored stay.")
    enabled: StrictBool = True
    application_server_key: (
        Annotated[str, Field(max_length=MAX_KEY_CHARACTERS), AfterValidator(normalise_application_server_key)]
        | None
    ) = Field(
        default=None,
        description="The key the browser subscribed with, when it may not be the one of GET /vapid/public-key.",
    )

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if self.keys is None:
            if self.p256dh is None or self.auth is None:
                raise ValueError(
                    "keys is missing: send keys as PushSubscription.toJSON() gives them, p256dh and auth"
                )
            self.keys = BrowserKeys(p256dh=self.p256dh, auth=self.auth)
        return self

    def to_offer(self) -> Offer:
        assert self.keys is not None  # _has_keys
        milliseconds = self.expiration_time
        return Offer(
            endpoint=self.endpoint,
            p256dh=self.keys.p256dh,
            auth=self.keys.auth,
            expires_at=None if milliseconds is None else _EPOCH + timedelta(milliseconds=milliseconds),
            topics=self.topics,
            enabled=self.enabled,
            application_server_key=self.application_server_key,
        )


class ReplacementIn(SubscriptionIn):
    """A renewed subscription as `PushSubscription.toJSON()` gives it, and the secret of the one before."""

    model_config = ConfigDict(
        extra="ignore",
        json_schema_extra={
            "anyOf": [{"required": ["keys"]}, {"required": ["p256dh", "auth"]}],
            "examples": [{**_EXAMPLE, "old_auth": "DGv6ra1nlYgDCS1FRnbzlw"}],
        },
    )

    old_auth: Auth = Field(description="The auth secret stored until now, the proof of whose subscription it is.")

    @property
    def wants_enabled(self) -> bool | None:
        """Whether it is to be enabled; None when the request does not say."""
        return self.enabled if "enabled" in self.model_fields_set else None


class SubscriptionChange(BaseModel):
    """New topics, which replace the stored ones, and whether notifications are wanted. One of them or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": ["topics"], "properties": {"topics": {"type": "array"}}},
                {"required": ["enabled"], "properties": {"enabled": {"type": "boolean"}}},
            ]
        },
    )

    topics: Topics | None = None
    enabled: StrictBool | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.topics is None and self.enabled is None:
            raise ValueError("nothing to change: send topics, enabled or both")
        return self


class SubscriptionOut(BaseModel):
    """What is stored. With `gone_at`, its push service dropped it: the browser must subscribe again."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    endpoint: str
    p256dh: str
    auth: str | None = Field(
        description="Null for an API key that may only read: with it one can replace the subscription."
    )
    topics: list[str]
    enabled: bool
    user_id: str | None
    created_at: datetime
    updated_at: datetime
    last_used: datetime | None = Field(description="When its push service last accepted a message.")
    gone_at: datetime | None


class SubscribedOut(SubscriptionOut):
    """A subscription, and whether this request made it."""

    created: bool
