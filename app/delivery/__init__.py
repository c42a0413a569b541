"""The pipeline: plan > claim > push > record.

Read it in this order: targeting (for whom), plan (a pending row for each, in batches), claim (a batch, for the
length of a lease), run (posts it), record (what came of it), ledger (the one statement that changes rows), retry,
finish. inline.py goes through all of it within a request, workers/loop.py outside of one.
"""
