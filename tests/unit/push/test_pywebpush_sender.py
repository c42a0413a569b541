"""What only this adapter has; the rest is the contract of every sender, in tests/integration/sender_contract."""

from pathlib import Path
from typing import Any

from app.push.address import CheckedAddress
from app.push.connection import PushSession
from app.push.sender import Timeouts
from app.simulator import Simulator


def test_nobody_is_trusted_beside_the_operators_authority(push_service: Simulator, push_ca_file: Path) -> None:
    session = PushSession(
        resolve=lambda host, port: [CheckedAddress(host, port, host)],
        ca_file=push_ca_file,
        timeouts=Timeouts(),
        connections=1,
    )

    with session.post(push_service.url, stream=True) as response:
        connection: Any = response.raw.connection
        trusted = connection.sock.context.cert_store_stats()["x509_ca"]
    session.close()

    assert trusted == 1
