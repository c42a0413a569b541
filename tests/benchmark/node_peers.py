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
QUIET = ("--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


class NotHere(Exception):
    """The senders for node cannot run here; the message says why, in a few words."""


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


@cache
def install() -> None:
    """See that what node/package.json asks for is installed, in the versions of its lock file. Raises NotHere."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NotHere("no node here")
    if INSTALLED.exists() and INSTALLED.stat().st_mtime >= LOCK.stat().st_mtime:
        return
    try:
        npm = subprocess.run(
            ["npm", "ci", *QUIET],
            cwd=DIRECTORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        complaint = npm.stderr.strip() if npm.returncode else ""
    except subprocess.TimeoutExpired:
        complaint = f"nothing, for {INSTALL_SECONDS:g} s"
    if complaint:
        print(f"The peers on node are left out: npm cannot install {DIRECTORY.name}/package.json.", file=sys.stderr)
        print(f"Is there a network? npm said: {complaint}", file=sys.stderr)
        raise NotHere("npm ci failed here")


@cache
def versions() -> str:
    """Return the versions of node and its packages, for a table's caption; empty where they are not."""
    try:
        install()
    except NotHere:
        return ""
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    packages = json.loads(LOCK.read_text(encoding="utf-8"))["packages"]
    return f"node {node.removeprefix('v')}, web-push {packages['node_modules/web-push']['version']}"
