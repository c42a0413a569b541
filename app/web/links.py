"""The links of the OpenAPI document: what an answer gives that other operations take, such as an id.

A client can follow them, and so does the test that walks the API from answer to answer.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class _Given:
    """What the successful answers of an operation give: a parameter, and where in the exchange it stands."""

    by: str  # an operationId
    parameter: str
    expression: str
    along_with: Mapping[str, str] = field(default_factory=dict)


_GIVEN = (
    _Given("subscriptions_subscribe", "path.subscription_id", "$response.body#/id"),
    _Given("notifications_send_notification", "path.notification_id", "$response.body#/notification_id"),
    _Given("notifications_broadcast_notification", "path.notification_id", "$response.body#/notification_id"),
    _Given("notifications_send_notification", "path.key", "$request.header.Idempotency-Key"),
    _Given("notifications_broadcast_notification", "path.key", "$request.header.Idempotency-Key"),
    _Given("notifications_list_history", "path.notification_id", "$response.body#/items/0/id"),
    _Given(
        "notifications_list_deliveries",
        "query.cursor",
        "$response.body#/next_cursor",
        {"path.notification_id": "$request.path.notification_id"},
    ),
)


def add_links(document: dict[str, Any]) -> None:
    """Link each operation that gives a parameter to all that take it."""
    operations = {
        operation["operationId"]: operation for path in document["paths"].values() for operation in path.values()
    }
    for given in _GIVEN:
        for name in _takers(operations, given):
            link = {"operationId": name, "parameters": {**given.along_with, given.parameter: given.expression}}
            for response in _successes(operations[given.by]):
                response.setdefault("links", {})[name] = link


def _takers(operations: Mapping[str, dict[str, Any]], given: _Given) -> Iterator[str]:
    wanted = {given.parameter, *given.along_with}
    for name, operation in operations.items():
        if wanted <= {f"{each['in']}.{each['name']}" for each in operation.get("parameters", ())}:
            yield name


def _successes(operation: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for status, response in operation["responses"].items():
        if status.startswith("2") and "content" in response:
            yield response
