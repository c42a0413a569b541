"""`python -m app.cli send` and `broadcast`: what they store, what people read, and what they refuse."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError
from typer.testing import CliRunner

from app import cli, cli_watch
from app.db.session import transaction
from app.delivery import drain
from app.delivery.bell import Listener
from app.ids import new_id
from app.models import DEFAULT_TENANT_ID, Notification
from app.notifications import service
from tests.support.delivery import finish_with_a_worker, received
from tests.support.waiting import until

PROJECT_ROOT = Path(__file__).parents[2]
CONTENT = ("--title", "Sale", "--body", "Now")


@pytest.fixture(autouse=True)
def environment(database_url, tmp_path, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(cli_watch, "LOOK_EVERY_SECONDS", 0.01)


def run(*arguments):
    return CliRunner().invoke(cli.cli, [*map(str, arguments)], env={"COLUMNS": "200"})


def stored(sessions):
    with transaction(sessions) as session:
        return list(session.scalars(select(Notification).order_by(Notification.id)))


def start(*arguments, **options):
    """Start the command as a process of its own; its output and its errors are one.

    It heeds Ctrl-C, also where these tests were started in the background and do not.
    """
    return start_python("-m", "app.cli", *arguments, **options)


def start_python(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - one system call, no lock
        **options,
    )


def test_a_send_is_stored_as_the_api_stores_it_and_a_worker_delivers_it(sessions, pipeline, subscribe):
    wanted, other = subscribe(2, topics=["news"]), subscribe(topics=["sport"])
    options = (
        "--url",
        "/sale",
        "--tag",
        "sale",
        "--urgency",
        "high",
        "--ttl",
        60,
        "--data",
        '{"price": 1}',
        "--app-badge",
        2,
    )

    result = run("send", *CONTENT, *options, "--topic", "news", "--topic", "weather", "--user", "7")
    finish_with_a_worker(pipeline)

    [notification] = stored(sessions)
    assert result.exit_code == 0, result.output
    assert f"Accepted: {notification.id}\n" in result.output
    assert f"GET /notifications/{notification.id}/\n" in result.output
    assert (notification.target_topics, notification.is_broadcast) == (["news", "weather"], False)
    assert (notification.urgency, notification.ttl_seconds, notification.app_badge) == ("high", 60, 2)
    assert received([*wanted, *other]) == [1, 1, 0]
    assert wanted[0].browser.received[0].json().items() >= {"title": "Sale", "data": {"price": 1}}.items()


def test_one_can_be_sent_to_subscriptions_and_for_later(sessions, subscribe):
    [subscriber] = subscribe()

    result = run("send", *CONTENT, "--subscription", subscriber.id, "--scheduled-at", "2099-01-01T00:00:00+01:00")
    later = run("send", *CONTENT, "--subscription", subscriber.id, "--scheduled-at", "2000-01-01T00:00:00Z")

    assert result.exit_code == 2, "over a year ahead"
    assert "366 days" in result.output
    assert later.exit_code == 0
    assert [each.state for each in stored(sessions)] == ["planning"], "its time has gone by"


def test_a_payload_that_is_too_large_for_some_is_sent_with_a_warning(sessions):
    large = ("--title", "Sale", "--body", "x" * 2744, "--user", "7")

    told, for_machines = run("send", *large), run("send", *large, "--json")

    assert (told.exit_code, len(stored(sessions))) == (0, 2)
    assert "Warning: The payload has " in told.stderr
    [warning] = json.loads(for_machines.stdout)["warnings"]
    assert (warning["code"], warning["limit"]) == ("large-payload", 2744)


def test_a_broadcast_without_a_terminal_wants_yes_and_says_how_many_it_would_reach(sessions, subscribe):
    subscribe(3)

    refused = run("broadcast", *CONTENT)
    none = stored(sessions)
    result = run("broadcast", *CONTENT, "--yes")

    assert (refused.exit_code, none) == (2, [])
    assert "It would reach 3 subscribers." in refused.output
    assert "--yes" in refused.output
    assert result.exit_code == 0, result.output
    assert [each.is_broadcast for each in stored(sessions)] == [True]


def test_a_broadcast_whose_standard_input_is_closed_wants_yes_too(sessions):
    process = subprocess.run(
        ["sh", "-c", 'exec "$0" -m app.cli "$@" <&-', sys.executable, "broadcast", *CONTENT],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )

    assert process.returncode == 2
    assert process.stderr == "It would reach 0 subscribers. There is no terminal to ask on: say --yes.\n"
    assert stored(sessions) == []


def test_on_a_terminal_a_broadcast_asks(sessions, subscribe):
    subscribe(3)
    person, terminal = pty.openpty()
    # One process for all the answers, as its start is what takes long.
    program = f"""
