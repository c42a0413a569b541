"""The pipeline: plan > claim > push > record.

Read it in this order: targeting (for whom), plan and page (a pending row for each, in batches), lanes (where there
is something to do), lease and claim (a batch, for a while), recipients and messages, run (posts it), record (what
came of it), ledger (the one statement that changes rows), closing, retry, finish. pace decides how fast a push
service may be gone at, watch sees how it answers, service_states tells all processes, traffic this one. inline.py
goes through all of it within a request, workers/loop.py outside of one.
"""
