"""The least that a Django project needs."""

import os

SECRET_KEY = "of-an-example"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "shop"
STATIC_URL = "static/"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
TIMERS_URL = os.environ.get("TIMERS_URL", "http://127.0.0.1:8080")
TIMERS_KEY = os.environ.get("TIMERS_KEY", "")
