"""A small server that answers the way Prefect 3 does, as far as these tests ask it anything.

It listens on 127.0.0.1 and is spoken to by the real HTTP drivers. What Prefect itself would do, a test tells it:
which states a flow run goes through, which answers it gives instead of its own.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

UI_PAGE = "<!DOCTYPE html><html><head><title>Prefect Server</title></head><body></body></html>"

FINAL = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


@dataclass(frozen=True)
class Asked:
    """One request that the server has got; ``path`` is without the prefix ``/api``."""

    method: str
    path: str
    body: Any
    headers: dict[str, str]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)


def state(kind: str, name: str | None = None, message: str | None = None, data: Any = None) -> dict[str, Any]:
    """A state record with an id of its own."""
    return {
        "id": str(uuid.uuid4()),
        "type": kind,
        "name": name or kind.capitalize(),
        "message": message,
        "timestamp": "2026-10-01T12:00:00Z",
        "data": data,
    }


class _Http(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Leave out a client that goes away, which a trigger does as it ends; anything else is a fault of the fake."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakePrefect:
    """The server's memory and its answers. Used as a context manager, which opens its port."""

    def __init__(self) -> None:
        self.flows: dict[str, str] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.flow_runs: dict[str, dict[str, Any]] = {}
        self.artifacts: list[dict[str, Any]] = []
        self.blocks: dict[str, dict[str, Any]] = {}
        self.requests: list[Asked] = []
        self.authorization: str | None = None
        """What the header of this name has to be, if anything."""
        self.coming: list[dict[str, Any]] = []
        """The states that a run created from now on is in at its first, second… poll; the last one stays."""
        self.instead: list[Callable[[Asked], Answer | None]] = []
        """Asked first; whatever is not ``None`` is the answer."""
        self._ahead: dict[str, list[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._http = _Http(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._http.block_on_close = False

    def __enter__(self) -> FakePrefect:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def ui_url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    @property
    def api_url(self) -> str:
        return f"{self.ui_url}/api"

    # What a test tells it

    def add_deployment(self, path: str) -> str:
        """Serve ``flow/deployment``; returns its id."""
        flow, _, name = path.partition("/")
        flow_id = next((key for key, value in self.flows.items() if value == flow), None) or str(uuid.uuid4())
        self.flows[flow_id] = flow
        deployment_id = str(uuid.uuid4())
        self.deployments[deployment_id] = {"id": deployment_id, "name": name, "flow_id": flow_id}
        return deployment_id

    def add_flow_run(self, *states: dict[str, Any] | str, **fields: Any) -> str:
        """Have a flow run that is in these states at its first, second… poll; returns its id."""
        run_id = fields.get("id") or str(uuid.uuid4())
        seen = [state(one) if isinstance(one, str) else one for one in states]
        self.flow_runs[run_id] = {
            "id": run_id,
            "name": "brave-otter",
            "labels": {},
            "parameters": {},
            "start_time": None,
            "end_time": None,
            "state": seen[0],
            **fields,
        }
        self._ahead[run_id] = seen
        return run_id

    def put_into(self, run_id: str, *states: dict[str, Any]) -> None:
        """Have the run be in these states from now on, as in :meth:`add_flow_run`."""
        self.flow_runs[run_id]["state"] = states[0]
        self._ahead[run_id] = list(states)

    def answer(self, method: str, path: str, status: int, body: Any = None, times: int | None = None) -> None:
        """Answer ``method path`` (both regular expressions) like this, ``times`` times or for good."""
        left = [times]

        def given(asked: Asked) -> Answer | None:
            if not re.fullmatch(method, asked.method) or not re.fullmatch(path, asked.path) or left[0] == 0:
                return None
            if left[0] is not None:
                left[0] -= 1
            return Answer(status, body)

        self.instead.append(given)

    # What a test asks it

    def asked(self, method: str, path: str) -> list[Asked]:
        """The requests whose method and path match these regular expressions."""
        return [one for one in self.requests if re.fullmatch(method, one.method) and re.fullmatch(path, one.path)]

    @property
    def created(self) -> list[Any]:
        """The bodies of all requests to create a flow run."""
        return [one.body for one in self.asked("POST", "/deployments/.*/create_flow_run")]

    @property
    def cancelled(self) -> list[str]:
        """The ids of the flow runs that were asked to stop."""
        return [
            one.path.split("/")[2]
            for one in self.asked("POST", "/flow_runs/.*/set_state")
            if one.body["state"]["type"] == "CANCELLING"
        ]

    # Its answers

    def reply(self, asked: Asked) -> Answer:
        with self._lock:
            self.requests.append(asked)
            for instead in self.instead:
                answer = instead(asked)
                if answer is not None:
                    return answer
            if self.authorization and asked.headers.get("authorization") != self.authorization:
                return Answer(401, {"exception_message": "Unauthorized"})
            return self._route(asked)

    def _route(self, asked: Asked) -> Answer:
        for method, pattern, route in _ROUTES:
            found = re.fullmatch(pattern, asked.path)
            if found and asked.method == method:
                return route(self, asked.body, *found.groups())
        return Answer(404, {"detail": "Not Found"})

    def _version(self, body: Any) -> Answer:
        return Answer(200, "3.8.8")

    def _deployment_by_name(self, body: Any, flow: str, name: str) -> Answer:
        for one in self.deployments.values():
            if (self.flows[one["flow_id"]], one["name"]) == (flow, name):
                return Answer(200, one)
        return Answer(404, {"detail": "Deployment not found"})

    def _deployment(self, body: Any, deployment_id: str) -> Answer:
        found = self.deployments.get(deployment_id)
        return Answer(200, found) if found else Answer(404, {"detail": "Deployment not found"})

    def _deployments(self, body: Any) -> Answer:
        wanted = (body.get("flows") or {}).get("name", {}).get("any_")
        rows = [one for one in self.deployments.values() if wanted is None or self.flows[one["flow_id"]] in wanted]
        return Answer(200, rows)

    def _flows(self, body: Any) -> Answer:
        return Answer(200, [{"id": key, "name": name} for key, name in self.flows.items()])

    def _create(self, body: Any, deployment_id: str) -> Answer:
        flow_id = self.deployments[deployment_id]["flow_id"]
        for run in self.flow_runs.values():
            if (run.get("flow_id"), run.get("idempotency_key")) == (flow_id, body["idempotency_key"]):
                return Answer(200, run)
        run_id = self.add_flow_run(
            state("SCHEDULED"), *self.coming, flow_id=flow_id, deployment_id=deployment_id, **_kept(body)
        )
        return Answer(201, self._polled(run_id))

    def _flow_run(self, body: Any, run_id: str) -> Answer:
        if run_id not in self.flow_runs:
            return Answer(404, {"detail": "Flow run not found"})
        return Answer(200, self._polled(run_id))

    def _flow_runs(self, body: Any) -> Answer:
        criteria = body["flow_runs"]
        if "id" in criteria and "offset" not in body:  # a watcher's poll
            types = criteria.get("state", {}).get("type", {}).get("any_")
            runs = [self._polled(one) for one in criteria["id"]["any_"] if one in self.flow_runs]
            return Answer(200, [run for run in runs if types is None or run["state"]["type"] in types])
        keys, ids = (criteria.get(name, {}).get("any_", ()) for name in ("idempotency_key", "id"))
        found = [run for run in self.flow_runs.values() if run.get("idempotency_key") in keys or run["id"] in ids]
        return Answer(200, found[body.get("offset", 0) :])

    def _count(self, body: Any) -> Answer:
        return Answer(200, sum(one in self.flow_runs for one in body["flow_runs"]["id"]["any_"]))

    def _polled(self, run_id: str) -> dict[str, Any]:
        ahead = self._ahead[run_id]
        self.flow_runs[run_id]["state"] = ahead.pop(0) if len(ahead) > 1 else ahead[0]
        return self.flow_runs[run_id]

    def _set_state(self, body: Any, run_id: str) -> Answer:
        if run_id not in self.flow_runs:
            return Answer(404, {"detail": "Flow run not found"})
        run = self.flow_runs[run_id]
        if run["state"]["type"] in FINAL and body["state"]["type"] == "CANCELLING":
            return Answer(200, {"status": "ABORT", "state": None, "details": {"reason": "already finished"}})
        self.put_into(run_id, state(body["state"]["type"], body["state"].get("name"), body["state"].get("message")))
        return Answer(201, {"status": "ACCEPT", "state": run["state"], "details": {}})

    def _artifacts(self, body: Any) -> Answer:
        criteria = body["artifacts"]
        rows = [
            one
            for one in self.artifacts
            if one["flow_run_id"] in criteria["flow_run_id"]["any_"] and one["key"] in criteria["key"]["any_"]
        ]
        return Answer(200, rows[body.get("offset", 0) :])

    def _block(self, body: Any, block_id: str) -> Answer:
        return Answer(200, self.blocks[block_id])

    def _nothing(self, body: Any) -> Answer:
        return Answer(200, [])


def _kept(body: dict[str, Any]) -> dict[str, Any]:
    kept = ("parameters", "tags", "labels", "context", "idempotency_key")
    return {"name": body.get("name") or "made-up", **{name: body[name] for name in kept if name in body}}


_ROUTES: Sequence[tuple[str, str, Callable[..., Answer]]] = (
    ("GET", "/admin/version", FakePrefect._version),
    ("GET", "/deployments/name/([^/]+)/([^/]+)", FakePrefect._deployment_by_name),
    ("GET", "/deployments/([^/]+)", FakePrefect._deployment),
    ("POST", "/deployments/filter", FakePrefect._deployments),
    ("POST", "/deployments/([^/]+)/create_flow_run", FakePrefect._create),
    ("POST", "/flows/filter", FakePrefect._flows),
    ("GET", "/flow_runs/([^/]+)", FakePrefect._flow_run),
    ("POST", "/flow_runs/filter", FakePrefect._flow_runs),
    ("POST", "/flow_runs/count", FakePrefect._count),
    ("POST", "/flow_runs/([^/]+)/set_state", FakePrefect._set_state),
    ("POST", "/artifacts/filter", FakePrefect._artifacts),
    ("GET", "/block_documents/([^/]+)", FakePrefect._block),
    ("POST", "/logs/filter", FakePrefect._nothing),
    ("POST", "/task_runs/filter", FakePrefect._nothing),
)


def _handler(prefect: FakePrefect) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1  # head and body in one piece, which the other side does not wait 40 ms for

        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

        def do_PATCH(self) -> None:
            self._reply("PATCH")

        def _reply(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = prefect.reply(Asked(method, self.path.removeprefix("/api"), body, headers))
            text = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
