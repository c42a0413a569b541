"""How an app learns that its server is about to stop, while there are answers that never end by themselves."""

import signal
from collections.abc import Callable


def find_out_if_stopping() -> Callable[[], bool]:
    """Return what tells whether the server of this process was told to stop. To be called once it serves.

    The lifespan is no help: uvicorn ends it when the last answer is out, and waits for those. But the method that
    hears its signals belongs to the server, also under gunicorn and --reload, and the server notes it at once.
    Under another server, and without one, the answer is always no.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return lambda: getattr(server, "should_exit", False) is True
