"""Makes real djangorestframework-simplejwt tokens, in a process of its own: Django can be configured only once.

Run as a script with SIMPLE_JWT's settings as JSON, it prints the access and the refresh token of user 42 as JSON.
"""

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import django
from django.conf import settings


def simplejwt_tokens(**simple_jwt: Any) -> dict[str, str]:
    """Return the tokens that a Django with these SIMPLE_JWT settings hands out: `access` and `refresh`."""
    command = [sys.executable, "-m", __name__, json.dumps(simple_jwt)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    tokens: dict[str, str] = json.loads(finished.stdout)
    return tokens


def main() -> None:
    settings.configure(
        SECRET_KEY="unused-" * 8,
        USE_TZ=True,
        SIMPLE_JWT=json.loads(sys.argv[1]),
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "rest_framework"],
    )
    django.setup()
    from rest_framework_simplejwt.tokens import RefreshToken  # reads the settings when imported

    refresh = RefreshToken.for_user(SimpleNamespace(id=42, is_active=True))
    print(json.dumps({"refresh": str(refresh), "access": str(refresh.access_token)}))


if __name__ == "__main__":
    main()
