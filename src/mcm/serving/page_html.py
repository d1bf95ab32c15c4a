"""The parts of the page that Gradio has no component for; all text of others is escaped."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Sequence
from html import escape
from typing import Any
from urllib.parse import urlencode

from pydantic import ValidationError

from mcm.media import FORMATS
from mcm.serving.feed import News
from mcm.serving.live import MOST_SECONDS
from mcm.serving.order import Order
from mcm.serving.store import QUEUED, QueueFullError
from mcm.serving.tables import Job

STYLE = """
.pane { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: 8px; }
.pane video, .pane img, .pane .blank { width: 100%; max-width: 512px; aspect-ratio: auto;
  display: block; margin: auto; border-radius: 4px; }
.pane img { image-rendering: auto; }
.pane .blank { min-height: 180px; background: var(--background-fill-secondary); }
.pane img.cut { background: repeating-conic-gradient(#ccc 0 25%, #fff 0 50%) 0 / 24px 24px; }
.pane progress { width: 100%; }
.pane .clock { font-variant-numeric: tabular-nums; }
.links { display: flex; flex-wrap: wrap; gap: 8px; }
.links a { padding: 10px 14px; border: 1px solid var(--border-color-primary);
  border-radius: 8px; }
.choice { display: flex; flex-wrap: wrap; gap: 16px; padding: 8px; }
.choice input { display: block; max-width: 100%; }
.clips { display: grid; gap: 12px; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr));
  list-style: none; padding: 0; margin: 0; }
.clips img { width: 100%; border-radius: 4px; }
.clips li { margin: 0; overflow-wrap: anywhere; font-size: 0.85em; }
a:focus-visible, button:focus-visible, video:focus-visible { outline: 3px solid #f97316;
  outline-offset: 2px; }
"""


SHOW_PANE = "() => { document.getElementById('student').scrollIntoView({block: 'nearest'}); }"
"""Shows the clip on a phone, where it is below the button; browsers play only what is seen."""

AT_ONCE: dict[str, Any] = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}
"""Of an event that is answered at once, in its own request. Gradio's queue answers in a stream that
closes with the last waiting event: with Generate alone in it, it meets no other event's end."""


def empty_pane() -> str:
    """Return the place of a clip that nobody asked for yet."""
    return _pane("", '<div class="blank"></div>')


def waiting(job: Job) -> str:
    """Return the place of a clip that waits."""
    return _pane(_title(job), '<div class="blank"></div><p role="status">waits for its turn</p>')


def running(job: Job, news: News) -> str:
    """Return a clip as it looks so far, and how far it is."""
    if news.status == QUEUED:
        return waiting(job)
    shown = '<div class="blank"></div>'
    if news.preview is not None:
        data = base64.b64encode(news.preview).decode()
        shown = f'<img alt="after step {news.step}" src="data:image/webp;base64,{data}">'
    bar = f'<progress max="100" value="{news.percent}" aria-label="progress"></progress>'
    told = f'<p role="status">step {news.step} of {news.steps}</p>'
    return _pane(_title(job), shown + bar + told)


def finished(job: Job) -> str:
    """Return a clip that plays and what it cost, or why there is none."""
    if job.facts is None:
        return problem(job.error_message or "the clip failed")
    order, timings = job.read_order(), job.facts["timings"]
    parts = ", ".join(f"{name} {value:.2f}" for name, value in timings.items())
    clock = f'<p class="clock" role="status"><b>{sum(timings.values()):.2f} s</b> ({parts})</p>'
    notes = "".join(f"<p>{escape(text)}</p>" for text in job.facts["warnings"])
    return _pane(_title(job), _player(job, order) + clock + notes)


def _player(job: Job, order: Order) -> str:
    """Return a clip that plays; a transparent one is a picture over a chequered ground."""
    label = escape(order.prompt)
    if order.alpha:
        address = _address(job.id, format="webp")
        return f'<img class="cut" src="{address}" alt="{label}">'
    address = _address(job.id, format="mp4")
    return (
        f'<video src="{address}" aria-label="{label}" controls loop autoplay muted playsinline>'
        "</video>"
    )


def problem(message: str) -> str:
    """Return what went wrong, in the place of the clip."""
    return f'<div class="pane"><p role="alert">{escape(message)}</p></div>'


def message(error: Exception) -> str:
    """Return what a visitor is told of a request that was not accepted."""
    if isinstance(error, QueueFullError):
        return "too many clips are waiting; try again in a moment"
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{fault['loc'][0]}: {fault['msg']}"
    return str(error)


def live(prompt: str, model: str, steps: int) -> str:
    """Return a stream that plays as long as it is on the page."""
    query = {"prompt": prompt, "model": model, "steps": steps, "seconds": MOST_SECONDS}
    address = escape(f"../v1/live?{urlencode(query)}")
    return _pane(f"{escape(model)}, live", f'<img src="{address}" alt="{escape(prompt)}">')


def downloads(job: Job) -> str:
    """Return a link to the clip in every format."""
    if job.facts is None:
        return ""
    links = [
        f'<a download href="{_address(job.id, format=name)}">{_LABELS.get(name, name)}</a>'
        for name in FORMATS
    ]
    manifest = _address(job.id, variant="c2pa")
    links.append(f'<a download href="{manifest}">manifest beside webm (c2pa)</a>')
    return f'<nav class="links" aria-label="Download">{"".join(links)}</nav>'


def command(job: Job, source: str) -> str:
    """Return the command that makes the clip again with a model's embedded name or folder."""
    order = job.read_order()
    words = ["mcm", "generate", order.prompt, "--model", source]
    words += ["--steps", str(order.steps), "--seed", str(order.seed)]
    words += ["--guidance", f"{order.guidance:g}", "--size", order.size]
    words += ["--frames", str(order.frames)]
    if order.negative_prompt:
        words += ["--negative-prompt", order.negative_prompt]
    words += ["--loop"] * order.loop + ["--alpha"] * order.alpha
    return shlex.join([*words, "-o", f"clip{FORMATS[order.format]}"])


def gallery(jobs: Sequence[Job]) -> str:
    """Return pictures of clips, each a link to its clip."""
    if not jobs:
        return ""
    return f'<h2>Your clips</h2><ul class="clips">{"".join(map(_entry, jobs))}</ul>'


_LABELS = {"frames": "frames (zip of PNG)", "sheet": "sprite sheet (zip of PNG and JSON)"}


def _entry(job: Job) -> str:
    order = job.read_order()
    text = escape(order.prompt if len(order.prompt) <= 80 else f"{order.prompt[:79]}…")
    picture = f'<img loading="lazy" alt="" src="{_address(job.id, variant="thumbnail")}">'
    facts = f"{escape(order.model)}, {order.steps} steps, seed {order.seed}"
    link = f'<a target="_blank" href="{_address(job.id, format="mp4")}">{picture}{text}</a>'
    return f"<li>{link}<br>{facts}</li>"


def _pane(title: str, content: str) -> str:
    return f'<div class="pane"><h3>{title}</h3>{content}</div>'


def _title(job: Job) -> str:
    order = job.read_order()
    steps = "step" if order.steps == 1 else "steps"
    return f"{escape(order.model)}, {order.steps} {steps}, seed {order.seed}"


def _address(id: str, **query: str) -> str:
    words = "&amp;".join(f"{name}={value}" for name, value in query.items())
    return f"../v1/videos/{id}/content?{words}"
