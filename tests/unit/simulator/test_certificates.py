import socket
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.simulator import Authority, Simulator


def shake_hands(simulator: Simulator, ca_file: Path, *, host: str = "127.0.0.1", **limits: ssl.TLSVersion) -> str:
    """Return the TLS version and the protocol agreed on."""
    context = ssl.create_default_context(cafile=str(ca_file))
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, version in limits.items():
        setattr(context, name, version)
    with (
        socket.create_connection((host, simulator.port), timeout=60) as connection,
        context.wrap_socket(connection, server_hostname=host) as tls,
    ):
        return f"{tls.version()} {tls.selected_alpn_protocol()}"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_a_client_that_trusts_the_authority_trusts_every_host(
    push_service: Simulator, push_ca_file: Path, host: str
) -> None:
    assert shake_hands(push_service, push_ca_file, host=host) == "TLSv1.3 h2"


def test_tls_1_2_is_spoken_and_nothing_older(push_service: Simulator, push_ca_file: Path) -> None:
    agreed = shake_hands(push_service, push_ca_file, maximum_version=ssl.TLSVersion.TLSv1_2)

    assert agreed == "TLSv1.2 h2"


def test_a_simulator_may_speak_http1_only(push_authority: Authority, push_ca_file: Path) -> None:
    with Simulator.running(authority=push_authority, protocols=("http/1.1",)) as simulator:
        assert shake_hands(simulator, push_ca_file) == "TLSv1.3 http/1.1"


def test_the_system_does_not_trust_the_authority(push_service: Simulator) -> None:
    context = ssl.create_default_context()
    with (
        socket.create_connection(("127.0.0.1", push_service.port), timeout=60) as connection,
        pytest.raises(ssl.SSLCertVerificationError),
    ):
        context.wrap_socket(connection, server_hostname="127.0.0.1")


@pytest.mark.parametrize(
    ("kind", "complaint"),
    [
        ("expired", "certificate has expired"),
        ("untrusted", "certificate signature failure|unable to get local issuer|self-signed"),
        ("wrong_name", "IP address mismatch"),
    ],
)
def test_a_bad_certificate_is_refused_until_the_reset(
    push_service: Simulator, push_ca_file: Path, kind: str, complaint: str
) -> None:
    push_service.presents_certificate(kind)

    with pytest.raises(ssl.SSLCertVerificationError, match=complaint):
        shake_hands(push_service, push_ca_file)
    push_service.wait_until(lambda counts: counts.unfinished_handshakes == 1)
    assert push_service.counts.connections == 0
    push_service.reset()
    assert shake_hands(push_service, push_ca_file) == "TLSv1.3 h2"


def test_an_authority_is_kept_for_the_next_start(tmp_path: Path) -> None:
    directory = tmp_path / "simulator"

    first = Authority.kept_in(directory)
    second = Authority.kept_in(directory)

    assert second.certificate == first.certificate
    assert stat.S_IMODE((directory / "ca.key").stat().st_mode) == 0o600
    with Simulator.running(authority=second) as simulator:
        assert shake_hands(simulator, directory / "ca.pem") == "TLSv1.3 h2"


def test_an_authority_that_is_about_to_end_is_replaced(tmp_path: Path) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=350)

    first = Authority.kept_in(tmp_path, now=long_ago)
    second = Authority.kept_in(tmp_path)

    assert second.certificate != first.certificate
