"""The connection form's own fields as the widgets of Flask-AppBuilder, for Airflow before 3.2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def widgets(fields: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One wtforms field for each of ``fields``, which are described as ``conn-fields`` of a provider's info.

    A number is a text here: of a hook with any other than a boolean, text, password or integer field, Airflow 2 shows
    no field at all.
    """
    from flask_appbuilder.fieldwidgets import BS3PasswordFieldWidget, BS3TextAreaFieldWidget, BS3TextFieldWidget
    from wtforms import BooleanField, PasswordField, StringField

    def field(spec: Mapping[str, Any]) -> Any:
        schema = spec["schema"]
        common = {"label": spec["label"], "description": spec["description"], "default": schema.get("default")}
        if "boolean" in schema["type"]:
            return BooleanField(**common)
        if schema.get("format") == "password":
            return PasswordField(widget=BS3PasswordFieldWidget(), **common)
        if schema.get("format") == "multiline" or "object" in schema["type"]:
            return StringField(widget=BS3TextAreaFieldWidget(), **common)
        return StringField(widget=BS3TextFieldWidget(), **common)

    return {name: field(spec) for name, spec in fields.items()}
