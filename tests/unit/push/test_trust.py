import ssl
from pathlib import Path

import certifi
import pytest

from app.push import trust
from app.push.trust import ca_bundle, client_tls


def test_the_operators_bundle_comes_first(tmp_path: Path) -> None:
    assert ca_bundle(tmp_path / "ca.pem") == tmp_path / "ca.pem"


def test_the_systems_bundle_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "system.pem"
    bundle.touch()
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", (tmp_path / "missing.pem", bundle))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))

    assert ca_bundle(None) == bundle


def test_a_system_without_a_bundle_gets_certifis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "_SYSTEM_BUNDLES", (tmp_path / "missing.pem",))

    assert ca_bundle(None) == Path(certifi.where())


def test_certificates_and_host_names_are_checked() -> None:
    context = client_tls(None)

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.keylog_filename is None
