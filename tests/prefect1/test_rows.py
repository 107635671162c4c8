"""The table of rows is whole, and says what is wrong with it where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.prefect1 import rows

HERE = Path(rows.__file__).parent


def test_all_measured_rows_are_there_once_and_in_their_order() -> None:
    expected = [f"{letter}{number:02}" for letter, (_, count) in rows.GROUPS.items() for number in range(1, count + 1)]
    assert [row.id for row in rows.ROWS] == expected
    assert len(expected) == 128


def test_every_row_is_shown_by_a_test_or_says_why_it_does_not_apply() -> None:
    assert rows.faults(rows.tests_by_row(HERE), None) == []


def test_the_tests_are_found_by_their_names(tmp_path: Path) -> None:
    assert rows.ids_in("test_c09_c10_two_of_them") == ["C09", "C10"]
    assert rows.ids_in("test_that_c09_is_not_at_the_front") == []
    (tmp_path / "test_rows_c.py").write_text("def test_c09_one() -> None: ...\ndef helper_c10() -> None: ...\n")
    (tmp_path / "test_others.py").write_text("def test_c11_one() -> None: ...\n")
    assert rows.tests_by_row(tmp_path) == {"C09": ["test_rows_c::test_c09_one"]}


def test_what_is_wrong_with_the_table_is_said() -> None:
    shown = {row.id: [f"test_rows::{row.id}"] for row in rows.ROWS if row.id != "C09"}
    assert rows.faults(shown, None) == ["C09 has no test."]
    shown["C09"] = ["test_rows::C09"]
    good = {name for names in shown.values() for name in names}
    assert rows.faults(shown, good) == []
    assert rows.faults(shown, good - {"test_rows::C09"}) == ["C09: test_rows::C09 has not passed."]
    assert rows.faults({**shown, "C99": ["x"]}, None) == ["C99 is no row, but has tests."]


def test_a_test_has_passed_if_it_has_with_all_its_parameters(tmp_path: Path) -> None:
    case = '<testcase classname="tests.prefect1.test_rows_c" name="{}">{}</testcase>'
    cases = [("test_a[x]", ""), ("test_a[y]", "<failure/>"), ("test_b[x]", ""), ("test_b[y]", ""), ("c", "<skipped/>")]
    report = tmp_path / "report.xml"
    report.write_text(
        f"<testsuites><testsuite>{''.join(case.format(*each) for each in cases)}</testsuite></testsuites>"
    )
    assert rows.passed(report) == {"test_rows_c::test_b"}


def test_the_table_is_printed_with_its_counts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert rows.main() == 0
    printed = capsys.readouterr().out
    assert "missing: none" in printed
    assert "128 rows: " in printed
    assert "test_c09_several_projects_are_an_error_that_lists_them" in printed
    (tmp_path / "empty.xml").write_text("<testsuites/>")
    assert rows.main(str(tmp_path / "empty.xml")) == 1
    assert "has not passed." in capsys.readouterr().out
