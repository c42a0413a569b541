"""What people do with the service, right and wrong, while a leak is looked for.

Whoever builds a route adds a step to `STEPS`, whoever builds a command a line to `COMMANDS`.
"""

from collections.abc import Callable
from urllib.parse import quote

import httpx

from tests.drill.leaky_run import CONTENT, NOBODY_LISTENS, UNKNOWN_NAME, Run
from tests.support.api import bearer
from tests.support.browser_keys import OFF_THE_CURVE
from tests.support.waiting import until

Step = Callable[[Run], None]


def somebody_subscribes(run: Run) -> None:
    browser = run.subscribe()
    _, anonymous = run.browser("mozilla")
    visitor = run.as_user(push_anonymous=True)
    stored = run.api.call("POST", "/subscriptions/", visitor, anonymous)
    proof = {"X-Subscription-Auth": anonymous["keys"]["auth"]}
    for path in (f"/subscriptions/{stored['id']}/", f"/subscriptions/{run.subscription_ids[0]}/"):
        for who in (visitor, run.as_user("another"), run.as_service, {}):
            run.api.call("GET", path, who, headers=proof)
    run.api.call("PUT", f"/subscriptions/{stored['id']}/", visitor, {"topics": ["all"]}, headers=proof)
    assert browser.endpoint


def somebody_wants_what_is_anothers(run: Run) -> None:
    _, theirs = run.browser("apple")
    run.api.call("POST", "/subscriptions/", run.as_user(), theirs)
    _, own = run.browser("apple")
    run.api.call("POST", "/subscriptions/", run.as_user("another"), {**theirs, "keys": own["keys"]})
    assert run.api.last_status == 409


def somebody_sends_what_cannot_be_right(run: Run) -> None:
    _, subscription = run.browser()
    endpoint, keys = subscription["endpoint"], subscription["keys"]
    wrong = [
        {**subscription, "keys": {"p256dh": OFF_THE_CURVE, "auth": keys["auth"]}},
        {**subscription, "keys": {"p256dh": keys["p256dh"], "auth": keys["auth"] + "AAAA"}},
        {**subscription, "keys": {"p256dh": endpoint, "auth": endpoint}},
        {**subscription, "keys": endpoint},
        {**subscription, "topics": endpoint, "application_server_key": endpoint, "expirationTime": endpoint},
        {**subscription, "topics": [endpoint] * 101, "application_server_key": keys["auth"]},
        {**subscription, "application_server_key": keys["p256dh"]},
        {**subscription, "endpoint": endpoint.replace("https://127.0.0.1", "https://user:pass@127.0.0.1")},
        {**subscription, "endpoint": endpoint.replace("https:", "ftp:")},
        {**subscription, "endpoint": f"https://push.unknown.example/{endpoint}"},
        {**subscription, "endpoint": [endpoint]},
        {**subscription, "endpoint": f"{endpoint}\x00"},
        {"endpoint": endpoint},
        [subscription],
        endpoint,
        f'{{"endpoint": "{endpoint}", '.encode(),
    ]
    for body in wrong:
        run.api.call("POST", "/subscriptions/", run.as_user(), body)
        assert run.api.last_status in {400, 422}, (body, run.api.answers[-1])
    for members in ({endpoint: 1}, {"user_ids": endpoint}, {"subscription_ids": [endpoint]}):
        for path in ("/notifications/send/", "/notifications/broadcast/"):
            run.api.call("POST", path, run.as_service, {**CONTENT, "topics": ["all"], **members})
    run.api.call("GET", f"/subscriptions/{quote(endpoint, safe='')}/", run.as_user())
    run.api.call("GET", f"/nowhere/{quote(endpoint, safe='')}?token={quote(endpoint, safe='')}", {})
    run.api.call("GET", f"/analytics/deliveries/?date_from={quote(endpoint, safe='')}", run.as_service)


def somebody_is_not_let_in(run: Run) -> None:
    key = run.secrets.credentials["API_KEY"]
    token = run.as_user()["Authorization"].removeprefix("Bearer ")
    for who in (
        {"X-API-Key": f"{key}x"},
        {"X-API-Key": token},
        bearer(key),
        bearer(f"{token}x"),
        bearer(run.secrets.credentials["JWT_SECRET_KEY"]),
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        run.as_user(exp=1),
        run.as_user(),
        {},
    ):
        for path in (
            "/notifications/history/",
            "/notifications/by-key/" + run.secrets.personal["an Idempotency-Key"],
        ):
            run.api.call("GET", path, who)
            assert run.api.last_status in {401, 403, 429}


