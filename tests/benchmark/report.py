"""How the benchmarks show what they measured: a table, with one ECDH as the unit beside the microseconds."""

import argparse
import platform
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from rich import box
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: medians over the rounds."""

    name: str
    rate: float | None
    cpu_us: float


def table(title: str, rows: Iterable[Row], *, of: str, ecdh_us: float, packages: Iterable[str]) -> Table:
    """Return the table; `of` is what its rows are, `packages` are those whose versions matter."""
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    shown = Table(
        title=title,
        caption=f"Python {platform.python_version()}, {versions}; one ECDH: {ecdh_us:.0f} us",
        box=box.SIMPLE_HEAD,
    )
    shown.add_column(of)
    for column in ("deliveries/s", "CPU us each", "in ECDHs"):
        shown.add_column(column, justify="right")
    for row in rows:
        rate = "" if row.rate is None else f"{row.rate:,.0f}"
        shown.add_row(row.name, rate, f"{row.cpu_us:,.0f}", f"{row.cpu_us / ecdh_us:.1f}")
    return shown


def options(description: str, *, count: int, of_count: str) -> argparse.Namespace:
    """Return `count` and `rounds` as the command line has them, or by default."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--count", type=int, default=count, help=of_count)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()
