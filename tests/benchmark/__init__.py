"""Measurements, each a module that runs by itself, and all together as `python -m tests.benchmark`."""

import atexit
import os
import shutil
import tempfile

# What is measured in these processes is no service's: its metrics go elsewhere, before anything is imported that
# would begin to keep them. Processes started from here inherit the place.
if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="push-benchmark-metrics-")
    atexit.register(shutil.rmtree, os.environ["PROMETHEUS_MULTIPROC_DIR"], ignore_errors=True)
