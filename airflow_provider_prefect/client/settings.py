"""The settings of a connection: how to reach one Prefect API."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

_MIN_SECRET = 5
"""Characters from which on a secret is hidden, as in Airflow's masker: a shorter one is a part of many words."""


@dataclass(frozen=True)
class Settings:
    """Say how to reach one Prefect API. Whatever may be a secret is left out of its repr.

    :param api_url: the normalised API URL, without a trailing slash.
    :param ui_url: where its UI is, without a trailing slash.
    :param api: ``rest`` for Prefect 2 and 3, ``graphql`` for Prefect 1.
    :param tenant_id: the tenant to work in, on a Prefect 1 server that asks for an API key.
    :param api_key: for ``Authorization: Bearer``.
    :param user: with ``password``, for ``Authorization: Basic`` (a self-hosted server's auth string).
    :param headers: sent with every request, and after ours, so that they win.
    :param verify: whether the server's certificate is checked.
    :param ca_file: certificates of the authorities to trust instead of the usual ones.
    :param client_certificate: a PEM file to show to the server, with its key unless ``client_key`` is given.
    :param proxy: URL of an HTTP proxy; without it the environment's (``HTTPS_PROXY``, ``NO_PROXY``…) counts.
    :param timeout: seconds to connect, and seconds between two pieces of an answer.
    :param result_roots: folders or object storage URLs under which persisted results may be read.
    """

    api_url: str
    ui_url: str
    api: str = "rest"
    tenant_id: str | None = None
    api_key: str | None = field(default=None, repr=False)
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, hash=False)
    verify: bool = True
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    proxy: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    result_roots: tuple[str, ...] = ()

    @property
    def authentication(self) -> str:
        """Return how requests are authenticated, in words."""
        if self.user is not None:
            return "user and password"
        if self.api_key is not None:
            return "API key"
        if any(name.lower() == "authorization" for name in self.headers):
            return "Authorization header"
        return "no credentials"

    @property
    def is_cloud(self) -> bool:
        return self.api_url.startswith(("https://api.prefect.cloud/", "https://api.private.prefect.cloud/"))

    def request_headers(self) -> dict[str, str]:
        """Return the headers of every request, credentials among them."""
        headers = {"Accept": "application/json"}
        if self.user is not None:
            headers["Authorization"] = f"Basic {_basic(self.user, self.password or '')}"
        elif self.api_key is not None:
            headers["Authorization"] = f"Bearer {self.api_key}"
        if self.tenant_id is not None:
            headers["X-PREFECT-TENANT-ID"] = self.tenant_id
        given = {name.lower() for name in self.headers}
        return {name: value for name, value in headers.items() if name.lower() not in given} | dict(self.headers)

    def secrets(self) -> list[str]:
        """Return everything that must not be shown, for a log's masker."""
        values = [self.api_key, self.password, self.proxy, *self.headers.values()]
        values.append(self.request_headers().get("Authorization", "").partition(" ")[2])
        proxy = urlsplit(self.proxy or "")
        if proxy.password:
            values += [proxy.password, unquote(proxy.password)]
            values.append(_basic(unquote(proxy.username or ""), unquote(proxy.password)))
        return [value for value in values if value]

    def hide_secrets(self, text: str) -> str:
        """Return ``text`` with ``***`` for each secret in it. Some gateways repeat what was sent in their refusal."""
        forms: set[str] = set()
        for secret in self.secrets():
            if len(secret) >= _MIN_SECRET:
                forms |= {secret, json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
        # The longest first: of a secret that begins with another one, nothing may be left.
        for form in sorted(forms, key=len, reverse=True):
            text = text.replace(form, "***")
        return text


def _basic(user: str, password: str) -> str:
    """Return the credentials of Basic authentication."""
    return base64.b64encode(f"{user}:{password}".encode()).decode()
