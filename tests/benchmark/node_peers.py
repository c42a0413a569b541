"""Senders that run on node, each in a process of its own: see node/. They are there only where node is."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from app.push.keys import VapidKey
from tests.benchmark.measuring import Cost
from tests.benchmark.push_service import PAYLOAD, SUBJECT, TTL_SECONDS, Sink, Subscriber

DIRECTORY = Path(__file__).parent / "node"
LOCK = DIRECTORY / "package-lock.json"
INSTALLED = DIRECTORY / "node_modules" / ".package-lock.json"  # npm writes it last
INSTALL_SECONDS = 120.0
STOP_SECONDS = 10.0
# node compiles what it runs often. Its cost falls by half until then, and stays.
WARM_UP_DELIVERIES = 6000
WARM_UP_AT_ONCE = 1000
NEED_PACKAGES = ("web_push",)
QUIET = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
NPM_OPTIONS = (*QUIET, "--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000")
COMPLAINT_LINES = 3


class NotHere(Exception):
    """A sender for node cannot run here; the message says why, in a few words."""


class NodeSender:
    """One of them, which has got its subscribers already; it trusts the push service's certificate and no less."""

    def __init__(
        self, module: str, subscribers: Sequence[Subscriber], vapid_key: VapidKey, push_service: Sink
    ) -> None:
        self._module = module
        self._process = subprocess.Popen(
            ["node", "main.js", module],
            cwd=DIRECTORY,
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(push_service.ca_file)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        key_pair = {"subject": SUBJECT, "public_key": vapid_key.public, "private_key": vapid_key.export_private()}
        self._say(
            {
                "subscribers": [asdict(subscriber) for subscriber in subscribers],
                "vapid": key_pair,
                "payload": PAYLOAD,
                "ttl_seconds": TTL_SECONDS,
            }
        )

    def send(self, count: int) -> Cost:
        """Send to the first so many, and return what its process took. RuntimeError when one was not accepted."""
        self._say(count)
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"node's {self._module} ended with {self._process.wait()}; see what it wrote")
        return Cost(**json.loads(answer))

    def warm_up(self) -> None:
        """Send until it is as fast as it gets, as in a process that has run for a while."""
        done = 0
        while done < WARM_UP_DELIVERIES:
            done += self.send(WARM_UP_AT_ONCE).deliveries

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _say(self, order: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()


def see_that_it_runs(module: str) -> None:
    """Install what a sender needs, in the versions of the lock file. Raises NotHere when it cannot run here."""
    if shutil.which("node") is None:
        raise NotHere("no node here")
    if module in NEED_PACKAGES and not _has_packages():
        raise NotHere("npm ci failed here")


@cache
def _has_packages() -> bool:
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK.stat().st_mtime:
        return True
    try:
        npm = subprocess.run(
            ["npm", "ci", *NPM_OPTIONS],
            cwd=DIRECTORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    else:
        if npm.returncode == 0:
            return True
        complaint = "; ".join(npm.stderr.strip().splitlines()[:COMPLAINT_LINES])
    print(f"The peers that need packages for node are left out. Is there a network? {complaint}", file=sys.stderr)
    return False


@cache
def versions() -> str:
    """Return the versions of node and its packages, for a table's caption; empty where they are not."""
    if shutil.which("node") is None:
        return ""
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    packages = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    return f"node {node.removeprefix('v')}, web-push {packages['node_modules/web-push']['version']}"
