"""What Airflow is told about the provider is what this version of Airflow wants to be told, and is true."""

from __future__ import annotations

import importlib
import json
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import airflow
import jsonschema
import pytest
from airflow import __version__ as airflow_version
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator, redact
from airflow.triggers.base import BaseTrigger

import airflow_provider_prefect
from airflow_provider_prefect import get_provider_info
from airflow_provider_prefect.hooks.connection import settings_from
from airflow_provider_prefect.hooks.prefect import PrefectHook
from airflow_provider_prefect.provider_info import CONN_FIELDS


def schema(name: str) -> Any:
    """A schema of the installed Airflow."""
    for folder in airflow.__path__:
        path = Path(folder) / name
        if path.exists():
            return json.loads(path.read_text())
    raise AssertionError(f"This Airflow has no {name}.")


def connection_type() -> Any:
    (only,) = get_provider_info()["connection-types"]  # type: ignore[misc]
    return only


def test_airflow_accepts_the_provider_info() -> None:
    jsonschema.validate(get_provider_info(), schema("provider_info.schema.json"))


def test_airflow_accepts_the_fields_of_the_form() -> None:
    described = schema("provider.yaml.schema.json")
    wanted = described["properties"]["connection-types"]["items"]["properties"]
    if "conn-fields" not in wanted:
        pytest.skip("this Airflow asks the hook for the form, and knows no conn-fields")
    for part in ("conn-fields", "ui-field-behaviour"):
        jsonschema.validate(connection_type()[part], {**described, **wanted[part]} | {"required": []})
    for spec in CONN_FIELDS.values():
        jsonschema.Draft202012Validator.check_schema(spec["schema"])


def test_the_legacy_form_accepts_the_standard_fields() -> None:
    jsonschema.validate(PrefectHook.get_ui_field_behaviour(), schema("customized_form_field_behaviours.schema.json"))


def test_a_field_of_the_form_may_be_null_and_its_default_is_valid() -> None:
    for spec in CONN_FIELDS.values():
        jsonschema.validate(None, spec["schema"])
        jsonschema.validate(spec["schema"].get("default"), spec["schema"])


def test_the_form_of_this_airflow_shows_every_field() -> None:
    if not any(one.name == "provider_info" and one.value.startswith("airflow_provider_prefect") for one in _ours()):
        pytest.skip("the provider is not installed here, only on the path")
    assert _fields_shown() == set(CONN_FIELDS)


def _ours() -> Any:
    return metadata.entry_points(group="apache_airflow_provider")


def _fields_shown() -> set[str]:
    try:
        from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
    except ImportError:  # Airflow 2
        from airflow.providers_manager import ProvidersManager

        widgets = ProvidersManager().connection_form_widgets
        return {widget.field_name for widget in widgets.values() if widget.package_name == "airflow-provider-prefect"}
    (shown,) = [one for one in HookMetaService.hook_meta_data() if one.connection_type == "prefect"]
    assert shown.hook_name == "Prefect"
    return set(shown.extra_fields or {})


def test_everything_that_is_named_exists() -> None:
    info: Any = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for group in info[part]:
            for module in group["python-modules"]:
                assert importlib.import_module(module)
    for path in [*info["extra-links"], connection_type()["hook-class-name"]]:
        module, _, name = path.rpartition(".")
        assert getattr(importlib.import_module(module), name)


def test_every_module_with_something_for_dags_is_named() -> None:
    info: Any = get_provider_info()
    kinds = {"hooks": BaseHook, "operators": BaseOperator, "sensors": BaseSensorOperator, "triggers": BaseTrigger}
    for part, kind in kinds.items():
        named = {module for group in info[part] for module in group["python-modules"]}
        there = {
            module.__name__
            for module in _modules(f"airflow_provider_prefect.{part}")
            if any(_is_own(thing, kind, module) for thing in vars(module).values())
        }
        assert named == there


def _modules(package: str) -> list[ModuleType]:
    (folder,) = importlib.import_module(package).__path__
    return [importlib.import_module(f"{package}.{file.stem}") for file in Path(folder).glob("[a-z]*.py")]


def _is_own(thing: object, kind: type, module: ModuleType) -> bool:
    return isinstance(thing, type) and issubclass(thing, kind) and thing.__module__ == module.__name__


def test_the_connection_type_is_the_hooks_own() -> None:
    assert connection_type()["connection-type"] == PrefectHook.conn_type == "prefect"
    assert connection_type()["hook-name"] == PrefectHook.hook_name


def test_the_version_is_the_packages_own() -> None:
    assert get_provider_info()["versions"] == [airflow_provider_prefect.__version__]


def test_a_field_that_may_hold_a_secret_has_a_name_that_airflow_masks() -> None:
    extra = dict.fromkeys(CONN_FIELDS, "hush-hush")
    shown: Any = redact({**extra, "secret_headers": {"X-Token": "hush-hush"}, "proxy": "http://me:hush-hush@proxy"})
    assert shown["secret_headers"] == {"X-Token": "***"}
    if airflow_version != "2.11.0":  # which does not mask a proxy by its name
        assert shown["proxy"] == "***"
    assert shown["ui_url"] == "hush-hush"  # and the others are shown


def test_the_api_is_chosen_from_a_list_with_words_for_each_or_left_out() -> None:
    schema = CONN_FIELDS["api"]["schema"]
    assert schema["enum"] == ["rest", "graphql", None]
    assert schema["default"] == "rest"
    assert schema["values_display"] == {"rest": "Prefect 3 / 2 (REST)", "graphql": "Prefect 1 (GraphQL)"}
    for value in schema["enum"]:
        jsonschema.validate(value, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("soap", schema)


def test_every_api_that_can_be_chosen_is_one_that_a_connection_may_have() -> None:
    for api in CONN_FIELDS["api"]["schema"]["enum"]:
        fields = SimpleNamespace(
            conn_type="prefect", host="http://host:4200", port=None, schema=None, login=None, password=None
        )
        assert settings_from(fields, {"api": api}).api == (api or "rest")
