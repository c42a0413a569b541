"""The one import of pycurl: guarded, because not every system has it, and out of the environment's reach."""

import os

__all__ = ["is_available", "pycurl"]

_KEY_LOG = "SSLKEYLOGFILE"

# libcurl looks for this variable once, with its first handle, and would write every connection's secrets there.
_key_log = os.environ.pop(_KEY_LOG, None)
try:
    import pycurl

    pycurl.Curl().close()
except ImportError:
    pycurl = None
finally:
    if _key_log is not None:
        os.environ[_KEY_LOG] = _key_log


def is_available() -> bool:
    """Tell whether there is a libcurl that can do what the sender needs: TLS, HTTP/2 and an event loop of ours."""
    if pycurl is None:
        return False
    features = pycurl.version_info()[4]
    return bool(features & pycurl.VERSION_HTTP2 and features & pycurl.VERSION_SSL)