from app.cli import cli
for _ in range(3):
    try:
        cli(["broadcast", *{CONTENT}])
    except SystemExit as end:
        print("Exit code:", end.code, flush=True)
"""

    process = start_python("-c", program, stdin=terminal)
    os.write(person, b"y\nn\n\n")
    output, _ = process.communicate()
    os.close(person)
    os.close(terminal)

    sent, refused, unanswered = output.split("Exit code:")[:-1]
    assert re.findall(r"Exit code: (\d+)", output) == ["0", "1", "1"], output
    assert output.count('"Sale" would reach 3 subscribers.') == 3
    assert len(stored(sessions)) == 1
    assert "Nothing was sent." not in sent
    assert "Nothing was sent." in refused
    assert "Nothing was sent." in unanswered


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "Say to whom: --topic, --user or --subscription."),
        (("--topic", " "), "--topic must not be blank."),
        (("--user", ""), "--user must not be empty."),
        (("--subscription", "all"), "--subscription should be a valid UUID"),
        (("--user", "1", "--ttl", "-1"), "--ttl should be greater than or equal to 0."),
        (("--user", "1", "--app-badge", "-1"), "--app-badge should be greater than or equal to 0."),
        (("--user", "1", "--urgency", "soon"), "--urgency should be 'very-low', 'low', 'normal' or 'high'."),
        (("--user", "1", "--url", "ftp://example.com"), "--url must be an http or https URL"),
        (("--user", "1", "--tag", "x" * 257), "--tag must have at most 256 characters."),
        (("--user", "1", "--data", "{"), "--data is not JSON: "),
        (("--user", "1", "--data", "[1]"), "--data must be a JSON object."),
        (("--user", "1", "--data", "[" * 50_000), "--data is nested too deeply."),
        (("--user", "1", "--scheduled-at", "tomorrow"), "--scheduled-at must be a date and time like 2026-"),
        (("--user", "1", "--icon", "x" * 2000, "--image", "y" * 2000), "Shorten the largest fields."),
        (("--user", "1", "--idempotency-key", "ä"), "1 to 255 printable ASCII characters"),
    ],
)
def test_what_cannot_be_sent_is_refused_in_a_sentence(sessions, arguments, told):
    result = run("send", *CONTENT, *arguments)

    assert result.exit_code == 2
    assert told in result.output
    assert "Traceback" not in result.output
    assert stored(sessions) == []


def test_watching_ends_when_all_are_settled_and_tells_what_came_of_it(sessions, pipeline, push_service, subscribe):
    first, *_ = subscribe(3)
    first.browser.unsubscribe()
    results = []
    watching = threading.Thread(target=lambda: results.append(run("broadcast", *CONTENT, "--yes", "--watch")))

    watching.start()
    until(lambda: stored(sessions), "it is stored")
    finish_with_a_worker(pipeline)
    watching.join()

    [result] = results
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines()]
    assert ["sent", "2"] in lines
    assert ["expired", "1", "gone", "1"] in lines
    assert "Finished: 0:" in result.output


def test_watching_ends_with_a_cancelled_one(sessions, pipeline, subscribe):
    subscribe()
    results = []
    watching = threading.Thread(target=lambda: results.append(run("broadcast", *CONTENT, "--yes", "--watch")))

    watching.start()
    until(lambda: stored(sessions), "it is stored")
    service.cancel(pipeline, DEFAULT_TENANT_ID, stored(sessions)[0].id)
    watching.join()

    assert results[0].exit_code == 0
    assert "Cancelled, and all are settled" in results[0].output


def test_ctrl_c_ends_the_watching_and_not_the_sending(sessions, pipeline, subscribe):
    subscribers = subscribe(2)
    process = start("broadcast", *CONTENT, "--yes", "--watch", stdin=subprocess.DEVNULL)
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(3)]

    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    process.wait()
    finish_with_a_worker(pipeline)

    [notification] = stored(sessions)
    assert process.returncode == 130
    assert lines[2].startswith("planning: settled 0 of 0 so far")
    assert f"POST /notifications/{notification.id}/cancel" in rest
    assert "Traceback" not in rest
    assert received(subscribers) == [1, 1]


def test_a_machine_reads_json_and_nothing_else(pipeline, subscribe, sessions):
    first, *_ = subscribe(2)
    first.browser.unsubscribe()
    results = []
    arguments = ("broadcast", *CONTENT, "--yes", "--watch", "--json")
    watching = threading.Thread(target=lambda: results.append(run(*arguments)))

    watching.start()
    until(lambda: stored(sessions), "it is stored")
    finish_with_a_worker(pipeline)
    watching.join()

    told = json.loads(results[0].output)
    [notification] = stored(sessions)
    assert (
        told.items()
        >= {
            "notification_id": str(notification.id),
            "status_url": f"/notifications/{notification.id}/",
            "is_replay": False,
            "status": "sent",
            "sent": 1,
            "expired": 1,
            "reasons": {"expired": {"gone": 1}},
        }.items()
    )


def test_what_is_logged_is_not_among_what_a_machine_reads(sessions):
    """As when the workers cannot be rung, while all else goes well."""
    program = f"""
