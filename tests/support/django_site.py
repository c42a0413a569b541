"""Makes a Django application's tables and a user in a database: `python -m tests.support.django_site URL`.

Run it as a process of its own, because Django's settings are global.
"""

import sys

import django
from django.conf import settings
from django.core.management import call_command
from sqlalchemy import make_url


def main(database_url: str) -> None:
    url = make_url(database_url)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.database,
                "USER": url.username,
                "PASSWORD": url.password,
                "HOST": url.host,
                "PORT": url.port,
            }
        },
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
        SECRET_KEY="not used",
    )
    django.setup()
    call_command("migrate", verbosity=0)
    call_command("createsuperuser", interactive=False, username="alice", email="alice@example.com", verbosity=0)


if __name__ == "__main__":
    main(sys.argv[1])
