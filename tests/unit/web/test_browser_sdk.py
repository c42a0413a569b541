"""The SDK's files as the service gives them to any site's pages.

How to change one: until its version is released, put the hash that the failing test shows into PUBLISHED. After
that, a change is a new version: copy app/sdk/web to app/sdk/<the version released>, raise SDK_VERSION
(app/web/browser_sdk.py) and the VERSION of both scripts, and add it to PUBLISHED with its hashes. Pages go on
naming the version that they were written for; browsers and CDNs keep for a year what /sdk/<version>/ gave them.
"""

import hashlib
import re
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from app.main import create_app
from app.web.browser_sdk import DIRECTORY, SDK_VERSION, sdk
from tests.support.api import build_settings

SITE = "https://blog.example.com"
SCRIPTS = ("push-client.js", "push-sw.js")
# By version, the SHA-256 of what was published under its name.
PUBLISHED = {
    "1.0.0": {
        "push-client.d.ts": "4564f5020152b05cf3226bc9853d2a17017e26e84692edc865983d0802c2f8ae",
        "push-client.js": "8017571dbc6f42555f9281f9cac645d897aa4efa528963f9bb1855c43f50f389",
        "push-sw.js": "81f3881d8556331d4a7a309a03b4db5b38ad9f9dcefb7277313dd256f8dd9a74",
    },
}
NEWEST, PINNED = "/sdk/push-client.js", f"/sdk/{SDK_VERSION}/push-client.js"


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """The app as in production, with one site that may call the API."""
    settings = build_settings(
        data_dir=tmp_path_factory.mktemp("data"),
        environment="production",
        database_url="postgresql://nowhere/db",
        vapid_subject="mailto:push@example.org",
        push_allow_loopback=False,
        cors_allowed_origins=[SITE],
    )
    return TestClient(create_app(settings), base_url="https://testserver")


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_names_the_version_that_the_service_gives_it(name: str) -> None:
    script = (DIRECTORY / name).read_text(encoding="utf-8")

    assert re.findall(r"\bVERSION = \"([^\"]+)\"", script) == [SDK_VERSION]


def test_what_is_published_under_a_version_never_changes(client: TestClient) -> None:
    served = {
        version: {name: sha256_of(client.get(f"/sdk/{version}/{name}").content) for name in names}
        for version, names in PUBLISHED.items()
    }

    assert served == PUBLISHED, "How to change a file of the SDK stands at the top of this one."
    assert {path.name for path in DIRECTORY.iterdir()} == PUBLISHED[SDK_VERSION].keys()


def test_a_version_that_was_released_before_is_served_beside_the_newest(tmp_path: Path) -> None:
    for directory in ("web", "0.9.0"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "push-client.js").write_text(f"// {directory}", encoding="utf-8")
    app = FastAPI()
    app.include_router(sdk(tmp_path / "web"))

    newest, pinned, before = (
        TestClient(app).get(f"/sdk/{version}push-client.js") for version in ("", f"{SDK_VERSION}/", "0.9.0/")
    )

    assert [newest.text, pinned.text, before.text] == ["// web", "// web", "// 0.9.0"]
    assert before.headers["cache-control"] == pinned.headers["cache-control"]


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize(
    ("directory", "caching"),
    [("/sdk", "public, max-age=3600"), (f"/sdk/{SDK_VERSION}", "public, max-age=31536000, immutable")],
)
@pytest.mark.parametrize("origin", [None, SITE, "https://elsewhere.example.net"])
def test_any_site_may_load_and_keep_a_script(
    client: TestClient, name: str, directory: str, caching: str, origin: str | None
) -> None:
    answer = client.get(f"{directory}/{name}", headers={"Origin": origin} if origin else {})

    assert (answer.status_code, answer.content) == (200, (DIRECTORY / name).read_bytes())
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == caching
    assert answer.headers.get_list("access-control-allow-origin") == ["*"]
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "vary" not in answer.headers  # a CDN keeps one copy for all


def test_the_types_are_text(client: TestClient) -> None:
    answer = client.get(f"/sdk/{SDK_VERSION}/push-client.d.ts")

    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/plain; charset=utf-8")


@pytest.mark.parametrize("path", [NEWEST, PINNED])
@pytest.mark.parametrize("shown", ["{}", "W/{}", '"another", {}', "*"])
def test_who_has_it_gets_nothing_again(client: TestClient, path: str, shown: str) -> None:
    first = client.get(path)

    again = client.get(path, headers={"If-None-Match": shown.format(first.headers["etag"])})

    assert (again.status_code, again.content) == (304, b"")
    kept = ("etag", "cache-control", "access-control-allow-origin", "cross-origin-resource-policy")
    assert {name: again.headers[name] for name in kept} == {name: first.headers[name] for name in kept}


@pytest.mark.parametrize("shown", ['"another"', "", "{}x", "é"])
def test_who_has_another_gets_it(client: TestClient, shown: str) -> None:
    etag = client.get(NEWEST).headers["etag"]

    answer = client.get(NEWEST, headers={"If-None-Match": shown.format(etag).encode()})

    assert answer.status_code == 200
    assert answer.content


def test_head_tells_the_length_and_sends_nothing(client: TestClient) -> None:
    answer = client.head(PINNED)

    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == len((DIRECTORY / "push-client.js").read_bytes())


@pytest.mark.parametrize(
    "path",
    [
        *("/sdk/", "/sdk/1.0.0", "/sdk/nothing.js", f"/sdk/{SDK_VERSION}/nothing.js", "/sdk/__init__.py"),
        *("/sdk/..%2F..%2Fmain.py", f"/sdk/{SDK_VERSION}/..%2F..%2F..%2Fsettings.py", "/sdk/%2Fetc%2Fpasswd"),
        *("/sdk/push-client.js%00", "/sdk/%FF", "/sdk//push-client.js", "/sdk/PUSH-CLIENT.JS"),
    ],
)
def test_there_is_nothing_else(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("version", ["0.9.0", "2.0.0", "latest", "1.0.0%20"])
def test_another_version_is_told_which_there_is(client: TestClient, version: str) -> None:
    answer = client.get(f"/sdk/{version}/push-client.js")

    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-such-sdk-file")
    assert f"/sdk/{SDK_VERSION}/" in answer.json()["detail"]


def test_nothing_can_be_put_there(client: TestClient) -> None:
    answers = [client.request(method, PINNED, content=b"x") for method in ("PUT", "POST", "DELETE")]

    assert [answer.status_code for answer in answers] == [405] * 3
