import logging
from pathlib import Path

import pytest

from app.push import curl_library
from app.push.curl_sender import CurlSender
from app.push.endpoint import EndpointPolicy
from app.push.factory import SENDER_KINDS, create_sender
from app.push.pywebpush_sender import PywebpushSender

SUBJECT = "mailto:push@example.com"


@pytest.mark.parametrize(("kind", "adapter"), [("curl", CurlSender), ("pywebpush", PywebpushSender)])
def test_every_kind_gives_its_sender(kind: str, adapter: type, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    sender = create_sender(kind, policy=EndpointPolicy(), subject=SUBJECT)
    sender.close()

    assert kind in SENDER_KINDS
    assert isinstance(sender, adapter)
    assert "not available" not in caplog.text


def test_the_log_says_so_when_pywebpush_stands_in_for_curl(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(curl_library, "pycurl", None)
    caplog.set_level(logging.INFO)

    sender = create_sender("curl", policy=EndpointPolicy(), subject=SUBJECT)
    sender.close()

    assert isinstance(sender, PywebpushSender)
    assert "sending with pywebpush" in caplog.text


def test_an_unknown_kind_is_refused_with_the_choices() -> None:
    with pytest.raises(ValueError, match="choose one of curl, pywebpush"):
        create_sender("smtp", policy=EndpointPolicy(), subject=SUBJECT)


@pytest.mark.parametrize("kind", SENDER_KINDS)
def test_a_ca_file_that_is_not_there_is_refused_at_the_start(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        create_sender(kind, policy=EndpointPolicy(), subject=SUBJECT, ca_file=tmp_path / "missing.pem")
