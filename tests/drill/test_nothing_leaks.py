"""A full run of the real service; then its output, metrics, errors and reports are searched for every secret."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from app.db.embedded import new_scratch_directory
from app.simulator import Simulator
from tests.drill.leaks import SentryCollector, search
from tests.drill.leaky_run import Run
from tests.drill.leaky_steps import STEPS
from tests.drill.service import Say
from tests.support.databases import create_database, running_postgres
from tests.support.valkey import valkey_server


@pytest.fixture
def run(tmp_path: Path, push_service: Simulator) -> Iterator[Run]:
    """Stores with passwords, push services and Sentry, without any process of the service yet."""
    with (
        running_postgres(new_scratch_directory(), durable=True) as postgres,
        valkey_server() as valkey,
        SentryCollector.running() as sentry,
    ):
        run = Run(
            directory=tmp_path,
            database_url=create_database(postgres.url, "push"),
            postgres=postgres,
            valkey=valkey,
            push_service=push_service,
            sentry=sentry,
        )
        with closing(redis.Redis.from_url(valkey.url)) as operator:
            operator.config_set("requirepass", run.secrets.credentials["REDIS_PASSWORD"])
        yield run


def test_nothing_secret_gets_out(run: Run, say: Say) -> None:
    with run.api_and_worker():
        for step in STEPS:
            step(run)
            say(step.__name__.replace("_", " "))

    assert "\n".join(str(find) for find in run.finds()) == ""
    assert run.sentry.envelopes, "errors were reported"
    statuses = {answer.status for answer in run.api.answers}
    assert statuses >= {200, 201, 202, 400, 401, 403, 404, 409, 422, 500, 503}
    api, worker = [path.read_text() for path in run.outputs.values()][:2]
    assert "[debug" in api
    assert "[error" in worker


@pytest.mark.parametrize("length", [16, 43, 200])
def test_the_search_finds_what_is_there(length: int) -> None:
    value = ("0123456789/abcdefghijklmnopqrstuvwxyz:ABCDEFGHIJKLMNOPQRSTUVWXYZ-_" * 4)[:length]

    assert list(search({"it": value}, "here", f"before {value} after"))
    assert list(search({"it": value}, "here", f"?token={quote(value, safe='')}".encode()))
    assert not list(search({"it": value}, "here", value[:10]))
