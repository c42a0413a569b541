"""gunicorn in production: `gunicorn -c docker/gunicorn.conf.py app.main:app`.

Options on the command line and in GUNICORN_CMD_ARGS win over this file; so does WEB_CONCURRENCY, the number of
workers.
"""

import os
import sys
from pathlib import Path
from typing import Any

from uvicorn_worker import UvicornWorker

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.settings import SettingsError, get_settings

try:
    from app.observability import processes
    from app.observability.logging import stdlib_config
    from app.web.http_protocol import BoundedHttp
    from app.workers.cores import available_cores

    logconfig_dict = stdlib_config(get_settings())
except SettingsError as error:
    sys.exit(f"{error}")


class Worker(UvicornWorker):  # type: ignore[misc]
    """uvicorn with bounds on what a client sends, and without its banner.

    X-Forwarded-For is left to the app, which believes TRUSTED_PROXIES; uvicorn believes all that is on loopback.
    """

    CONFIG_KWARGS = {  # noqa: RUF012
        **UvicornWorker.CONFIG_KWARGS,
        "http": BoundedHttp,
        "server_header": False,
        "proxy_headers": False,
        "access_log": False,
    }


bind = "0.0.0.0:8001"  # a container's port: what is published of it, the deployment decides
worker_class = Worker
if "WEB_CONCURRENCY" not in os.environ:
    workers = available_cores()
preload_app = False  # each worker opens its own connections

# A worker that shows no life for so long is killed. Requests do not count: they run beside the event loop.
timeout = 60
# What requests under way get when a worker is to stop. More than INLINE_TIMEOUT_SECONDS, less than a container's
# usual grace.
graceful_timeout = 25
# Longer than nginx keeps an idle connection to us (60 s), or it would reuse one that we are just closing.
keepalive = 75

if Path("/dev/shm").is_dir():  # noqa: S108 - gunicorn's own heartbeat files; on a disk they can block a worker
    worker_tmp_dir = "/dev/shm"  # noqa: S108
control_socket_disable = True  # it would be written below $HOME


def on_starting(server: Any) -> None:  # noqa: ARG001
    """The master is there as long as the service, so the counts of workers that went are kept as long."""
    processes.enter()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Keep a dead worker's counts and drop its gauges."""
    processes.fold_the_dead()
