"""What deliveries took in a process, and what one ECDH does: the unit that machines have in common."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec


@dataclass(frozen=True, slots=True)
class Cost:
    """What deliveries took in one process."""

    deliveries: int
    wall_seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.deliveries / self.wall_seconds

    @property
    def cpu_us(self) -> float:
        return self.cpu_seconds * 1e6 / self.deliveries


@contextmanager
def measured(deliveries: int) -> Iterator[Callable[[], Cost]]:
    """Measure the block, which makes so many deliveries; what is yielded tells the cost after it."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield lambda: Cost(deliveries, *took)
    took = (time.perf_counter() - wall, time.process_time() - cpu)


def ecdh_us(times: int = 2000) -> float:
    """Return the CPU time of one ECDH on this core, the unit in which our goals are written."""
    private_key, peer = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    public_key = peer.public_key()
    began = time.process_time()
    for _ in range(times):
        private_key.exchange(ec.ECDH(), public_key)
    return (time.process_time() - began) * 1e6 / times
