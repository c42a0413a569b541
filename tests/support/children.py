"""A server's own processes, seen from outside: they may end while they are looked at."""

from contextlib import suppress

import psutil


def children_of(pid: int, *, argument: str | None = None) -> list[psutil.Process]:
    """Return the children that live, not the zombies; of these only those with the argument, if one is given."""
    living = []
    for child in psutil.Process(pid).children():
        with suppress(psutil.NoSuchProcess):  # it has ended just now
            if child.status() != psutil.STATUS_ZOMBIE and (argument is None or argument in child.cmdline()):
                living.append(child)
    return living
