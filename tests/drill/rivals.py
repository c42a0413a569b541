"""Processes that run the same batches at the same moment: python -m tests.drill.rivals COUNT < BATCH_IDS.

A barrier lets all of them begin each batch together. Their settings are those of the environment.
"""

import multiprocessing
import sys
from multiprocessing.synchronize import Barrier
from uuid import UUID

from app.delivery.run import run_batch
from app.settings import load_settings
from app.workers.opening import close_pipeline, endpoint_policy_of, open_pipeline

PATIENCE_SECONDS = 120.0


def run_all(batch_ids: list[UUID], barrier: Barrier) -> None:
    settings = load_settings()
    pipeline = open_pipeline(settings, endpoint_policy_of(settings))
    for batch_id in batch_ids:
        barrier.wait(PATIENCE_SECONDS)
        run_batch(pipeline, batch_id)
    close_pipeline(pipeline)


def main() -> int:
    count = int(sys.argv[1])
    batch_ids = [UUID(line) for line in sys.stdin.read().split()]
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(count)
    rivals = [spawn.Process(target=run_all, args=(batch_ids, barrier)) for _ in range(count)]
    for rival in rivals:
        rival.start()
    for rival in rivals:
        rival.join()
    return max(abs(rival.exitcode or 0) for rival in rivals)


if __name__ == "__main__":
    sys.exit(main())
