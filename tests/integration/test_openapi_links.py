"""Schemathesis along the links of the OpenAPI document: what one answer gives, the next request takes."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, ClassVar, cast

import hypothesis
import pytest
import schemathesis
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth

from app.db.base import Base
from app.db.session import transaction
from tests.support.api import SERVICE_HEADERS
from tests.support.browser_keys import a_subscription, browser_keys
from tests.support.fuzzing import examples
from tests.support.schema import TOO_STRICT, Stage, schema_on, served_on

AnyCase = schemathesis.Case[Any]

USUAL_WALKS = 6
MOST_STEPS = 12
# Whether each request needs credentials is tried without walks, at a quarter of the requests.
EXCLUDED = [*TOO_STRICT, ignored_auth]
KEPT_TABLES = {"push_tenants", "push_vapid_keys"}

stage = Stage()
schema = schema_on(stage, usual_examples=USUAL_WALKS)


@pytest.fixture(scope="module", autouse=True)
def served_app(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with served_on(stage, module_database_url, tmp_path_factory.mktemp("data")):
        yield


# Without the events: those of a notification that nobody sends never end.
class Walk(schema.exclude(path_regex="/events$").as_state_machine()):  # type: ignore[misc]
    """Subscribe, change, replace, read, leave; send, read, cancel: in any order, each of what was there before."""

    succeeded: ClassVar[Counter[str]] = Counter()

    def setup(self) -> None:
        # Each walk begins with nothing stored: hypothesis wants the same answers to the same steps.
        self.auth_of: dict[str, str] = {}
        with transaction(stage.sessions) as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name not in KEPT_TABLES:
                    session.execute(table.delete())

    def get_call_kwargs(self, case: AnyCase) -> dict[str, Any]:
        return {"headers": dict(SERVICE_HEADERS)}

    def before_call(self, case: AnyCase) -> None:
        if case.meta is None or case.meta.generation.mode is not GenerationMode.NEGATIVE:
            self._make_it_succeed(case)

    def after_call(self, response: Any, case: AnyCase) -> None:
        super().after_call(response, case)
        if response.status_code < 300:
            operation = case.operation.definition.raw["operationId"]
            self.succeeded[operation] += 1
            if operation in {"subscriptions_subscribe", "subscriptions_replace_subscription"}:
                body = cast(dict[str, Any], case.body)
                self.auth_of[response.json()["id"]] = body["keys"]["auth"]

    def validate_response(self, response: Any, case: AnyCase, *_: Any, **kwargs: Any) -> None:
        case.validate_response(response, excluded_checks=EXCLUDED, transport_kwargs=kwargs, recorder=self.recorder)

    def _make_it_succeed(self, case: AnyCase) -> None:
        """Give a request a body that is good beyond what a schema can say, one of a few."""
        number = len(str(case.body)) % 3
        case.headers.pop("X-Give-Up-At", None)
        operation = case.operation.definition.raw["operationId"]
        if operation.startswith("notifications_"):
            case.headers.setdefault("Idempotency-Key", f"{operation} {number}")
        match operation:
            case "subscriptions_subscribe":
                case.body = a_subscription(2 + number, topics=["blog"])
            case "subscriptions_replace_subscription":
                old_auth = self.auth_of.get(str(case.path_parameters["subscription_id"]), browser_keys().auth)
                case.body = a_subscription(5 + number, old_auth=old_auth)
            case "notifications_send_notification":
                case.body = {"title": "Hello", "body": "World", "topics": ["blog"]}
            case "notifications_broadcast_notification":
                case.body = {"title": "Hello", "body": "World"}
                case.headers["Prefer"] = "respond-async"


@pytest.mark.hypothesis
def test_no_walk_along_the_links_contradicts_the_document() -> None:
    Walk.succeeded.clear()

    Walk.run(
        settings=hypothesis.settings(
            max_examples=examples(USUAL_WALKS),
            stateful_step_count=MOST_STEPS,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
    )

    linked = {name for links in _links().values() for name in links}
    # Most of them: which, is a matter of the document and of chance.
    assert len(linked & set(Walk.succeeded)) > len(linked) / 2


def test_what_was_stored_or_sent_links_to_all_that_can_be_done_with_it() -> None:
    links = _links()

    assert links["subscriptions_subscribe"] == _that_take("subscription_id")
    assert links["notifications_broadcast_notification"] == _that_take("notification_id") | _that_take("key")
    assert links["notifications_send_notification"] == _that_take("notification_id") | _that_take("key")
    assert links["notifications_list_history"] == _that_take("notification_id")


def _operations() -> list[dict[str, Any]]:
    return [operation for path in stage.app.openapi()["paths"].values() for operation in path.values()]


def _links() -> dict[str, set[str]]:
    """Return to which operations the answers of each one link."""
    return {
        operation["operationId"]: {
            link["operationId"]
            for answer in operation["responses"].values()
            for link in answer.get("links", {}).values()
        }
        for operation in _operations()
    }


def _that_take(name: str) -> set[str]:
    return {
        operation["operationId"]
        for operation in _operations()
        if ("path", name) in {(each["in"], each["name"]) for each in operation.get("parameters", [])}
    }
