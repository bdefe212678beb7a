"""Calls that can be tried where they are described: a body to change, a button to send it, and the answer below.

The only script of the server's pages. It is inline and allowed by its hash, so nothing else can run there, and it may
ask nobody but this server.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from typing import Any

from serving.errors import Headers

SCRIPT = """
for(const box of document.querySelectorAll('.try')){
const body=box.querySelector('textarea'),answer=box.querySelector('.answer'),curl=box.querySelector('.curl');
const key=document.querySelector('#key');
const line=()=>"curl -s "+location.origin+box.dataset.path+" -H 'content-type: application/json'"+
(key&&key.value?" -H 'x-api-key: "+key.value+"'":"")+
" -d '"+body.value.replace(/\\s*\\n\\s*/g,' ').replaceAll("'","'\\\\''")+"'";
const show=()=>{curl.textContent=line()};
body.addEventListener('input',show);if(key)key.addEventListener('input',show);
box.querySelector('.send').addEventListener('click',async()=>{
const began=performance.now();answer.hidden=false;answer.textContent='…';
try{const headers={'content-type':'application/json'};if(key&&key.value)headers['x-api-key']=key.value;
const got=await fetch(box.dataset.path,{method:'POST',headers,body:body.value});const text=await got.text();
let told=text;try{told=JSON.stringify(JSON.parse(text),null,1)}catch{}
answer.textContent=got.status+' in '+(performance.now()-began).toFixed(1)+' ms\\n'+told}
catch(error){answer.textContent='no answer: '+error.message}});
box.querySelector('.copy').addEventListener('click',async event=>{
await navigator.clipboard.writeText(line());event.target.textContent='Copied';
setTimeout(()=>{event.target.textContent='Copy curl'},1500)});
show()}
"""
STYLE = """
.try textarea{width:100%;box-sizing:border-box;min-height:7.5rem;font:14px/1.45 ui-monospace,monospace;color:var(--ink);
background:var(--band);border:1px solid var(--line);border-radius:.5em;padding:.7em;resize:vertical}
button{font:inherit;font-size:.9rem;padding:.3em .9em;border-radius:.45em;border:1px solid var(--mark);cursor:pointer;
background:var(--back);color:var(--mark)}button.send{background:var(--mark);color:var(--back)}
#key{font:inherit;padding:.3em .6em;border:1px solid var(--line);border-radius:.45em;
background:var(--band);color:var(--ink)}
.try details{margin:.6em 0}summary{cursor:pointer;color:var(--soft)}
pre.answer{max-height:24rem;overflow:auto}
"""
HEADERS: Headers = (
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        b"frame-ancestors 'none'; script-src 'sha256-%s'" % base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()),
    ),
    (b"referrer-policy", b"no-referrer"),
    (b"vary", b"accept"),
)
"""For the page with the script: it runs, and may ask this server; nothing else is loaded, run or framed."""
STATUSES = (
    (200, "answered"),
    (400, "a value, a field or the body does not fit; the message starts with its path, such as instances[3].age"),
    (401, "no API key, or none that is known (where keys are asked for)"),
    (404, "no such model, version or path"),
    (413, "the body or its number of rows is above the limit that the message names"),
    (415, "not JSON, or compressed in another way than gzip and deflate"),
    (429, "more requests per second than this key may send; Retry-After says how long to wait"),
    (503, "not ready, draining, or too much at once; Retry-After says how long to wait"),
)


def call(path: str, text: str, body: Any, answer: str = "", *, origin: str) -> str:
    """Return a call as HTML: what it is for, a body to send, the line for a terminal, and an answer to expect.

    Args:
        answer: What this body is answered with; empty shows none until it is sent.
        origin: The address in the line for a terminal until the script puts the page's own.
    """
    pretty = json.dumps(body, ensure_ascii=False, indent=1)
    quoted = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    line = f"curl -s {origin}{path} -H 'content-type: application/json' -d '{quoted}'"
    expected = f"<p class=soft>answers</p><pre><code>{html.escape(answer)}</code></pre>" if answer else ""
    rows = min(16, pretty.count("\n") + 1)
    return (
        f'<p><span class="verb">POST</span> <code>{html.escape(path)}</code> — {html.escape(text)}</p>'
        f'<div class="try" data-path="{html.escape(path)}"><pre><code class="curl">{html.escape(line)}</code></pre>'
        f"{expected}<details><summary>Try it here</summary>"
        f'<textarea rows="{rows}" spellcheck="false" aria-label="body of {html.escape(path)}">{html.escape(pretty)}'
        '</textarea><p><button class="send">Send</button></p><pre class="answer" hidden></pre></details>'
        '<p><button class="copy">Copy curl</button></p></div>'
    )


def key_field() -> str:
    """Return the field for an API key, which all calls of the page send."""
    return (
        '<p><label>API key <input id="key" type="password" autocomplete="off"></label> '
        '<span class="soft">sent as X-API-Key by this page only</span></p>'
    )


def statuses() -> str:
    """Return the table of the statuses that a caller meets."""
    rows = "".join(f"<tr><td><code>{code}</code></td><td>{html.escape(text)}</td></tr>" for code, text in STATUSES)
    return f'<div class="wide"><table><tr><th>status</th><th>when</th></tr>{rows}</table></div>'


def script() -> str:
    """Return the script's element."""
    return f"<script>{SCRIPT}</script>"
