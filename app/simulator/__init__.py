"""A push service to test against: real ones' rules over TLS, decryption by another library, scripted faults.

It imports nothing else of the app: it is an independent check of what the app sends.
"""

from app.simulator.browsers import Browser, Post, ReceivedMessage, WaitedTooLong
from app.simulator.certificates import Authority, CertificateKind
from app.simulator.counts import Counts
from app.simulator.rules import ServiceName
from app.simulator.serving import Serving, serve
from app.simulator.simulator import Simulator

__all__ = [
    "Authority",
    "Browser",
    "CertificateKind",
    "Counts",
    "Post",
    "ReceivedMessage",
    "ServiceName",
    "Serving",
    "Simulator",
    "WaitedTooLong",
    "serve",
]
