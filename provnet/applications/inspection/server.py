"""Pages that are served: on this machine only, behind a token that nobody can guess."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.html import one_file, page, policy
from provnet.applications.inspection.model import plain
from provnet.applications.inspection.requests import Requests
from provnet.errors import OptionError, OutputError, ProvnetError
from provnet.face import Circuit, GateCircuit
from provnet.face.pages import PAGES

HOST = "127.0.0.1"
LARGEST = 4_000_000
"""Bytes of a request that is read."""

STALE = (
    "This address is no page of this studio: it belongs to one that has ended, or it was cut. Start the studio again "
    "and open the address that it prints; what stands behind # in the old one may be put behind the new one."
)


class Studio:
    """A page that is being served. Made by `studio`; it ends with `stop`, or with the program.

    Example: `with circuit.studio(browser=False) as studio: print(studio.url)`
    """

    def __init__(self, text: Callable[[str], str], requests: Requests | None, port: int | None) -> None:
        """Args: `text` makes the page for the path that it is served under; `requests` answers it, None: nothing."""
        self.text, self.requests = text, requests
        self.token = secrets.token_urlsafe(24)
        # One thread asks the circuit: what evaluations share is kept by thread.
        self._worker = ThreadPoolExecutor(1, "provnet-studio-answers")
        handler = type("Handler", (_Handler,), {"studio": self})
        try:
            self._server = _Server((HOST, port or 0), handler)
        except (OSError, OverflowError) as error:
            raise OutputError(
                f"port {port} cannot be taken ({error}). Choose another with port=, or leave it out and get a free one."
            ) from error
        self._thread = threading.Thread(target=self._server.serve_forever, name="provnet-studio", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The page's address on this machine, the token in it."""
        return f"http://{HOST}:{self.port}/{self.token}/"

    def stop(self) -> None:
        """End the page and give the port back."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._worker.shutdown(wait=False, cancel_futures=True)

    def wait(self) -> None:
        """Wait until the page ends, or the user interrupts."""
        try:
            while self._thread.is_alive():
                self._thread.join(0.5)
        except KeyboardInterrupt:
            self.stop()

    def __enter__(self) -> Studio:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _repr_html_(self) -> str:
        return f'<a href="{self.url}" target="_blank" rel="noopener">provnet studio</a>'

    def __repr__(self) -> str:
        return f"Studio({self.url})"

    def answer(self, name: str, given: Mapping[str, Any]) -> Any:
        """Return the answer to a request of the page. Raises `ProvnetError` for one that has none."""
        if self.requests is None:
            raise OptionError("this page holds all that it shows: there is nothing to ask.")
        return self._worker.submit(self.requests.answer, name, given).result()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = False  # a port that another program serves is refused, not shared

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a page that was closed before its answer came."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    studio: Studio
    protocol_version = "HTTP/1.0"  # a connection a request: when the studio ends, no open one answers on
    server_version, sys_version = "provnet", ""

    def do_GET(self) -> None:
        if self._known() and self.path.split("?")[0].rstrip("/") == f"/{self.studio.token}":
            text = self.studio.text(f"/{self.studio.token}")
            self._send(HTTPStatus.OK, text.encode(), "text/html; charset=utf-8")
        else:
            self._send(HTTPStatus.FORBIDDEN, STALE.encode(), "text/plain; charset=utf-8")

    def do_POST(self) -> None:
        name = self.path.removeprefix(f"/{self.studio.token}/api/")
        if not self._known() or name == self.path:
            return self._refuse(HTTPStatus.FORBIDDEN, STALE)
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            return self._refuse(HTTPStatus.LENGTH_REQUIRED, "the request does not say its length.")
        if not 0 <= length <= LARGEST or not self.headers.get("Content-Type", "").startswith("application/json"):
            return self._refuse(HTTPStatus.BAD_REQUEST, "a request is JSON of at most four megabytes.")
        try:
            given = json.loads(self.rfile.read(length))
            if not isinstance(given, dict):
                raise OptionError("a request is a JSON object.")
            content = json.dumps(plain(self.studio.answer(name, given)), ensure_ascii=False, allow_nan=False)
        except ProvnetError as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, str(error))
        except (ValueError, RecursionError) as error:
            return self._refuse(HTTPStatus.BAD_REQUEST, f"the request cannot be read ({error}).")
        self._send(HTTPStatus.OK, content.encode("utf-8", "replace"), "application/json; charset=utf-8")

    def _known(self) -> bool:
        """Whether the request names this studio's host and token: a page elsewhere knows neither."""
        host = self.headers.get("Host", "")
        token = self.path.split("/")[1] if "/" in self.path else ""
        local = host in (f"{HOST}:{self.studio.port}", f"localhost:{self.studio.port}")
        return local and hmac.compare_digest(token.encode(), self.studio.token.encode())

    def _refuse(self, status: HTTPStatus, message: str) -> None:
        content = json.dumps({"error": message}, ensure_ascii=False).encode("utf-8", "replace")
        self._send(status, content, "application/json; charset=utf-8")

    def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", policy("'self'") + "; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the terminal is the user's."""


@PAGES.register("studio")
def studio(
    subject: Circuit | GateCircuit,
    *,
    port: int | None = None,
    browser: bool = True,
    **options: Any,
) -> Studio:
    """Serve a page on a circuit on 127.0.0.1, and open it in the browser. It runs beside the program.

    subject   a circuit, whose page asks it whatever the reader wants to know; or gates, whose page is the one that
              `write_html` writes, and holds all of them.
    port      None: a free one. Raises `OutputError` if it is taken.   browser   False: only serve; see `url`.
    options   for a circuit, the question that the page opens with (semiring, rule, target, example, theta), and what
              `Explorer` takes: more semirings and rules by name, classes (the outputs' names), output.
              For gates, what `inspect` takes of them: semirings, rule, theta, valuation.
    Example: `circuit.studio(classes=["cat", "dog"])`
    """
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16):
        raise OptionError(f"port={port!r}: give a number from 0 to 65535, or leave it out.")
    served = _of_gates(subject, port, options) if isinstance(subject, GateCircuit) else _live(subject, port, **options)
    if browser:
        webbrowser.open(served.url)
    return served


def _of_gates(gates: GateCircuit, port: int | None, options: Mapping[str, Any]) -> Studio:
    text = one_file(gates, "gates: provnet studio", options)
    return Studio(lambda base: text, None, port)


def _live(
    circuit: Circuit,
    port: int | None,
    *,
    semiring: str = "real",
    rule: str = "zero",
    target: Any = None,
    example: int = 0,
    theta: float | None = None,
    **options: Any,
) -> Studio:
    explorer = Explorer(circuit, **options)
    asked = explorer.question(semiring=semiring, rule=rule, target=target, example=example, theta=theta)
    explorer.target_number(asked)
    explorer.class_names()
    start = {name: value for name, value in plain(asked).items() if value is not None}

    def text(base: str) -> str:
        return page(f"{circuit.data.model}: provnet studio", {"live": True, "base": base, "start": start}, "'self'")

    return Studio(text, Requests(explorer, start), port)
