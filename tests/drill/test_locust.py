"""The load test runs as its documentation says, and touches nothing but this machine.

Always in a process of its own: importing locust patches the runtime.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import func, select

from app.db.session import SessionFactory, transaction
from app.models import DeliveryLog, DeliveryStatus, Subscription
from tests.support.api import OVERRIDES, LiveServer, LiveServerFactory

LOCUST_FILE = Path(__file__).parents[1] / "load" / "test_notifications.py"


def run_locust(directory: Path, host: str) -> "subprocess.CompletedProcess[str]":
    """Run ten users without a page; their figures are in load.json."""
    arguments = ["-f", str(LOCUST_FILE), "--host", host, "--headless", "--json-file", "load"]
    arguments += ["--users", "10", "--spawn-rate", "10", "--run-time", "10s", "--stop-timeout", "60"]
    return subprocess.run(
        [sys.executable, "-m", "locust", *arguments],
        cwd=directory,  # where no .env lies
        env={**os.environ, **OVERRIDES, "DATA_DIR": str(directory / "data")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def test_browsers_and_a_site_find_nothing_to_complain_about(
    live_server: LiveServer, sessions: SessionFactory, tmp_path: Path
) -> None:
    run = run_locust(tmp_path, live_server.url)

    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}\n{live_server.output()}"
    entries = json.loads((tmp_path / "load.json").read_text())
    assert not {entry["name"]: entry["num_failures"] for entry in entries if entry["num_failures"]}
    requests = {f"{entry['method']} {entry['name']}": entry["num_requests"] for entry in entries}
    assert requests["POST /subscriptions/"] == requests["DELETE /subscriptions/[id]/"] == 9
    assert requests["POST /notifications/send/"] >= 1
    received = re.search(r"received (\d+) messages", run.stderr)
    assert received
    with transaction(sessions) as session:
        sent = session.scalars(
            select(func.count()).select_from(DeliveryLog).where(DeliveryLog.status == DeliveryStatus.SENT)
        ).one()
        left = session.scalars(
            select(func.count()).select_from(Subscription).where(Subscription.deleted_at.is_(None))
        ).one()
    assert 1 <= sent <= int(received[1])
    assert left == 0, "browsers remove their subscriptions when they stop"


def test_a_host_elsewhere_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    run = run_locust(tmp_path, "https://push-api.example.com")

    assert run.returncode == 1
    assert "is not loopback" in run.stderr
    assert not (tmp_path / "load.json").exists()


def test_a_service_that_refuses_loopback_ends_the_run_with_advice(
    start_server: LiveServerFactory, tmp_path: Path
) -> None:
    server = start_server(PUSH_ALLOW_LOOPBACK="false")

    run = run_locust(tmp_path, server.url)

    assert run.returncode == 1
    assert "PUSH_ALLOW_LOOPBACK=true" in run.stderr
