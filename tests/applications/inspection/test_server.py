"""The server of the live page by itself: tokens, hosts, ports, requests that are no questions, the command line."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import provnet
from provnet.applications.inspection import Studio
from provnet.cli import app
from provnet.errors import OptionError, OutputError, TargetError, UnknownNameError
from tests.applications.inspection.browsing import small


@pytest.fixture(scope="module")
def studio() -> Iterator[Studio]:
    with small().studio(browser=False) as served:
        yield served


def ask(
    studio: Studio, path: str, body: Any = None, host: str | None = None, kind: str = "application/json"
) -> tuple[int, bytes, Any]:
    """Return (status, content, headers) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20)
    headers = {"Host": host or f"127.0.0.1:{studio.port}", "Content-Type": kind}
    content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    connection.request("GET" if body is None else "POST", path, content, headers)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


@pytest.mark.guarantee("a live page is served on this machine only, to whoever holds its token")
def test_without_the_token_there_is_nothing(studio: Studio):
    token = studio.token
    assert studio.url == f"http://127.0.0.1:{studio.port}/{token}/"
    assert len(token) >= 32
    assert ask(studio, f"/{token}/")[0] == 200
    for path in ("/", "/favicon.ico", f"/{token[:-1]}/", f"/{token}x/", "//", f"/x/{token}/", f"/{token}/../x"):
        status, content, _ = ask(studio, path)
        assert status == 403
        assert b"Start the studio again" in content
    question = {"question": {}}
    assert ask(studio, f"/{token}/api/open", question)[0] == 200
    assert ask(studio, f"/{token[:-1]}/api/open", question)[0] == 403
    assert ask(studio, f"/{token}/api/open", question, host="evil.example")[0] == 403  # DNS rebinding
    assert ask(studio, f"/{token}/api/open", question, kind="text/plain")[0] == 400  # a form elsewhere cannot send JSON


def test_what_the_page_is_allowed(studio: Studio):
    _, content, headers = ask(studio, f"/{studio.token}/")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert content.startswith(b"<!doctype html>")


def test_it_listens_on_this_machine_only(studio: Studio):
    assert studio._server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("nothing", {}, "does not know"),
        ("open", {}, "the question is missing"),
        ("open", {"question": []}, "the question is missing"),
        ("open", {"question": {"evil": 1}}, "has no 'evil'"),
        ("open", {"question": {"semiring": 5}}, "give a name"),
        ("open", {"question": {"semiring": "viterby"}}, "Known"),
        ("open", {"question": {"theta": "0.1"}}, "give a number"),
        ("open", {"question": {"example": 1.5}}, "give a whole number"),
        ("open", {"question": {"example": -1}}, "the circuit has 2"),
        ("open", {"question": {"target": "x"}}, "target='x' is unknown"),
        ("open", {"question": {"target": "9"}}, "out of range"),
        ("view", {"question": {}, "shown": 5}, "no list"),
        ("view", {"question": {}, "shown": [["0.1"]]}, "shown lists"),
        ("view", {"question": {}, "shown": [["0.1", -1, 0]]}, "no number of wires"),
        ("view", {"question": {}, "shown": [["0.99", 1, 0]]}, "no neuron"),
        ("view", {"question": {}, "nodes": [None]}, "no text"),
        ("neuron", {"question": {}}, "no text"),
        ("paths", {"question": {}, "node": "0.1", "k": 0}, "1 to 100"),
        ("layer", {"question": {}, "layer": 5}, "no layer 5"),
        ("open", b"{", "cannot be read"),
        ("open", b"[1]", "a JSON object"),
        ("open", b"\xff", "cannot be read"),
        ("open", b"[" * 100_000, "cannot be read"),
    ],
)
def test_requests_that_are_no_questions(name: str, body: Any, words: str, studio: Studio):
    status, content, _ = ask(studio, f"/{studio.token}/api/{name}", body)
    assert status == 400
    assert words in json.loads(content)["error"]
    assert ask(studio, f"/{studio.token}/api/open", {"question": {}})[0] == 200  # it goes on


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 99) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(["open", "view", "neuron", "written", "paths", "search", "layer", "conservation"]),
    st.dictionaries(st.sampled_from(["question", "shown", "nodes", "node", "k", "text", "layer", "count"]), JSON),
)
def test_no_request_breaks_the_server(name: str, body: dict[str, Any]):
    """Fuzzed: an answer, or one sentence; never a traceback."""
    studio = fuzzed()
    status, content, _ = ask(studio, f"/{studio.token}/api/{name}", body)
    assert status in (200, 400)
    assert isinstance(json.loads(content), dict | list)


def fuzzed(made: list[Studio] = []) -> Studio:  # noqa: B006  # one server for all examples; it ends with the program
    if not made:
        made.append(small().studio(browser=False))
    return made[0]


def test_questions_at_once(studio: Studio):
    """Several pages may ask at the same time; each gets its own answer."""
    found: dict[str, str] = {}

    def one(semiring: str) -> None:
        body = {"question": {"semiring": semiring}}
        found[semiring] = json.loads(ask(studio, f"/{studio.token}/api/open", body)[1])["inspection"]["question"][
            "semiring"
        ]

    names = ["real", "boolean", "viterbi", "tropical", "counting"]
    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {name: name for name in names}


