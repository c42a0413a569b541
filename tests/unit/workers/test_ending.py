"""How a process learns that it is to end: seen from outside, in small processes."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PROJECT_ROOT = Path(__file__).parents[3]
TIMEOUT_SECONDS = 60
# Works until told to end, says so, and is done only when its input has ended.
PROGRAM = """
import sys
from app.workers.ending import EndOfWork
end = EndOfWork(**({"input_descriptor": 0} if "input" in sys.argv else {}),
                before_the_forced_end=lambda: print("by force", flush=True))
print("works", flush=True)
end.wait()
print("ends", flush=True)
sys.stdin.read()
"""

Program = subprocess.Popen[str]


@pytest.fixture
def start() -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: str) -> Program:
        program = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments],
            cwd=PROJECT_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(program)
        assert said(program) == "works"
        return program

    yield start
    for program in started:
        program.kill()
        with program:  # closes its pipes, and waits for it
            pass


def said(program: Program) -> str:
    assert program.stdout is not None
    return program.stdout.readline().strip()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_it_finish(start: Callable[..., Program], how: signal.Signals) -> None:
    program = start("input")

    program.send_signal(how)

    assert said(program) == "ends"
    program.communicate(timeout=TIMEOUT_SECONDS)
    assert program.returncode == 0


def test_the_end_of_its_input_does(start: Callable[..., Program]) -> None:
    program = start("input")

    output, _ = program.communicate(timeout=TIMEOUT_SECONDS)

    assert (output, program.returncode) == ("ends\n", 0)


def test_without_an_input_to_watch_its_end_means_nothing(start: Callable[..., Program]) -> None:
    program = start()
    assert program.stdin is not None
    program.stdin.close()

    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0.2)


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_a_ctrl_c_while_it_finishes_ends_it_at_once(start: Callable[..., Program], first: signal.Signals) -> None:
    program = start("input")
    program.send_signal(first)
    assert said(program) == "ends"

    program.send_signal(signal.SIGINT)

    assert said(program) == "by force"
    assert program.wait(TIMEOUT_SECONDS) == 130


def test_a_second_sigterm_leaves_it_to_finish(start: Callable[..., Program]) -> None:
    program = start("input")
    program.send_signal(signal.SIGTERM)
    assert said(program) == "ends"

    program.send_signal(signal.SIGTERM)

    program.communicate(timeout=TIMEOUT_SECONDS)
    assert program.returncode == 0