def push_services_fail(run: Run) -> None:
    """Once within the request, by one sender, and once by the worker, with the other one."""
    for prefer in ({}, {"Prefer": "respond-async"}):
        told = run.subscribe()
        run.push_service.answers(410, body=f"gone: {told.endpoint}", browser=run.subscribe())
        run.push_service.answers(403, body=f'{{"reason": "not for {told.endpoint}"}}', browser=told)
        run.push_service.answers(400, body=f"<title>{told.endpoint}</title>", browser=run.subscribe())
        run.push_service.answers(
            500, body=told.endpoint, headers={"location": told.endpoint}, browser=run.subscribe()
        )
        run.push_service.answers(201, headers={"location": told.endpoint}, browser=run.subscribe())
        run.push_service.redirects_to(told.endpoint, browser=run.subscribe())
        run.push_service.resets_connection(browser=run.subscribe())
        run.push_service.garbage(browser=run.subscribe())
        run.subscribe(origin=NOBODY_LISTENS)
        run.subscribe(origin=f"https://{UNKNOWN_NAME}")
        key = run.secrets.personal["an Idempotency-Key"] + str(len(prefer))
        body = {**CONTENT, "user_ids": [run.user_id], "topics": ["all"]}
        for _ in range(2):
            sent = run.api.call(
                "POST", "/notifications/send/", run.as_service, body, headers={**prefer, "Idempotency-Key": key}
            )
        run.notification_ids.append(sent["notification_id"])
        run.api.call("POST", "/notifications/send/", run.as_service, CONTENT, headers={"Idempotency-Key": key})
        assert run.api.last_status == 422
        until(lambda: not _untried(run), "every delivery was tried")
        run.api.call("GET", f"/notifications/by-key/{key}", run.as_service)
        for page in ("", "deliveries/"):
            run.api.call("GET", f"/notifications/{run.notification_ids[-1]}/{page}", run.as_service)


def _untried(run: Run) -> int:
    return int(
        run.execute("SELECT count(*) FROM push_delivery_logs WHERE status = 'pending' AND attempts = 0")[0][0]
    )


def a_push_service_shows_a_bad_certificate(run: Run) -> None:
    run.push_service.presents_certificate("expired")
    for prefer in ({}, {"Prefer": "respond-async"}):
        run.subscribe()
        sent = run.api.call(
            "POST",
            "/notifications/send/",
            run.as_service,
            {**CONTENT, "subscription_ids": run.subscription_ids[-1:]},
            headers=prefer,
        )
        run.notification_ids.append(sent["notification_id"])
    until(lambda: not _untried(run), "every delivery was tried")
    run.push_service.presents_certificate("trusted")


def somebody_moves_and_somebody_is_erased(run: Run) -> None:
    moving, moved, again = run.browser(), run.browser(), run.browser()
    stored = run.api.call("POST", "/subscriptions/", run.as_user(), moving[1])
    path = f"/subscriptions/{stored['id']}/replace"
    run.api.call("POST", path, {}, {**moved[1], "old_auth": again[1]["keys"]["auth"]})
    assert run.api.last_status == 404
    run.api.call("POST", path, {}, {**moved[1], "old_auth": moving[1]["keys"]["auth"]})
    assert run.api.last_status == 200
    run.api.call("POST", path, {}, {**moved[1], "old_auth": moving[1]["endpoint"]})
    for who in (run.as_user(), {}, run.as_service):
        run.api.call("GET", f"/users/{quote(run.user_id, safe='')}/export/", who)
        run.api.call("DELETE", f"/users/{quote(f'nobody/{run.user_id}', safe='')}/", who)


def a_browser_reports(run: Run) -> None:
    browser = run.subscribe()
    sent = {**CONTENT, "subscription_ids": run.subscription_ids[-1:]}
    run.api.call("POST", "/notifications/send/", run.as_service, sent)
    until(lambda: browser.received, "the browser has its message")
    token = run.secrets.credentials["a receipt's token"] = browser.received[0].json()["receipt"]
    reports: list[tuple[int, object]] = [
        (200, {"receipts": [{"token": token, "event": "displayed"}, {"token": token, "event": "displayed"}]}),
        (
            200,
            {
                "receipts": [
                    {"token": token, "event": "clicked", "action": "read"},
                    {"token": "x", "event": "closed"},
                ]
            },
        ),
        (403, {"receipts": [{"token": f"{token}x", "event": "displayed"}]}),
        (403, {"receipts": [{"token": token[::-1], "event": "displayed"}]}),
        (422, {"receipts": [{"token": token, "event": token}]}),
        (422, {"receipts": [{"token": [token], "event": "closed", token: token}]}),
        (422, {"receipts": [token]}),
        (422, {token: token}),
        (400, f'{{"receipts": "{token}'.encode()),
    ]
    for status, body in reports:
        run.api.call("POST", "/receipts/", {}, body)
        assert run.api.last_status == status, (status, run.api.answers[-1].text)
    run.execute("ALTER TABLE push_receipts RENAME COLUMN event TO broken")
    run.api.call("POST", "/receipts/", {}, {"receipts": [{"token": token, "event": "closed"}]})
    assert run.api.last_status == 500
    run.execute("ALTER TABLE push_receipts RENAME COLUMN broken TO event")


