"""Files are read under the roots that the connection allows, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_prefect.client.errors import ResultError
from airflow_provider_prefect.utils.results import read_file

MOST = 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that may be read, beside a file and folders that may not."""
    (tmp_path / "secret").write_text("hush-hush")
    (tmp_path / "results-of-others").mkdir()
    (tmp_path / "results-of-others" / "secret").write_text("hush-hush")
    folder = tmp_path / "results"
    (folder / "deep").mkdir(parents=True)
    (folder / "one").write_text("1")
    (folder / "deep" / "two").write_text("2")
    return folder


def refusal(path: str | Path, *roots: str | Path, most: int = MOST) -> str:
    with pytest.raises(ResultError) as refused:
        read_file(str(path), [str(one) for one in roots], most)
    assert "hush-hush" not in str(refused.value)
    return str(refused.value)


def test_a_file_below_a_root_is_read(root: Path) -> None:
    assert read_file(str(root / "one"), [str(root)], MOST) == b"1"
    assert read_file(str(root / "deep" / "two"), [str(root)], MOST) == b"2"


def test_any_of_several_roots_will_do(root: Path) -> None:
    assert read_file(str(root / "one"), ["/nowhere", str(root / "deep"), str(root)], MOST) == b"1"


def test_root_and_path_may_be_file_urls(root: Path) -> None:
    assert read_file(f"file://{root}/one", [str(root)], MOST) == b"1"
    assert read_file(str(root / "one"), [f"file://{root}"], MOST) == b"1"


def test_a_root_may_end_in_a_slash(root: Path) -> None:
    assert read_file(str(root / "one"), [f"{root}/"], MOST) == b"1"


def test_a_root_may_be_a_symlink(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    assert read_file(str(tmp_path / "link" / "one"), [str(tmp_path / "link")], MOST) == b"1"
    assert read_file(str(root / "one"), [str(tmp_path / "link")], MOST) == b"1"


@pytest.mark.parametrize("name", ["a::b", "50% #1?", "~", "caf\u00e9 [x]*"])
def test_a_name_with_odd_characters_is_just_a_name(root: Path, name: str) -> None:
    (root / name).write_text("odd")
    assert read_file(str(root / name), [str(root)], MOST) == b"odd"


def test_without_any_root_nothing_is_read(root: Path) -> None:
    assert "result_roots (none)" in refusal(root / "one")


def test_what_lies_outside_is_refused_and_the_way_out_told(root: Path, tmp_path: Path) -> None:
    message = refusal(tmp_path / "secret", root)
    assert "is not under any of the connection's result_roots" in message
    assert str(root) in message
    assert "artifact" in message


def test_two_dots_do_not_lead_out(root: Path) -> None:
    assert "is not under any of" in refusal(f"{root}/../secret", root)
    assert "is not under any of" in refusal(f"{root}/deep/../../secret", root)
    assert "is not under any of" in refusal(f"file://{root}/../secret", root)


def test_a_sibling_whose_name_begins_like_the_root_is_outside(root: Path, tmp_path: Path) -> None:
    assert "is not under any of" in refusal(tmp_path / "results-of-others" / "secret", root)


def test_a_symlink_does_not_lead_out(root: Path, tmp_path: Path) -> None:
    (root / "way-out").symlink_to(tmp_path)
    (root / "file-out").symlink_to(tmp_path / "secret")
    assert "is not under any of" in refusal(root / "way-out" / "secret", root)
    assert "is not under any of" in refusal(root / "file-out", root)


def test_a_symlink_that_stays_inside_is_followed(root: Path) -> None:
    (root / "inside").symlink_to(root / "deep")
    assert read_file(str(root / "inside" / "two"), [str(root)], MOST) == b"2"


@pytest.mark.parametrize("chain", ["file::", "zip::", "memory::", "simplecache::file:", "file:", "local:"])
def test_a_chain_of_file_systems_does_not_lead_out(root: Path, tmp_path: Path, chain: str) -> None:
    assert refusal(f"{root}/{chain}{tmp_path}/secret", root)
    assert refusal(f"{root}/{chain}//{tmp_path}/secret", root)


def test_the_root_itself_is_no_result(root: Path) -> None:
    assert "is not under any of" in refusal(root, root)


def test_a_relative_path_is_not_read_from_wherever_the_worker_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    assert "is not under any of" in refusal("secret", root)


@pytest.mark.parametrize(
    ("path", "root"),
    [
        ("s3://bucket/prefix-of-others/key", "s3://aws_default@bucket/prefix"),
        ("s3://bucket/prefix/../key", "s3://aws_default@bucket/prefix"),
        ("s3://bucket/prefix/deep/../key", "s3://aws_default@bucket/prefix"),
        ("s3://other/prefix/key", "s3://aws_default@bucket/prefix"),
        ("gs://bucket/prefix/key", "s3://aws_default@bucket/prefix"),
        ("/prefix/key", "s3://aws_default@bucket/prefix"),
        ("s3://tmp/key", "/tmp"),
    ],
)
def test_another_bucket_or_prefix_is_outside(path: str, root: str) -> None:
    assert "is not under any of" in refusal(path, root)


def test_a_url_whose_file_system_is_not_installed_says_so() -> None:
    assert "cannot be read" in refusal("none3://bucket/prefix/key", "none3://conn@bucket/prefix")


def test_a_file_that_is_not_there_says_on_which_machine_it_was_looked_for(root: Path) -> None:
    assert "does not exist on this machine" in refusal(root / "gone", root)


def test_a_folder_is_no_result(root: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(root / "deep", root)


def test_a_file_that_is_too_large_is_refused(root: Path) -> None:
    (root / "large").write_bytes(b"x" * 1001)
    assert "more than 1,000 bytes" in refusal(root / "large", root)
    assert len(read_file(str(root / "large"), [str(root)], 1001)) == 1001
