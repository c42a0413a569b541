"""The HTTP face of receipts: open to everybody, as the token in each receipt is what counts.

It is async and reads the body by itself: a thousand of these a second are to leave the process time for the rest.
"""

from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from app.errors import Invalid, TooLarge
from app.receipts.schemas import ReceiptIn, ReceiptsIn, ReceiptsOut
from app.receipts.service import Receipts
from app.web.problems import problem_responses
from app.web.routing import api_router

MAX_BODY_BYTES = 64 * 1024  # a hundred receipts have 30 kB

_SCHEMA: dict[str, Any] = ReceiptsIn.model_json_schema()
_SCHEMA["properties"]["receipts"]["items"] = ReceiptIn.model_json_schema()
_SCHEMA.pop("$defs")


router = api_router(prefix="/receipts", tags=["receipts"])


@router.post(
    "/",
    summary="Report what became of push messages",
    response_model=ReceiptsOut,
    responses=problem_responses(403, 422, 503),
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
)
async def report_receipts(request: Request) -> Response:
    """For service workers: 1 to 100 receipts, each with the token that its push message carried. No login.

    Answered once they are stored. Of each delivery the first `displayed`, the first `clicked` and the first
    `closed` count; one that was displayed is `delivered`, whatever was known before. The body is read as JSON
    whatever its Content-Type says: as `text/plain` a page of any origin may send it without a preflight.
    """
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise TooLarge(f"The body is larger than {MAX_BODY_BYTES} bytes.")
    receipts: Receipts = request.app.state.receipts
    told = await receipts.report(_read(body).receipts)
    return Response(told.model_dump_json(), media_type="application/json")


def _read(body: bytes) -> ReceiptsIn:
    try:
        return ReceiptsIn.model_validate_json(body)
    except ValidationError as error:
        found = error.errors(include_url=False)
    if any(not item["loc"] and item["type"] != "json_invalid" for item in found):
        raise Invalid('Send an object with a list: {"receipts": [...]}.')
    raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found])
