"""Tell which tasks can succeed in the triggerer, without a worker."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperator, conf


def can_succeed_in_triggerer(task: Any) -> bool:
    """Return whether a worker would have nothing more to do for ``task`` than to push its XComs.

    What a worker does at the end of a task, and Airflow leaves out when a trigger ends it, was read in the source of
    Airflow 3.3.2. Before Airflow 3.3 a trigger cannot push XComs, so there it is always ``False``.
    """
    try:
        from airflow.sdk.bases.xcom import BaseXCom
        from airflow.sdk.execution_time.xcom import XCom
        from airflow.sdk.listener import get_listener_manager
        from airflow.triggers.base import TaskSuccessEvent  # noqa: F401
    except ImportError:
        return False
    if XCom is not BaseXCom or not hasattr(XCom, "aset"):
        return False  # a backend of the user's own may block the triggerer, or need what only workers have
    if not type(task).__module__.startswith("airflow_provider_prefect."):
        return False  # a class of the user's own may do more in execute_complete or post_execute
    if task.outlets or task.on_success_callback or getattr(task, "_post_execute_hook", None) is not None:
        return False
    if getattr(task.post_execute, "__func__", None) is not BaseOperator.post_execute:
        return False
    if task.multiple_outputs or task.map_index_template or getattr(task, "returns_dag_result", False):
        return False
    if get_listener_manager().has_listeners or conf.getboolean("state_store", "clear_on_success", fallback=False):
        return False
    return bool(task.has_dag()) and next(task.iter_mapped_dependants(), None) is None
