"""The colours of pages and plots, and the style sheet; apart from `pages` because `plots` needs the colours alone."""

from __future__ import annotations

INK, MUTED, RULE, PAPER = "#1a2027", "#66707b", "#d9dee4", "#fefefd"
THEMED = {INK: "ink", MUTED: "muted", RULE: "rule", PAPER: "paper"}
"""Colours that plots are drawn with -> the CSS variable that replaces them, so that plots follow the theme."""
ACCENT = "#3b7dd8"
PALETTE = (ACCENT, "#e4873b", "#3fa37c", "#a06cc9", "#d3566c", "#8a7b52", "#2fa5b8", "#7d8894")
"""Distinct on white and on near-black, and for the common colour-vision deficiencies in pairs."""

CSS = """
:root{--ink:#1a2027;--muted:#66707b;--rule:#d9dee4;--paper:#fff;--ground:#f4f6f8;--accent:#2f6fc7;
--good:#26805b;--warn:#a86511;--bad:#be3b50}
@media(prefers-color-scheme:dark){:root{--ink:#e4e8ec;--muted:#98a3ae;--rule:#343c45;--paper:#1b2026;--ground:#13171b;
--accent:#76a9ee;--good:#58bd92;--warn:#e0a458;--bad:#ee7c8d}}
*{box-sizing:border-box}
html{scroll-behavior:smooth;scroll-padding-top:1rem}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,
"Helvetica Neue",Arial,sans-serif;-webkit-text-size-adjust:100%}
header,main{max-width:1140px;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.25rem}
h1{font-size:1.75rem;line-height:1.2;letter-spacing:-.015em;margin:0 0 .35rem}
header p{color:var(--muted);margin:0 0 1rem;max-width:75ch}
nav{display:flex;flex-wrap:wrap;gap:.4rem;margin-bottom:.5rem}
nav a{color:var(--ink);text-decoration:none;font-size:.85rem;padding:.2rem .7rem;border:1px solid var(--rule);
border-radius:99px;background:var(--paper)}
nav a:hover{border-color:var(--accent);color:var(--accent)}
section{margin:1.6rem 0}
h2{font-size:1.12rem;margin:0 0 .7rem;letter-spacing:-.005em}
p{margin:.3rem 0 .8rem;max-width:80ch}
a{color:var(--accent)}
ul{margin:.3rem 0 .8rem;padding-left:1.2rem;max-width:85ch}
code{font:.9em ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.75rem}
.card{background:var(--paper);border:1px solid var(--rule);border-radius:10px;padding:.75rem .95rem;min-width:0}
.card span{display:block;color:var(--muted);font-size:.8rem}
.card b{display:block;font-size:1.4rem;font-weight:650;line-height:1.3;font-variant-numeric:tabular-nums;
overflow-wrap:anywhere}
.card b.long{font-size:1rem;line-height:1.55}
.card small{display:block;color:var(--muted);font-size:.78rem;line-height:1.35}
.card.good b{color:var(--good)}.card.warn b{color:var(--warn)}.card.bad b{color:var(--bad)}
p,li,figcaption,.sub,.card{overflow-wrap:anywhere}
pre{font:.86rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;background:var(--paper);border:1px solid
var(--rule);border-radius:10px;padding:.8rem .95rem;white-space:pre-wrap;overflow-wrap:anywhere;margin:0}
.scroll{overflow-x:auto;background:var(--paper);border:1px solid var(--rule);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:.86rem;font-variant-numeric:tabular-nums}
caption{text-align:left;color:var(--muted);padding:.6rem .8rem 0}
th{text-align:left;font-weight:600;color:var(--muted);font-size:.78rem;white-space:nowrap}
th,td{padding:.42rem .8rem;border-bottom:1px solid var(--rule);vertical-align:top}
tbody tr:last-child td{border-bottom:0}
tbody tr:hover{background:var(--ground)}
td.number,th.number{text-align:right;white-space:nowrap}
td.none{color:var(--muted)}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,21rem),1fr));gap:.75rem}
figure{margin:0;background:var(--paper);border:1px solid var(--rule);border-radius:10px;padding:.8rem;min-width:0}
figure svg,figure img{display:block;width:100%;height:auto;max-width:100%}
figure svg text{fill:var(--ink);font-family:inherit}
figure img.raster{border-radius:6px}
figcaption{color:var(--muted);font-size:.82rem;margin-top:.5rem}
section>figure,section>.scroll,section>.grid{margin-bottom:.75rem}
@media print{body{background:#fff}nav{display:none}figure,.card,.scroll{break-inside:avoid}}
"""
