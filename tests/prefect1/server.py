"""A test double of a Prefect 1 server: real HTTP on 127.0.0.1, the schema of a real server, tables in memory.

    with Prefect1Server() as server:
        flow_id = scenario.register_flow(server, "etl", tasks=["extract", "load"])
        …                                    # a client works with server.url
        server.requests[-1].calls[0].input   # what it asked

``server.fault(...)`` makes answers go wrong, ``server.meanwhile(...)`` lets something happen just before a request is
answered, and ``server.tables`` are what a test looks into afterwards.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tests.prefect1.calls import Call, Request
from tests.prefect1.errors import unauthenticated
from tests.prefect1.executing import Asked, answer, served_schema
from tests.prefect1.faults import Fault, Matching, Meanwhile, Plan
from tests.prefect1.tables import Tables

RUN_QUERIES = ("flow_run", "flow_run_by_pk")


class Prefect1Server:
    """One server. It starts with the tenant "default", as ``prefect server create-tenant`` would make it.

    With ``api_keys`` it is like Prefect Cloud: each key leads to the id of its default tenant, a request without a
    known key is refused, only rows of the tenant are seen, and ``auth_info`` is there. Give the id of a tenant that
    ``scenario.add_tenant`` made (``server.api_keys`` may be changed), or None for the first one.
    """

    def __init__(
        self,
        *,
        api_keys: Mapping[str, str | None] | None = None,
        tenant: str | None = "default",
        version: str = "2022.12.06",
        core_version: str = "1.4.1",
    ) -> None:
        self.cloud = api_keys is not None
        self.api_keys = dict(api_keys or {})
        self.tables = Tables(served_schema(self.cloud))
        self.requests: list[Request] = []
        self.api = {
            "backend": "CLOUD" if self.cloud else "SERVER",
            "mode": "normal",
            "version": version,
            "core_version": core_version,
            "release_timestamp": None,
        }
        self._plan = Plan()
        self.surprises: list[BaseException] = []
        self._http: _Http | None = None
        self._thread: threading.Thread | None = None
        if tenant is not None:
            self.tables.insert("tenant", name=tenant, slug=tenant, settings={}, info={})

    @property
    def port(self) -> int:
        """The port it listens on."""
        assert self._http is not None
        return int(self._http.server_address[1])

    @property
    def url(self) -> str:
        """Where the API is: the root, as that of a real server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def calls(self) -> list[Call]:
        """All that was asked for, in order."""
        return [call for request in list(self.requests) for call in request.calls]

    def called(self, *names: str) -> list[Call]:
        """What was asked for under these names."""
        return [call for call in self.calls if call.name in names]

    @property
    def tenant_id(self) -> str:
        """The id of the first tenant."""
        return str(self.tables.all("tenant")[0]["id"])

    def fault(
        self,
        *,
        on: str | Sequence[str] = (),
        about: str = "",
        skip: int = 0,
        times: int | None = 1,
        status: int = 200,
        errors: list[dict[str, Any]] | None = None,
        answer: Any = None,
        body: bytes | None = None,
        edit: Callable[[dict[str, Any]], Any] | None = None,
        retry_after: float | None = None,
        acted: bool = False,
        reset: bool = False,
        truncate: int | None = None,
        delay: float = 0.0,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Let the next answers go wrong: ``times`` of them (None: all), after ``skip`` that are given as usual.

        ``on`` names what is asked for ("flow_run", "create_flow_run"; anything, if empty) and ``about`` is a text that
        the request holds, such as an id. Then one of: ``status`` (``retry_after`` makes it a 429), ``errors`` in a 200
        answer (``faults.API_ERROR``), another ``answer`` as JSON, another ``body``, ``edit`` the answer that would be
        given, ``reset`` the connection, ``truncate`` the body, or only ``delay`` (seconds). With ``acted`` the server
        does what it is asked before the fault, so only the answer is lost.
        """
        given = dict(headers or {})
        if retry_after is not None:
            given["Retry-After"] = f"{retry_after:g}"
            status = 429 if status == 200 else status
        if errors is not None:
            answer = {"errors": errors, "data": None}
        if answer is not None:
            body = json.dumps(answer).encode()
            given["Content-Type"] = "application/json"
        if body is None and status != 200:
            body = f"<html>{status}</html>".encode()
        matching = Matching((on,) if isinstance(on, str) else tuple(on), about, skip, times)
        self._plan.add(Fault(matching, status, given, body, edit, acted, reset, truncate, delay))

    def meanwhile(
        self,
        do: Callable[[], Any],
        *,
        on: str | Sequence[str] = RUN_QUERIES,
        about: str = "",
        skip: int = 0,
        times: int | None = 1,
    ) -> None:
        """Do something just before a request is answered; which requests are meant is said as for ``fault``.

        This is how a run makes progress while a client waits for it, at exact places and without a clock.
        """
        matching = Matching((on,) if isinstance(on, str) else tuple(on), about, skip, times)
        self._plan.add(Meanwhile(matching, do))

    def healthy(self) -> None:
        """Forget all faults and happenings that are still to come."""
        self._plan.clear()

    def start(self, port: int = 0) -> None:
        """Listen, on a free port unless one is given; the tables are kept from one start to the next."""
        self._http = _Http(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop listening."""
        assert self._http is not None
        assert self._thread is not None
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Prefect1Server:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self.surprises and error is None:
            raise AssertionError("The double could not answer as a server would.") from self.surprises[0]

    def respond(self, request: Request) -> tuple[int, dict[str, Any]]:
        """The answer to a request, as a healthy server gives it."""
        if not request.query:
            return 400, {"errors": [{"message": "Must provide query string."}]}
        tenant_id = None
        if self.cloud:
            key = request.headers.get("authorization")
            if key is not None and not key.startswith("Bearer "):
                return 200, unauthenticated("Malformed Authorization header")
            if key is None or key.removeprefix("Bearer ") not in self.api_keys:
                return 200, unauthenticated()
            default = self.api_keys[key.removeprefix("Bearer ")] or self.tenant_id
            tenant_id = request.headers.get("x-prefect-tenant-id") or default
        asked = Asked(self.tables, self.api, tenant_id, self.surprises)
        return answer(asked, self.cloud, request.query, request.variables, request.operation)

    def handle(self, request: Request) -> tuple[Fault | None, int, bytes]:
        """What becomes of a request."""
        self.requests.append(request)
        for happening in self._plan.happenings(request):
            happening.do()
        fault = self._plan.fault(request)
        if fault and (fault.body is not None or fault.reset) and not fault.acted:
            return fault, fault.status, fault.body or b""
        status, content = self.respond(request)
        if fault and fault.edit:
            content = fault.edit(content)
        if fault and fault.body is not None:
            return fault, fault.status, fault.body
        return fault, status, json.dumps(content).encode()


class _Http(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], double: Prefect1Server) -> None:
        self.double = double
        super().__init__(address, _Handler)

    def handle_error(self, *_: object) -> None:
        """A client that goes away is none of the server's business; anything else is a fault of the double."""
        error = sys.exception()
        if error is not None and not isinstance(error, ConnectionError):
            self.double.surprises.append(error)

    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Http

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault, status, content = self.server.double.handle(self._request(body))
        if fault and fault.delay:
            time.sleep(fault.delay)
        if fault and fault.reset:
            # Closing with unsent data thrown away is what a peer sees as a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        self.send_response(status)
        headers = {"Content-Type": "application/json", **(fault.headers if fault else {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: fault.truncate if fault else None])
        if fault and fault.truncate is not None:
            self.close_connection = True

    def do_GET(self) -> None:
        self.send_error(400, "GET query missing.")

    def _request(self, body: bytes) -> Request:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            content = json.loads(body)
            variables = content.get("variables")
            as_text = isinstance(variables, str)
            values = json.loads(variables) if as_text else variables
            return Request(
                self.path,
                headers,
                body,
                content.get("query") or "",
                values or {},
                as_text,
                content.get("operationName"),
            )
        except (ValueError, AttributeError):
            return Request(self.path, headers, body)

    def log_message(self, *_: object) -> None:
        pass
