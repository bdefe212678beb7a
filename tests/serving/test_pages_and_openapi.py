"""What people and tools read about a server is true."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest

from serving.bundle import Bundle
from serving.pages import render_markdown
from tests.serving.browser import Page

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Balanced(HTMLParser):
    """Fails where a tag is closed that was not opened last; collects what a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value or "" for name, value in attributes if name == "src" or (tag == "link" and name == "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def _parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def test_the_card_is_markdown_for_tools_and_a_page_for_browsers(server: Any) -> None:
    url = f"{server.url}/v1/models/m/card"
    plain = httpx.get(url)
    page = httpx.get(url, headers={"accept": "text/html,application/xhtml+xml,*/*;q=0.8"})

    assert plain.headers["content-type"].startswith("text/markdown")
    assert plain.text.startswith("# mixed")
    assert page.headers["content-type"].startswith("text/html")
    assert "<td>&lt;2&gt;</td>" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert _parsed(page.text).loads == []


def test_every_line_of_the_docs_page_works(server: Any) -> None:
    page = httpx.get(f"{server.url}/docs").text
    links = [path for path in re.findall(r'href="([^"]+)"', page) if path.startswith("/")]
    lines = re.findall(r'<code class="curl">(curl [^<]+)</code>', page)

    assert _parsed(page).loads == []
    assert {httpx.get(server.url + path).status_code for path in links} == {200}
    assert len(lines) == 3
    for line in lines:
        command = _unescaped(line).replace("curl -s", "curl -sf")
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
        assert done.returncode == 0, command
        assert b"predict" in done.stdout or b"outputs" in done.stdout
    answers = re.findall(r"answers</p><pre><code>([^<]+)</code>", page)
    first = subprocess.run(["bash", "-c", _unescaped(lines[0])], capture_output=True, check=False)
    assert [json.loads(_unescaped(answer)) for answer in answers] == [json.loads(first.stdout)]


def test_the_grpc_service_is_described_for_clients_without_its_source(server: Any) -> None:
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    answer = httpx.get(f"{server.url}/inference.protoset")
    (file,) = FileDescriptorSet.FromString(answer.content).file

    assert answer.headers["content-type"] == "application/octet-stream"
    assert [f"{file.package}.{service.name}" for service in file.service] == ["inference.GRPCInferenceService"]
    assert {method.name for service in file.service for method in service.method} >= {"ModelInfer", "ServerReady"}
    assert any(message.name == "ModelInferRequest" for message in file.message_type)


@pytest.mark.browser
def test_calls_can_be_sent_from_the_page_and_nothing_else_can_run_there(server: Any, tmp_path: Path) -> None:
    """In a real browser: the body is changed, sent and answered; a foreign script and a foreign address are refused."""
    with Page(f"{server.url}/docs", tmp_path) as page:
        sent = page.run(
            """(async () => {
            const box = document.querySelector('.try'), field = box.querySelector('textarea');
            field.value = field.value.replace(/"age": [^,]+/, '"age": "old"');
            field.dispatchEvent(new Event('input'));
            box.querySelector('.send').click();
            const answer = box.querySelector('.answer');
            for (let i = 0; i < 100 && answer.textContent.length < 3; i++) await new Promise(r => setTimeout(r, 50));
            return [answer.textContent, box.querySelector('.curl').textContent];
            })()"""
        )
        blocked = page.run(
            """(async () => {
            const other = document.createElement('script');
            other.textContent = 'window.foreign = true';
            document.body.append(other);
            const asked = await fetch('http://127.0.0.1:9/').then(() => 'asked', error => 'refused');
            return [String(window.foreign), asked];
            })()"""
        )

    assert sent[0].startswith("400 in ")
    assert 'expected a number, got \\"old\\"' in sent[0]
    assert sent[1].startswith(f"curl -s {server.url}/v1/models/m:predict")
    assert '"age": "old"' in sent[1]
    assert blocked == ["undefined", "refused"]


def _unescaped(text: str) -> str:
    import html

    return html.unescape(text)


def test_the_schema_document_has_an_example_that_works(server: Any, mixed: Bundle) -> None:
    document = httpx.get(f"{server.url}/v1/models/m/schema").json()
    answer = httpx.post(f"{server.url}/v1/models/m:predict", json={"instances": [document["example"]]})

    assert [column["name"] for column in document["columns"]] == list(mixed.schema.names)
    assert document["digest"] == mixed.digest
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("# A `b`\ntext", "<h1>A <code>b</code></h1><p>text</p>"),
        ("- one\n- **two**", "<ul><li>one</li><li><b>two</b></li></ul>"),
        ("[x](https://a.b) [y](javascript:z)", '<p><a href="https://a.b">x</a> [y](javascript:z)</p>'),
        ("```\n<a>\n```", "<pre><code>&lt;a&gt;\n</code></pre>"),
        ("<script>", "<p>&lt;script&gt;</p>"),
    ],
)
def test_markdown_becomes_html_and_html_becomes_text(text: str, html: str) -> None:
    assert render_markdown(text) == html


@pytest.mark.parametrize("kind", ["mixed", "prices"])
def test_schemathesis_finds_nothing(
    run_server: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    _schemathesis(run_server, request.getfixturevalue(kind), tmp_path, "examples,fuzzing", "6")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", ["mixed", "flowers", "prices"])
def test_schemathesis_finds_nothing_in_all_phases(
    run_server: Callable[..., Any], request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    _schemathesis(run_server, request.getfixturevalue(kind), tmp_path, "examples,coverage,fuzzing,stateful", "100")


def _schemathesis(run_server: Any, bundle: Bundle, folder: Path, phases: str, examples: str) -> None:
    command = [str(Path(sys.executable).parent / "st"), "run", "--checks", "all", "--no-color", "--phases", phases]
    with run_server(bundle.folder) as running:
        command += ["--max-examples", examples, "--generation-deterministic", f"{running.url}/openapi.json"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)

    assert done.returncode == 0, done.stdout[-4000:]
    assert "Operations:" in done.stdout


def test_a_browser_is_led_to_the_page_and_a_program_gets_json(server: Any) -> None:
    browser = httpx.get(server.url, headers={"accept": "text/html,application/xhtml+xml"})
    program = httpx.get(server.url)

    assert (browser.status_code, browser.headers["location"]) == (303, "/docs")
    assert program.json()["docs"] == "/docs"
    assert program.headers["vary"] == browser.headers["vary"] == "accept"
