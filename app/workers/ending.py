"""How a process that works until it is told to end learns that: by signals, and by the end of its input."""

import os
import select
import signal
from collections.abc import Callable
from types import FrameType

ENDED_BY_FORCE = 130  # as a shell says it of a program that Ctrl-C ended


class EndOfWork:
    """Comes at SIGTERM or SIGINT, or when `input_descriptor` ends. At a second SIGINT the process ends at once.

    To be made in the main thread, before there are others.
    """

    def __init__(
        self, *, input_descriptor: int | None = None, before_the_forced_end: Callable[[], None] = lambda: None
    ) -> None:
        self._is_told = False
        self._before_the_forced_end = before_the_forced_end
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        self._watched = [woken] if input_descriptor is None else [woken, input_descriptor]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def wait(self) -> None:
        select.select(self._watched, [], [])

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._is_told and number == signal.SIGINT:
            self._before_the_forced_end()
            os._exit(ENDED_BY_FORCE)
        self._is_told = True
