"""Every benchmark, one after the other, and the goals that they speak for in one table.

Run: python -m tests.benchmark [PART ...], or `make bench` for all: about nine minutes on two cores. Each part is a
process of its own: none has another's memory, and one that fails does not keep the others from being run.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmark import report

PARTS = ("sender", "pipeline", "processes", "database", "distance", "scale", "api", "receipts")
LONGEST_SECONDS = 900.0  # for one part, on a slow machine
STOP_SECONDS = 60.0


def main() -> int:
    parser = argparse.ArgumentParser(
        "python -m tests.benchmark", description="Measure deliveries beside peers, on this machine only."
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"one of {', '.join(PARTS)}; default: all")
    parts = parser.parse_args().parts or PARTS
    if unknown := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    console, began, failed = report.new_console(), time.monotonic(), []
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as file:
        for part in parts:
            if not _run(part, Path(file.name)):
                failed.append(part)
        goals = report.goals_in(Path(file.name))
    console.print(report.goal_table(goals))
    console.print(f"All of it took {(time.monotonic() - began) / 60:.0f} minutes.")
    if failed:
        console.print(f"These parts failed, and said why above: {', '.join(failed)}.", style="bold red")
    return 1 if failed else 0


def _run(part: str, goals_to: Path) -> bool:
    """Run a part with this terminal as its own, and tell whether it came to its end."""
    # Warnings are for tests; here they would stand between the tables.
    command = [sys.executable, "-W", "ignore", "-m", f"tests.benchmark.{part}", "--goals-to", str(goals_to)]
    with subprocess.Popen(command) as process:
        try:
            return process.wait(LONGEST_SECONDS) == 0
        except subprocess.TimeoutExpired:
            print(f"{part} took more than {LONGEST_SECONDS:g} s", file=sys.stderr)
            process.send_signal(signal.SIGINT)  # so that it ends what it has started, too
            return False
        except KeyboardInterrupt:
            process.wait(STOP_SECONDS)  # it has heard that as well, and ends likewise
            raise


if __name__ == "__main__":
    sys.exit(main())
