"""What service workers send, and what they get back. Unknown members are refused."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, model_validator

from app.delivery.report import Event
from app.delivery.token import TOKEN_CHARACTERS
from app.web.text import PlainText

MAX_RECEIPTS = 100
MAX_ACTION_CHARACTERS = 100

RefusedReason = Literal["invalid", "expired", "unknown"]


class ReceiptIn(BaseModel):
    """One event of one delivery."""

    model_config = ConfigDict(extra="forbid")

    token: Annotated[
        str, Field(description=f"The `receipt` of the push message: {TOKEN_CHARACTERS} characters, base64url.")
    ]
    event: Annotated[Event, WithJsonSchema({"type": "string", "enum": list(Event)})]
    action: Annotated[
        PlainText | None,
        Field(max_length=MAX_ACTION_CHARACTERS, description="The button that was clicked, if any."),
    ] = None
    seconds_ago: Annotated[
        float,
        Field(
            ge=0,
            allow_inf_nan=False,
            strict=True,
            description="How long before sending this it happened, by the browser's own clock.",
        ),
    ] = 0.0

    @model_validator(mode="after")
    def _only_clicks_are_on_buttons(self) -> Self:
        if self.action and self.event is not Event.CLICKED:
            raise ValueError("only what was clicked has an action")
        return self


class ReceiptsIn(BaseModel):
    """What a service worker has to report, in any order."""

    model_config = ConfigDict(extra="forbid")

    receipts: Annotated[list[ReceiptIn], Field(min_length=1, max_length=MAX_RECEIPTS)]


class RefusedOut(BaseModel):
    """A receipt that counts for nothing, and never will: `unknown` are deliveries that are not kept any more."""

    index: int = Field(description="Its place in the request, from 0.")
    reason: RefusedReason


class ReceiptsOut(BaseModel):
    """What became of them: accepted + repeated + len(refused) is how many were sent."""

    accepted: int
    repeated: int = Field(description="Reported before: each event of a delivery counts once.")
    refused: list[RefusedOut]
