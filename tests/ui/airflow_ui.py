"""What a person does in Airflow's UI, for that of Airflow 3 and that of Airflow 2."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Any
from urllib.parse import quote, urlencode

from playwright.sync_api import Locator, Page, expect

from airflow_provider_prefect.provider_info import CONN_FIELDS

STANDARD = ("host", "login", "password", "port")
LINK = "Prefect flow run"

_OVERHANG = """
(element, text) => {
    const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const at = node.data.indexOf(text);
        if (at < 0) continue;
        const range = document.createRange();
        range.setStart(node, at);
        range.setEnd(node, at + text.length);
        let right = document.documentElement.clientWidth;
        for (let around = node.parentElement; around; around = around.parentElement) {
            if (getComputedStyle(around).overflowX === "visible") continue;
            right = Math.min(right, around.getBoundingClientRect().left + around.clientLeft + around.clientWidth);
        }
        return range.getBoundingClientRect().right - right;
    }
    return null;
}
"""
"""By how many pixels a text is beyond the right end of what is seen of the elements around it; null if not there."""


def is_object(name: str) -> bool:
    """Whether a field of the form takes a JSON object."""
    return name in CONN_FIELDS and "object" in CONN_FIELDS[name]["schema"]["type"]


class AirflowUi(ABC):
    """The pages of one Airflow."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url

    # The connection's form

    def row(self, conn_id: str) -> Locator:
        """A connection in the list of connections."""
        return self.page.get_by_role("row").filter(has=self.page.get_by_role("cell", name=conn_id, exact=True))

    @abstractmethod
    def open_new_connection(self, conn_id: str) -> None:
        """Open the form for a new connection of type Prefect."""

    @abstractmethod
    def open_connection(self, conn_id: str) -> None:
        """Open the form of a stored connection."""

    @abstractmethod
    def field(self, name: str) -> Locator:
        """A field of the open form."""

    @abstractmethod
    def fill(self, name: str, value: Any) -> None:
        """Enter a value."""

    @abstractmethod
    def value(self, name: str) -> Any:
        """What the form shows in a field."""

    @abstractmethod
    def label(self, name: str) -> str:
        """What a field is called."""

    @abstractmethod
    def help(self, name: str) -> str:
        """What the form says about an extra field."""

    @abstractmethod
    def fields(self) -> list[str]:
        """The names of the extra fields, in their order."""

    @abstractmethod
    def save(self) -> None:
        """Save the open form."""

    @abstractmethod
    def save_and_test(self, conn_id: str) -> tuple[bool, str]:
        """Press Test and Save in the order of this Airflow; return whether it succeeded, and the sentence."""

    # Task instances

    @abstractmethod
    def open_task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
        """Open the page of a task instance that has its links."""

    @abstractmethod
    def open_log(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Open the log of a task instance."""

    @abstractmethod
    def line(self, text: str) -> Locator:
        """The part of the log that has this text."""

    def follow_link(self) -> Page:
        """Follow the link of the open task instance; return the page that opens."""
        with self.page.expect_popup() as opened:
            self.page.get_by_role("link", name=LINK).click()
        return opened.value

    def overhang(self, text: str) -> float:
        """By how many pixels a text of the log is cut off at the right; negative if it is not."""
        line = self.line(text)
        expect(line).to_be_attached()
        line.scroll_into_view_if_needed()
        found = line.evaluate(_OVERHANG, text)
        assert found is not None
        return float(found)


class Airflow3Ui(AirflowUi):
    """The UI of Airflow 3.3."""

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")

    def open_new_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connections")
        self.page.get_by_role("button", name="Add Connection").click()
        self.dialog.locator("input[name=connection_id]").fill(conn_id)
        self.dialog.get_by_role("combobox").fill("Prefect")
        self.page.keyboard.press("Enter")
        expect(self.dialog.locator("input[name=host]")).to_be_visible()

    def open_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connections")
        self.row(conn_id).get_by_role("button", name="Edit Connection").click()
        expect(self.dialog.locator("input[name=host]")).to_be_visible()

    def open_section(self, name: str) -> None:
        """Open "Standard Fields" or "Extra Fields", which closes the other."""
        button = self.dialog.get_by_role("button", name=name, exact=True)
        if button.get_attribute("aria-expanded") != "true":
            button.click()
            expect(button).to_have_attribute("aria-expanded", "true")

    def field(self, name: str) -> Locator:
        self.open_section("Standard Fields" if name in STANDARD else "Extra Fields")
        if name in STANDARD:
            return self.dialog.locator(f"[name={name}]")
        if is_object(name):
            return self._root(name).locator(".monaco-editor .view-lines")
        return self.dialog.locator(f"[name=element_{name}]")

    def _root(self, name: str) -> Locator:
        """An extra field with its label and help."""
        label = re.compile(rf"^{re.escape(CONN_FIELDS[name]['label'])}\s*$")
        fields = self.dialog.locator("[data-scope=field][data-part=root]")
        return fields.filter(has=self.page.locator("label", has_text=label))

    def fill(self, name: str, value: Any) -> None:
        field = self.field(name)
        if isinstance(value, bool):
            if field.is_checked() != value:
                field.locator("xpath=..").click()
        elif is_object(name):
            field.click()
            self.page.keyboard.press("ControlOrMeta+A")
            self.page.keyboard.insert_text(value)
            # The editor has closed brackets and quotes by itself.
            self.page.keyboard.press("ControlOrMeta+Shift+End")
            self.page.keyboard.press("Delete")
            self.dialog.get_by_role("heading").first.click()  # what was typed is read when the focus leaves
        else:
            field.fill(value)

    def value(self, name: str) -> Any:
        field = self.field(name)
        if field.get_attribute("type") == "checkbox":
            return field.is_checked()
        return field.inner_text() if is_object(name) else field.input_value()

    def label(self, name: str) -> str:
        self.open_section("Standard Fields" if name in STANDARD else "Extra Fields")
        if name in STANDARD:
            root = self.dialog.locator("[data-scope=field][data-part=root]").filter(
                has=self.page.locator(f"[name={name}]")
            )
        else:
            root = self._root(name)
        return root.locator("label").first.inner_text().strip()

    def help(self, name: str) -> str:
        self.open_section("Extra Fields")
        return self._root(name).locator("[data-part=helper-text]").inner_text().strip()

    def fields(self) -> list[str]:
        self.open_section("Extra Fields")
        section = self.dialog.locator("[data-part=item]").filter(has_text=re.compile("^Extra Fields(?! JSON)"))
        labels = [label.strip() for label in section.locator("label[data-part=label]").all_inner_texts()]
        return [name for label in labels for name, field in CONN_FIELDS.items() if field["label"] == label]

    def save(self) -> None:
        self.dialog.get_by_role("button", name="Save").click()
        expect(self.dialog).to_be_hidden()

    def save_and_test(self, conn_id: str) -> tuple[bool, str]:
        self.save()
        button = self.row(conn_id).get_by_role("button", name="Test Connection")
        with self.page.expect_response(lambda response: response.url.endswith("/connections/test")) as answered:
            button.click()
        answer = answered.value.json()
        sign = button.locator("svg[style*=color]")
        expect(sign).to_be_visible()
        succeeded = "green" in str(sign.get_attribute("style"))
        if not succeeded:
            expect(self.page.get_by_role("region", name="Notifications")).to_contain_text(answer["message"])
        return succeeded, answer["message"]

    def _task_page(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        mapped = "" if map_index < 0 else f"/mapped/{map_index}"
        return f"{self.url}/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task_id}{mapped}"

    def open_task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
        self.page.goto(f"{self._task_page(dag_id, run_id, task_id, map_index)}/details")

    def open_log(self, dag_id: str, run_id: str, task_id: str) -> None:
        self.page.goto(self._task_page(dag_id, run_id, task_id))

    def line(self, text: str) -> Locator:
        # The list holds only those lines that are in sight, and has the button if not all are.
        lines = self.page.locator("[data-testid^=virtualized-item]")
        expect(lines.first).to_be_attached()
        if (to_top := self.page.get_by_role("button", name="Scroll to top")).is_visible():
            to_top.click()
        return lines.filter(has_text=text).first


class Airflow2Ui(AirflowUi):
    """The UI of Airflow 2.11."""

    def open_new_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connection/add")
        self.page.locator("#conn_id").fill(conn_id)
        self.page.locator("#conn_type + .select2-container").click()
        self.page.locator(".select2-search__field").fill("Prefect")
        self.page.keyboard.press("Enter")
        expect(self.field("api")).to_be_visible()

    def open_connection(self, conn_id: str) -> None:
        self.page.goto(f"{self.url}/connection/list/")
        self.row(conn_id).locator("a[href*='/connection/edit/']").click()
        expect(self.field("api")).to_be_visible()

    def field(self, name: str) -> Locator:
        return self.page.locator(f"#{name}" if name in STANDARD else f"#extra__prefect__{name}")

    def fill(self, name: str, value: Any) -> None:
        if isinstance(value, bool):
            self.field(name).set_checked(value)
        else:
            self.field(name).fill(value)

    def value(self, name: str) -> Any:
        field = self.field(name)
        return field.is_checked() if field.get_attribute("type") == "checkbox" else field.input_value()

    def _row(self, name: str) -> Locator:
        return self.page.locator("tr").filter(has=self.field(name))

    def label(self, name: str) -> str:
        return self._row(name).locator("label").first.inner_text().strip()

    def help(self, name: str) -> str:
        return self._row(name).locator(".help-block").inner_text().strip()

    def fields(self) -> list[str]:
        ids = self.page.locator("form [id^=extra__prefect__]").evaluate_all("fields => fields.map(field => field.id)")
        return [name.removeprefix("extra__prefect__") for name in ids]

    def save(self) -> None:
        self.page.get_by_role("button", name="Save").click()
        self.page.wait_for_url(lambda url: "/connection/add" not in url and "/connection/edit" not in url)

    def save_and_test(self, conn_id: str) -> tuple[bool, str]:
        with self.page.expect_response(lambda response: response.url.endswith("/connections/test")) as answered:
            self.page.locator("#test-connection").click()
        answer = answered.value.json()
        # In green in any case.
        expect(self.page.locator(".alert").filter(has_text=answer["message"])).to_be_visible()
        self.save()
        return answer["status"], answer["message"]

    def _open_tab(self, dag_id: str, run_id: str, task_id: str, **more: object) -> None:
        chosen = urlencode({"dag_run_id": run_id, "task_id": task_id, **more})
        self.page.goto(f"{self.url}/dags/{dag_id}/grid?{chosen}")

    def open_task(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> None:
        more = {} if map_index < 0 else {"map_index": map_index}
        self._open_tab(dag_id, run_id, task_id, **more)

    def open_log(self, dag_id: str, run_id: str, task_id: str) -> None:
        self._open_tab(dag_id, run_id, task_id, tab="logs")

    def line(self, text: str) -> Locator:
        return self.page.locator("code").filter(has_text=text).first
