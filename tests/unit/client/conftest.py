from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_certificates_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which certificates are trusted is up to each test, whatever the environment says."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
