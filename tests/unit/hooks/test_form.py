"""The connection form of Airflow before 3.2, which Flask-AppBuilder draws."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.provider_info import CONN_FIELDS, UI_FIELD_BEHAVIOUR


@pytest.fixture
def drawn() -> dict[str, Any]:
    """The form's own fields, each as it is drawn."""
    pytest.importorskip("flask_appbuilder", reason="only Airflow before 3.2 draws its form with Flask-AppBuilder")
    from wtforms import Form

    return dict(type("Drawn", (Form,), PrefectHook.get_connection_form_widgets())()._fields)


def test_the_legacy_form_has_the_same_fields_with_the_same_labels(drawn: dict[str, Any]) -> None:
    assert {name: field.label.text for name, field in drawn.items()} == {
        name: spec["label"] for name, spec in CONN_FIELDS.items()
    }


def test_the_legacy_form_has_the_same_defaults_and_help(drawn: dict[str, Any]) -> None:
    assert {name: (field.default, field.description) for name, field in drawn.items()} == {
        name: (spec["schema"].get("default"), spec["description"]) for name, spec in CONN_FIELDS.items()
    }


def test_the_legacy_form_draws_each_field_after_its_kind(drawn: dict[str, Any]) -> None:
    kinds = {name: type(field).__name__ for name, field in drawn.items()}
    assert kinds.pop("verify") == "BooleanField"
    assert kinds.pop("proxy") == "PasswordField"
    assert set(kinds.values()) == {"StringField"}
    many_lines = {name for name, field in drawn.items() if type(field.widget).__name__ == "BS3TextAreaFieldWidget"}
    assert many_lines == {"secret_headers", "result_roots"}


def test_airflow_2_shows_the_fields_only_if_it_knows_the_kind_of_each(drawn: dict[str, Any]) -> None:
    # Of ProvidersManager, which shows no field of a hook with any other.
    known = {"BooleanField", "IntegerField", "PasswordField", "StringField"}
    assert {type(field).__name__ for field in drawn.values()} <= known


def test_the_standard_fields_are_named_as_the_legacy_form_wants_them() -> None:
    assert PrefectHook.get_ui_field_behaviour() == {
        "hidden_fields": UI_FIELD_BEHAVIOUR["hidden-fields"],
        "relabeling": UI_FIELD_BEHAVIOUR["relabeling"],
        "placeholders": UI_FIELD_BEHAVIOUR["placeholders"],
    }
