"""The doorbell: wakes this process's worker when there is something to do. Missing it costs time, nothing else."""

import threading


class Bell:
    """Rung by requests, heard by the worker. Rings while nobody listens are heard at the next wait."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def wait(self, timeout_seconds: float) -> None:
        """Return when the bell is rung, or after the timeout: the worker looks for itself then."""
        self._rung.wait(timeout_seconds)
        self._rung.clear()
