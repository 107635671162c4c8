"""The storage blocks of Prefect 2 and 3: where results are whose keys are relative to a block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_prefect.client.fields import Fields

_BUCKETS = (
    ("s3", "bucket_name", "bucket_folder"),
    ("gs", "bucket", "bucket_folder"),
    ("abfs", "container_name", "base_folder"),
)
"""The URL's scheme and the names of the fields of S3Bucket, GcsBucket and AzureBlobStorageContainer."""


@dataclass(frozen=True)
class StorageBlock:
    """Describe where a storage block keeps its objects, without the credentials in it.

    :param bucket: the URL of its bucket, without a slash at its end; empty for a file system.
    :param folder: the folder within the bucket; of a file system its path or URL.
    """

    bucket: str
    folder: str

    @classmethod
    def from_json(cls, record: Any) -> StorageBlock | None:
        """Return the block that a parsed response describes; ``None`` if it is of a kind that is not known.

        :raises WrongShape: a field has a wrong type.
        """
        data = Fields(Fields(record).mapping("data"))
        if path := data.optional_text("basepath"):  # local and remote file systems
            return cls("", path)
        for scheme, bucket, folder in _BUCKETS:
            if name := data.optional_text(bucket):
                return cls(f"{scheme}://{name}", data.optional_text(folder) or "")
        return None

    def path_of(self, key: str) -> str:
        """Return where the object of this key is: a path, or an object storage URL.

        It is joined as each kind of block joins it (prefect 3.8.8). An object's key is taken as it is: ``/x`` and ``x``
        are two objects.
        """
        if self.bucket:
            return f"{self.bucket}/{PurePosixPath(self.folder, key) if self.folder else key}"
        if "://" in self.folder:
            return key if "://" in key else f"{self.folder.rstrip('/')}/{key.lstrip('/')}"
        return str(PurePosixPath(self.folder, key))
