"""Reading the files of persisted results, under the roots that the connection allows and nowhere else."""

from __future__ import annotations

import os.path
from collections.abc import Sequence

from airflow_provider_prefect.client.errors import ResultError


def read_file(path: str, roots: Sequence[str], most: int) -> bytes:
    """The content of ``path``, through Airflow's object storage, with the credentials that its root names.

    :param path: an absolute path, or an object storage URL. It comes from the server, and is not trusted.
    :param roots: what the connection allows: folders, or URLs such as ``s3://aws_default@bucket/prefix``.
    :param most: bytes that are read at the most.
    :raises ResultError: the path is under none of the roots, is not there, or is too large.
    """
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    for root in roots:
        below = _relative(path, root)
        if below is not None:
            break
    else:
        allowed = ", ".join(map(repr, roots)) or "none"
        raise ResultError(
            f"The result lies at {path!r}, which is under none of the connection's result_roots ({allowed}). Add its "
            "folder there if this machine may read it, or let the flow leave an artifact."
        )
    try:
        file = ObjectStoragePath(_as_url(root)) / below
        with file.open("rb") as opened:  # type: ignore[no-untyped-call]
            content: bytes = opened.read(most + 1)
    except FileNotFoundError:
        raise ResultError(f"The result's file {path!r} does not exist on this machine.") from None
    except OSError as error:
        raise ResultError(
            f"The result's file {path!r} cannot be read: {error.strerror or type(error).__name__}."
        ) from None
    except (ImportError, ValueError) as error:  # no filesystem for this kind of URL, or a name it does not take
        raise ResultError(f"The result's file {path!r} cannot be read: {error}.") from None
    except Exception as error:  # of the storage's own library, whose text may hold anything
        raise ResultError(f"The result's file {path!r} cannot be read: {type(error).__name__}.") from None
    if len(content) > most:
        raise ResultError(f"The result's file {path!r} has more than {most:,} bytes.")
    return content


def _relative(path: str, root: str) -> str | None:
    """``path`` as seen from ``root``, or ``None`` if it is not below it, symlinks and ``..`` considered."""
    (kind, bucket, wanted), (root_kind, root_bucket, allowed) = _split(path), _split(root)
    if (kind, bucket) != (root_kind, root_bucket):
        return None
    if kind == "file":
        wanted, allowed = os.path.realpath(wanted), os.path.realpath(allowed)
    if not wanted.startswith("/") or os.pardir in wanted.split("/"):
        return None
    below = os.path.relpath(wanted, allowed or "/")
    return None if below == os.curdir or below.split("/")[0] == os.pardir else below


def _split(path: str) -> tuple[str, str, str]:
    """Scheme, bucket and path; the bucket without the Airflow connection in ``connection@bucket``."""
    scheme, separator, rest = path.partition("://")
    if not separator:
        return "file", "", path
    netloc, slash, below = rest.partition("/")
    return scheme, netloc.rpartition("@")[2], slash + below


def _as_url(root: str) -> str:
    return root if "://" in root else f"file://{os.path.realpath(root)}"
