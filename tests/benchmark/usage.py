"""CPU and memory of the service's processes, seen from outside."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds so far, by whom."""

    api: float
    workers: float
    postgres: float

    @property
    def ours(self) -> float:
        return self.api + self.workers

    def __sub__(self, earlier: "Used") -> "Used":
        return Used(self.api - earlier.api, self.workers - earlier.workers, self.postgres - earlier.postgres)

    def __add__(self, other: "Used") -> "Used":
        return Used(self.api + other.api, self.workers + other.workers, self.postgres + other.postgres)


class Processes:
    """The API process, the workers, and PostgreSQL. `workers` are embedded, or a supervisor's with its id."""

    def __init__(self, api_pid: int, *, supervisor_pid: int | None, postmaster_pid: int) -> None:
        self._api = psutil.Process(api_pid)
        self._supervisor = None if supervisor_pid is None else psutil.Process(supervisor_pid)
        self._postmaster = psutil.Process(postmaster_pid)

    def used(self) -> Used:
        workers = self._workers() + ([self._supervisor] if self._supervisor is not None else [])
        return Used(cpu_seconds(self._api), sum(map(cpu_seconds, workers)), postgres_cpu_seconds(self._postmaster))

    def largest_worker_bytes(self) -> int:
        return max((_resident_bytes(worker) for worker in self._workers()), default=0)

    def _workers(self) -> list[psutil.Process]:
        parent = self._supervisor or self._api
        children: list[psutil.Process] = parent.children(recursive=True)
        return children


def cpu_seconds(process: psutil.Process) -> float:
    """Return what a process has used; 0 when it has ended."""
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def postgres_cpu_seconds(postmaster: psutil.Process) -> float:
    """Return what a PostgreSQL has used, with the processes it has had and those it has."""
    times = postmaster.cpu_times()
    ended = float(times.children_user + times.children_system)
    return ended + cpu_seconds(postmaster) + sum(map(cpu_seconds, postmaster.children()))


def postmaster_of(ask: Callable[[str], str]) -> int:
    """Return the id of a PostgreSQL's first process; `ask` returns the one value of a statement."""
    return int(ask("SELECT pg_read_file('postmaster.pid')").split("\n")[0])


def _resident_bytes(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess):
        return int(process.memory_info().rss)
    return 0