from sqlalchemy.exc import OperationalError
from app.cli import cli
from app.delivery import bell

def refuse(_sessions):
    raise OperationalError("NOTIFY", {{}}, Exception("away"))

bell._connect = refuse
cli(["send", *{CONTENT}, "--user", "1", "--json"])
"""
    process = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(PROJECT_ROOT)},
        capture_output=True,
        check=False,
        text=True,
    )

    [notification] = stored(sessions)
    assert json.loads(process.stdout)["notification_id"] == str(notification.id)
    assert "workers not rung" in process.stderr


@pytest.mark.parametrize("arguments", [(), ("--json",)])
def test_a_database_that_goes_away_after_it_is_stored_is_no_refusal(sessions, monkeypatch, arguments):
    def away(*_arguments):
        raise OperationalError("SELECT", {}, Exception("away"))

    monkeypatch.setattr(service, "progress", away)

    result = run("send", *CONTENT, "--user", "1", *arguments)

    [notification] = stored(sessions)
    assert result.exit_code == 0, result.output
    assert str(notification.id) in result.stdout
    assert "It is stored. The database is away now" in result.stderr


def test_the_same_key_sends_once(sessions):
    arguments = ("send", *CONTENT, "--user", "1", "--idempotency-key", "order-4711")

    first, second = run(*arguments), run(*arguments)
    other = run(*arguments, "--tag", "another")

    [notification] = stored(sessions)
    assert (first.exit_code, second.exit_code, other.exit_code) == (0, 0, 2)
    assert f"Was sent before with this key: {notification.id}" in second.output
    assert "The Idempotency-Key stands for another request." in other.output


def test_it_says_when_nobody_is_there_to_send_it(sessions):
    arguments = ("send", *CONTENT, "--user", "1")
    alone = run(*arguments)
    with transaction(sessions) as session:
        drain.begin(session)
    drained = run(*arguments)
    with transaction(sessions) as session:
        drain.end(session)
    listener = Listener(sessions)
    assert listener.wait(0), "a worker listens"
    heard = run(*arguments)
    listener.close()

    assert "No worker seems to run" in alone.output
    assert "drain --end" in drained.output
    assert heard.output.splitlines()[2:] == []


def test_a_worker_is_rung(sessions):
    listener = Listener(sessions)
    assert listener.wait(0), "it has begun to listen"

    run("send", *CONTENT, "--user", "1")

    assert listener.wait(60)
    listener.close()


@pytest.mark.parametrize("command", ["send", "broadcast"])
def test_without_a_database_it_says_so(monkeypatch, command):
    monkeypatch.setenv("DATABASE_URL", "postgresql://push:a-password@127.0.0.1:1/push")

    result = run(command, *CONTENT, *(["--user", new_id()] if command == "send" else ["--yes"]))

    assert result.exit_code == 2
    assert "Connection refused" in result.output
    assert "a-password" not in result.output
