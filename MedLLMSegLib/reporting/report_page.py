"""What all pages of results share: their style, a picture with its title, and the frame."""

from __future__ import annotations

import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

from matplotlib.figure import Figure

from MedLLMSegLib.core.safe_files import atomic_write, write_text

STYLE = """
:root { color-scheme: light dark; --line: #d5d8dd; --soft: #5d6470; --back: #ffffff; --ink: \
#1c1e21; --box: #f4f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --line: #383c43; --soft: #9aa1ad; --back: #17181b; --ink: #e6e7ea; --box: #212327; } }
body { font: 16px/1.5 system-ui, sans-serif; background: var(--back); color: var(--ink);
       max-width: 1240px; margin: 2rem auto; padding: 0 1.25rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p.facts, figcaption, footer { color: var(--soft); }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem 1.4rem .4rem 0; text-align: left; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); } td.n, th.n { text-align: right; } tr.sum td { \
font-weight: 600; }
tr.group td { font-weight: 600; padding-top: 1rem; } tr.group ~ tr:not(.group, .sum) \
td:first-child { padding-left: 1.2rem; }
.swatch { display: inline-block; width: .95em; height: .95em; border-radius: .2em; \
vertical-align: -.12em;
          margin-right: .6em; box-shadow: 0 0 0 1px #0004; }
.light { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .5em;
         box-shadow: 0 0 0 1px #0004; }
.light.green { background: #2f9e44; } .light.amber { background: #e8a100; }
.light.red { background: #d9534f; }
figure { margin: 0 0 1.2rem; } img { width: 100%; height: auto; border-radius: .4rem; display: \
block; }
figcaption { font-size: .9rem; margin-top: .3rem; }
pre { background: var(--box); padding: .8rem 1rem; border-radius: .4rem; white-space: pre-wrap;
      overflow-wrap: anywhere; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .8rem; font-size: \
.9rem; }
"""


def write_picture(path: Path, picture: Figure, title: str, content: str) -> str:
    """Save a picture and return the HTML that shows it. content: for the alternative text."""
    data = io.BytesIO()
    picture.savefig(data, format="png", facecolor=picture.get_facecolor())
    with atomic_write(path) as temporary:
        temporary.write_bytes(data.getvalue())
    text = escape(title)
    return (
        f'<h2>{text}</h2>\n<figure><a href="{path.name}"><img src="{path.name}" alt="{text}:'
        f' {content}"></a></figure>'
    )


def page(name: str, kind: str, facts: str, blocks: Sequence[str], command: str | None) -> str:
    """A whole page as HTML.

    name: of the scan. kind: such as "segmentation report". facts: HTML, below the heading. blocks:
    HTML, one below the other. command: the line that repeats the run.
    """
    title, body = escape(name), "\n".join(blocks)
    repeat = f"<h2>To repeat it</h2>\n<pre>{escape(command)}</pre>\n" if command else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: {kind}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{title}</h1>
<p class="facts">{facts}</p>
{body}
{repeat}<footer>Made by MedLLMSeg. Research use only; not a medical device.</footer>
</body>
</html>
"""


def write_sentences(path: Path, title: str, sentences: Sequence[str]) -> Path:
    """Write sentences as plain text, one a line below the title."""
    return write_text(path, "\n".join([" ".join(title.split()), "", *sentences, ""]))


def sentences_paragraph(sentences: Sequence[str]) -> str:
    """Sentences as one paragraph of HTML."""
    return f"<p>{escape(' '.join(sentences))}</p>" if sentences else ""


def note_paragraphs(notes: Sequence[str]) -> str:
    """A paragraph for each note, each with its line's end."""
    return "".join(f"<p>{escape(note)}</p>\n" for note in notes)