def something_is_broken_in_the_database(run: Run) -> None:
    """What nobody expects: a 500, whose error knows every value that was to be stored."""
    breaks = [
        ("ADD CONSTRAINT broken CHECK (id IS NULL) NOT VALID", "DROP CONSTRAINT broken"),
        ("RENAME COLUMN topics TO broken", "RENAME COLUMN broken TO topics"),
    ]
    for break_it, mend_it in breaks:
        _, subscription = run.browser()
        run.execute(f"ALTER TABLE push_subscriptions {break_it}")
        run.api.call("POST", "/subscriptions/", run.as_user(), subscription)
        assert run.api.last_status == 500
        run.api.call("GET", f"/subscriptions/{run.subscription_ids[0]}/", run.as_user())
        run.execute(f"ALTER TABLE push_subscriptions {mend_it}")
    reported = len(run.sentry.envelopes)
    run.execute("ALTER TABLE push_subscriptions RENAME COLUMN p256dh TO broken")
    body = {**CONTENT, "user_ids": [run.user_id]}
    run.api.call("POST", "/notifications/send/", run.as_service, body, headers={"Prefer": "respond-async"})
    until(lambda: len(run.sentry.envelopes) > reported, "the worker's trouble is reported")
    run.execute("ALTER TABLE push_subscriptions RENAME COLUMN broken TO p256dh")


def the_stores_go_and_come_back(run: Run) -> None:
    run.valkey.stop()
    run.api.call("GET", "/analytics/subscriptions/", run.as_service)
    run.postgres.stop()
    _, subscription = run.browser()
    run.api.call("POST", "/subscriptions/", run.as_user(), subscription)
    assert run.api.last_status == 503
    receipt = {"token": run.secrets.credentials["a receipt's token"], "event": "closed"}
    run.api.call("POST", "/receipts/", {}, {"receipts": [receipt]})
    assert run.api.last_status == 503
    run.api.call("GET", "/health/", {})
    assert run.commands(*COMMANDS[:2]) == 2
    run.postgres.start()

    def subscribes() -> bool:
        run.api.call("POST", "/subscriptions/", run.as_user(), subscription)
        return run.api.last_status == 201

    until(subscribes, "the service serves again")


def somebody_looks_at_it(run: Run) -> None:
    for path in ("/health/", "/health/ready", "/vapid/public-key", "/openapi.json", "/demo"):
        run.api.call("GET", path, {})
    run.api.call("GET", "/notifications/history/", run.as_service)
    for who, port in run.metrics_ports.items():
        run.metrics[who] = httpx.get(f"http://127.0.0.1:{port}/metrics/", trust_env=False, timeout=60).text


def an_operator_types_commands(run: Run) -> None:
    assert run.commands(*COMMANDS, ("ledger", run.notification_ids[0])) in {0, 1}


def an_operator_mistypes_settings(run: Run) -> None:
    hush = run.secrets.credentials["a mistyped secret"] = "mistyped-" + run.secrets.credentials["API_KEY"][:24]
    code = run.commands(
        ("serve",),
        DATABASE_URL=f"mysql://push:{hush}@127.0.0.1/push",
        REDIS_URL=f"redis://:{hush}@127.0.0.1:port/0",
        VAPID_PRIVATE_KEY=hush,
        SENTRY_DSN=f"https:{hush}",
        JWT_PUBLIC_KEY=hush,
    )
    assert code != 0
    assert run.commands(("ledger",), DATABASE_URL=f"postgresql://push:{hush}@127.0.0.1:1/push") == 2


COMMANDS: list[tuple[str, ...]] = [
    ("ledger",),
    ("drain", "--status"),
    ("api-keys", "list", "--json"),
    ("tenants", "list"),
    ("keys", "rotate"),
    ("keys", "status"),
    ("api-keys", "list"),
    ("tenants", "list"),
    ("quarantine", "list"),
    ("retention", "--dry-run"),
    ("broadcast", "--title", CONTENT["title"], "--body", CONTENT["body"], "--yes", "--json"),
]

STEPS: list[Step] = [
    somebody_subscribes,
    somebody_wants_what_is_anothers,
    somebody_sends_what_cannot_be_right,
    somebody_is_not_let_in,
    push_services_fail,
    a_push_service_shows_a_bad_certificate,
    somebody_moves_and_somebody_is_erased,
    a_browser_reports,
    something_is_broken_in_the_database,
    an_operator_types_commands,
    an_operator_mistypes_settings,
    somebody_looks_at_it,
    the_stores_go_and_come_back,
]
