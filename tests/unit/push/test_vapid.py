import base64
import json
import threading
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from app.push.keys import VapidKey, decode_base64url
from app.push.vapid import VapidSigner, subject_problem
from tests.unit.push.builders import VAPID_KEY

SUBJECT = "mailto:push@example.com"
ORIGIN = "https://fcm.googleapis.com"
HOUR = 3600.0


class Clock:
    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def claims_in(header: str) -> dict[str, Any]:
    token = header.removeprefix("vapid t=").partition(",")[0]
    payload = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def test_the_header_is_what_rfc_8292_wants() -> None:
    clock = Clock()

    header = VapidSigner(SUBJECT, clock=clock).authorization(ORIGIN, VAPID_KEY)

    scheme, _, parameters = header.partition(" ")
    token, key = (part.partition("=")[2] for part in parameters.split(", "))
    public_key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode_base64url(key))
    claims = jwt.decode(token, public_key, algorithms=["ES256"], audience=ORIGIN, options={"verify_exp": False})
    assert scheme == "vapid"
    assert key == VAPID_KEY.public
    assert claims == {"aud": ORIGIN, "exp": int(clock.now + 12 * HOUR), "sub": SUBJECT}
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "ES256"}


def test_a_header_is_signed_once_for_an_origin_and_a_key() -> None:
    signer = VapidSigner(SUBJECT, clock=Clock())

    headers = {signer.authorization(ORIGIN, VAPID_KEY) for _ in range(5)}

    assert len(headers) == 1


def test_each_origin_and_each_key_has_its_own_header() -> None:
    signer = VapidSigner(SUBJECT, clock=Clock())
    keys = (VAPID_KEY, VapidKey.generate())
    origins = (ORIGIN, "https://web.push.apple.com")

    headers = {signer.authorization(origin, key) for origin in origins for key in keys}

    assert len(headers) == 4


def test_a_header_is_kept_for_hours_and_renewed_hours_before_it_expires() -> None:
    clock = Clock()
    signer = VapidSigner(SUBJECT, clock=clock)
    first = signer.authorization(ORIGIN, VAPID_KEY)

    clock.now += 5 * HOUR
    later = signer.authorization(ORIGIN, VAPID_KEY)
    clock.now += 2 * HOUR
    renewed = signer.authorization(ORIGIN, VAPID_KEY)

    assert later == first
    assert renewed != first
    assert claims_in(renewed)["exp"] == int(clock.now + 12 * HOUR)


def test_a_clock_that_was_set_back_does_not_leave_a_header_too_far_ahead() -> None:
    clock = Clock()
    signer = VapidSigner(SUBJECT, clock=clock)
    signer.authorization(ORIGIN, VAPID_KEY)

    clock.now -= 48 * HOUR
    header = signer.authorization(ORIGIN, VAPID_KEY)

    assert claims_in(header)["exp"] - clock.now <= 24 * HOUR


def test_threads_that_come_at_once_share_one_signature() -> None:
    signer = VapidSigner(SUBJECT, clock=Clock())
    together = threading.Barrier(8)
    headers: list[str] = []

    def ask() -> None:
        together.wait()
        headers.append(signer.authorization(ORIGIN, VAPID_KEY))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(headers) == 8
    assert len(set(headers)) == 1


def test_the_cache_does_not_grow_with_hosts_that_subscribers_choose() -> None:
    signer = VapidSigner(SUBJECT, clock=Clock())
    first = signer.authorization("https://host0.push.apple.com", VAPID_KEY)

    for number in range(1, 1100):
        signer.authorization(f"https://host{number}.push.apple.com", VAPID_KEY)

    assert len(signer._headers) <= 1024
    assert signer.authorization("https://host0.push.apple.com", VAPID_KEY) != first


@pytest.mark.parametrize(
    "subject",
    [
        "mailto:push@example.com",
        "mailto:a.b+c@sub.example.co.uk",
        "https://example.com/contact",
        "https://example.com",
    ],
)
def test_a_reachable_subject_is_fine(subject: str) -> None:
    assert subject_problem(subject) is None


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "push@example.com",
        "http://example.com",
        "tel:+123",
        "mailto:",
        "mailto:push",
        "mailto:@example.com",
        "mailto:push@",
        "mailto:a@b@example.com",
        "mailto: push@example.com",
        "mailto:<push@example.com>",
        "mailto:push@example.com ",
        "mailto:push@example.com\n",
        "mailto:push@localhost",
        "mailto:push@host.local",
        "mailto:push@host.LOCAL",
        "mailto:push@host.invalid",
        "https://localhost/contact",
        "https://127.0.0.1/contact",
        "https://[::1]/contact",
        "https://[",
        "https://",
        "https://intranet/contact",
    ],
)
def test_a_subject_that_apple_would_refuse_is_told(subject: str) -> None:
    problem = subject_problem(subject)

    assert problem is not None
    assert problem.startswith("VAPID_SUBJECT ")
