"""The live page: one circuit, served on this machine only, behind a token that nobody can guess."""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import threading
import webbrowser
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from provnet.applications.inspection import details, neuron_search, shown_paths
from provnet.applications.inspection.explorer import Explorer
from provnet.applications.inspection.html import page, policy
from provnet.applications.inspection.model import PageQuestion, plain
from provnet.errors import OptionError, OutputError, ProvnetError
from provnet.face import Circuit
from provnet.face.circuit import PAGES

HOST = "127.0.0.1"
LARGEST = 4_000_000
"""Bytes of a request that is read."""

STALE = (
    "This address is no page of this studio: it belongs to one that has ended, or it was cut. Start the studio again "
    "and open the address that it prints; what stands behind # in the old one may be put behind the new one."
)


class Studio:
    """A page on a circuit that is being served. Made by `studio`; it ends with `stop`, or with the program.

    Example: `with circuit.studio(browser=False) as studio: print(studio.url)`
    """

    def __init__(self, explorer: Explorer, port: int | None, start: Mapping[str, Any]) -> None:
        self.explorer, self.start = explorer, dict(start)
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

    # -- what the page may ask -------------------------------------------------------------------------------

    def answer(self, name: str, given: Mapping[str, Any]) -> Any:
        """Return the answer to a request of the page. Raises `ProvnetError` for one that has none."""
        if name not in ANSWERS:
            raise OptionError(f"the page asked for {name!r}, which this studio does not know.")
        return self._worker.submit(ANSWERS[name], self, given).result()

    def question(self, given: Any) -> PageQuestion:
        """Return the question of a request. Raises `OptionError` where it is none."""
        if not isinstance(given, dict):
            raise OptionError("the question is missing.")
        known = {field.name for field in fields(PageQuestion)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise OptionError(f"a question has no {unknown[0]!r}.")
        asked = self.start | given
        for name in ("semiring", "rule", "order"):
            if not isinstance(asked.get(name, ""), str):
                raise OptionError(f"{name} is {asked[name]!r}: give a name.")
        theta, example = asked.get("theta"), asked.get("example", 0)
        if theta is not None and (isinstance(theta, bool) or not isinstance(theta, int | float)):
            raise OptionError(f"θ is {theta!r}: give a number.")
        if isinstance(example, bool) or not isinstance(example, int):
            raise OptionError(f"the example is {example!r}: give a whole number.")
        if not isinstance(asked.get("target", ""), str):
            raise OptionError(f"the target is {asked['target']!r}: give a text.")
        return self.explorer.question(**asked)


def _open(studio: Studio, given: Mapping[str, Any]) -> Any:
    explorer = studio.explorer
    question = studio.question(given.get("question"))
    held = explorer.circuit.session.data.activations[explorer.output]
    single = held.size == (held.shape[-1] if held.shape else 1)
    few = single and held.size <= TARGETS
    choices = {
        "algebras": [explorer.answers.algebra(name) for name in explorer.answers.semirings],
        "rules": list(explorer.answers.rules),
        "examples": explorer.circuit.batch,
        "classes": {str(number): name for number, name in explorer.classes.items()},
        "targets": ["predicted", *map(str, range(held.size))] if few else [],
    }
    return {"inspection": explorer.whole(question), "choices": choices}


TARGETS = 100
"""Targets that are listed; of more, one writes the number."""


def _view(studio: Studio, given: Mapping[str, Any]) -> Any:
    shown = [(_text(node), _whole(down), _whole(up)) for node, down, up in _list(given, "shown")]
    nodes = [_text(node) for node in _list(given, "nodes")]
    return studio.explorer.view(studio.question(given.get("question")), shown, nodes)


def _list(given: Mapping[str, Any], name: str) -> list[Any]:
    found = given.get(name, [])
    if not isinstance(found, list) or len(found) > 1_000_000:
        raise OptionError(f"{name} is no list.")
    if name == "shown" and not all(isinstance(one, list) and len(one) == 3 for one in found):
        raise OptionError("shown lists (neuron, inputs, outputs).")
    return found


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise OptionError(f"{given!r} is no text.")
    return given


def _whole(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 0:
        raise OptionError(f"{given!r} is no number of wires.")
    return min(given, 1 << 40)


def _layer(studio: Studio, given: Mapping[str, Any]) -> Any:
    layer = _whole(given.get("layer"))
    if layer not in studio.explorer.network.layers:
        raise OptionError(f"there is no layer {layer}.")
    count = min(_whole(given.get("count", 8)), 10_000)
    return neuron_search.strongest(studio.explorer, studio.question(given.get("question")), layer, count)


def _about(of: Callable[..., Any]) -> Callable[[Studio, Mapping[str, Any]], Any]:
    return lambda studio, given: of(studio.explorer, studio.question(given.get("question")), _text(given.get("node")))


ANSWERS: dict[str, Callable[[Studio, Mapping[str, Any]], Any]] = {
    "open": _open,
    "view": _view,
    "neuron": _about(details.details),
    "written": _about(details.written),
    "paths": lambda studio, given: shown_paths.best_paths(
        studio.explorer,
        studio.question(given.get("question")),
        _text(given.get("node")),
        _whole(given.get("k", 1)),
    ),
    "search": lambda studio, given: neuron_search.search(
        studio.explorer, studio.question(given.get("question")), _text(given.get("text"))
    ),
    "layer": _layer,
    "conservation": lambda studio, given: details.conservation(studio.explorer, studio.question(given.get("question"))),
}


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
            base = f"/{self.studio.token}"
            data = {"live": True, "base": base, "start": self.studio.start}
            text = page(f"{self.studio.explorer.circuit.session.data.model}: provnet studio", data, "'self'")
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
    circuit: Circuit,
    *,
    port: int | None = None,
    browser: bool = True,
    semiring: str = "real",
    rule: str = "zero",
    target: Any = None,
    example: int = 0,
    theta: float | None = None,
    **options: Any,
) -> Studio:
    """Serve a page on a circuit on 127.0.0.1, and open it in the browser. It runs beside the program.

    port      None: a free one. Raises `OutputError` if it is taken.   browser   False: only serve; see `url`.
    semiring, rule, target, example, theta   the question that the page opens with.
    options   of `Explorer`: more semirings and rules by name, classes (the outputs' names), output.
    Example: `circuit.studio(classes=["cat", "dog"])`
    """
    if port is not None and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port < 1 << 16):
        raise OptionError(f"port={port!r}: give a number from 0 to 65535, or leave it out.")
    explorer = Explorer(circuit, **options)
    asked = explorer.question(semiring=semiring, rule=rule, target=target, example=example, theta=theta)
    explorer.target_number(asked)
    explorer.class_names()
    served = Studio(explorer, port, {k: v for k, v in plain(asked).items() if v is not None})
    if browser:
        webbrowser.open(served.url)
    return served