def test_a_port_in_use_is_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(OutputError, match="cannot be taken"):
            small().studio(browser=False, port=taken.getsockname()[1])
    with small().studio(browser=False) as first, pytest.raises(OutputError, match="leave it out"):
        small().studio(browser=False, port=first.port)
    for port in (-1, 70_000, True, "80"):
        with pytest.raises(OptionError, match="from 0 to 65535"):
            small().studio(browser=False, port=port)


def test_it_ends_and_gives_the_port_back():
    with small().studio(browser=False) as studio:
        port = studio.port
        assert "127.0.0.1" in repr(studio)
        assert studio.url in studio._repr_html_()
    with pytest.raises(OSError, match=r"."), socket.create_connection(("127.0.0.1", port), timeout=1):
        pass


def test_the_browser_is_opened_once_and_only_if_asked(monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    with small().studio() as studio:
        assert opened == [studio.url]
    with small().studio(browser=False):
        assert len(opened) == 1


def test_bad_options_are_refused_before_anything_is_served():
    before = threading.active_count()
    with pytest.raises(UnknownNameError):
        small().studio(browser=False, semiring="none")
    with pytest.raises(TargetError):
        small().studio(browser=False, target=9)
    with pytest.raises(OptionError):
        small().studio(browser=False, classes="abcdef")
    assert threading.active_count() == before


def test_semirings_and_rules_of_ones_own():
    best = provnet.semirings.make(torch.maximum, torch.mul, 0.0, 1.0, name="mine", annotation="absolute")
    rule = provnet.rules.Composite({"0": provnet.rules.Flat()})
    with small().studio(browser=False, semirings={"mine": best}, rules={"first flat": rule}) as studio:
        body = {"question": {"semiring": "mine", "rule": "first flat"}}
        status, content, _ = ask(studio, f"/{studio.token}/api/open", body)
        assert status == 200
        nodes = json.loads(content)["inspection"]["nodes"]
        expected = small().evaluate(best, rule=rule, at="*", route="reference")
        for node in nodes:
            layer = small().data.activations[node["layer"]].name
            assert node["values"]["mine"] == expected[layer][0].reshape(-1)[node["index"]].item()


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    provnet.save(small(), tmp_path / "small.circuit")
    return tmp_path / "small.circuit"


def test_the_command_writes_a_file(saved: Path, tmp_path: Path):
    names = tmp_path / "names.txt"
    names.write_text("one\ntwo\nthree\n", "utf-8")
    out = tmp_path / "page.html"
    arguments = ["studio", str(saved), "--html", str(out), "--at", "0[2]", "--classes", str(names)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert "two" in out.read_text("utf-8")
    again = CliRunner().invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists already" in again.output
    assert CliRunner().invoke(app, [*arguments, "--force"]).exit_code == 0


def test_the_command_takes_saved_gates(tmp_path: Path):
    provnet.save(small().gates(at="input[0]"), tmp_path / "gates.circuit")
    out = tmp_path / "page.html"
    result = CliRunner().invoke(app, ["studio", str(tmp_path / "gates.circuit"), "--html", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"file": str(out)}
    assert out.is_file()
    result = CliRunner().invoke(app, ["studio", str(tmp_path / "gates.circuit"), "--target", "1"])
    assert result.exit_code == 2
    assert "shown as they are" in result.output


def test_the_command_refuses(saved: Path, tmp_path: Path):
    def refused(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["studio", *arguments])
        assert result.exit_code == 2, result.output
        return result.output

    assert "goes with --html" in refused(str(saved), "--no-browser", "--at", "0[2]")
    assert "cannot be read" in refused(str(saved), "--no-browser", "--classes", str(tmp_path / "none"))
    assert "no semiring" in refused(str(saved), "--no-browser", "--semiring", "none")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert "cannot be taken" in refused(str(saved), "--no-browser", "--port", str(taken.getsockname()[1]))


def ended(program: subprocess.Popen[str]) -> int | None:
    """Return how a program ended within 20 seconds; it is killed and None if it did not."""
    try:
        return program.wait(20)
    except subprocess.TimeoutExpired:
        program.kill()
        return None


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(saved: Path):
    command = [sys.executable, "-m", "provnet", "studio", str(saved), "--no-browser"]
    # A suite that itself runs behind `&` ignores SIGINT, and would hand that down.
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heard) as program:
        assert program.stdout is not None
        line = program.stdout.readline()
        address = re.match(r"http://127\.0\.0\.1:(\d+)(/\S+/)", line)
        assert address is not None, line
        connection = http.client.HTTPConnection("127.0.0.1", int(address[1]), timeout=20)
        connection.request("GET", address[2])
        assert connection.getresponse().status == 200
        program.send_signal(signal.SIGINT)
        start = time.monotonic()
        assert ended(program) == 0
        assert time.monotonic() - start < 15


def test_gates_are_served_as_the_page_that_holds_them():
    gates = small().gates(at="input[0]")
    with gates.studio(browser=False, semirings=["real", "viterbi"]) as studio:
        connection = http.client.HTTPConnection("127.0.0.1", studio.port, timeout=20)
        connection.request("GET", f"/{studio.token}/")
        text = connection.getresponse().read().decode()
        assert '"live":false' in text
        assert json.dumps(str(gates.formula()), ensure_ascii=False)[1:-1].replace("<", "\\u003c") in text
        status, content, _ = ask(studio, f"/{studio.token}/api/open", {"question": {}})
        assert status == 400
        assert "nothing to ask" in json.loads(content)["error"]
    with pytest.raises(OptionError, match="port"):
        gates.studio(browser=False, port=-1)
