"""The web page of an evaluation: curves over steps, tables, clips side by side; one file.

Real material is a dashed line across the curves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from mcm.evaluation.gallery import Shown
from mcm.evaluation.metric import Metric, Result, digits, titled
from mcm.evaluation.table import REAL_STEPS, TableRow

_COLOURS = ("#3366cc", "#dc3912", "#ff9900", "#109618", "#990099", "#0099c6", "#dd4477", "#66aa00")
_WIDTH, _HEIGHT, _PAD = 300, 190, 38
_STYLE = """
body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;
color:#222;background:#fff}
table{border-collapse:collapse;margin:1rem 0;font-size:13px}
th,td{padding:.25rem .6rem;border-bottom:1px solid #ddd;text-align:right;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
.wide{overflow-x:auto}
.curves{display:flex;flex-wrap:wrap;gap:1rem}
figure{margin:0}figcaption{font-size:13px;text-align:center}
.clips{display:flex;flex-wrap:wrap;gap:.6rem;margin:.4rem 0 1.4rem}
.clips img{height:128px;display:block}
.key span{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 1em;vertical-align:-.1em}
small{color:#666}code{font-size:12px;overflow-wrap:anywhere}
"""


def page(
    rows: Sequence[TableRow], metrics: Sequence[Metric], shown: Shown, head: Sequence[str]
) -> str:
    """Return the page as HTML that needs nothing but the clips beside it.

    Args:
        rows: The table.
        metrics: Its columns.
        shown: Prompts, and the file of each run's clip.
        head: The title, and what is said below it.
    """
    title, *told = map(escape, head)
    intro = "".join(f"<p>{text}</p>" for text in told)
    labels = list(dict.fromkeys(row.label for row in rows))
    colours = {label: _COLOURS[n % len(_COLOURS)] for n, label in enumerate(labels)}
    key = "".join(
        f'<span style="background:{colours[label]}"></span>{escape(label)}' for label in labels
    )
    curves = "".join(_figure(metric, rows, colours) for metric in metrics)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body><h1>{title}</h1>{intro}"
        f'<h2>Over steps</h2><p class="key">{key}</p><div class="curves">{curves}</div>'
        f"<h2>Values</h2><p><small>With 95 % bootstrap intervals.</small></p>"
        f"{_table(rows, metrics)}<h2>Commands</h2>{_commands(rows)}"
        f"<h2>Clips</h2>{_clips(shown)}</body></html>\n"
    )


def _commands(rows: Sequence[TableRow]) -> str:
    return "".join(
        f"<p>{escape(row.label)}, {row.steps_text}: <code>{escape(row.command)}</code></p>"
        for row in rows
    )


def _table(rows: Sequence[TableRow], metrics: Sequence[Metric]) -> str:
    heads = "".join(f"<th>{escape(titled(metric))}</th>" for metric in metrics)
    body = "".join(
        f"<tr><td>{escape(row.label)}</td><td>{row.steps_text}</td>"
        + "".join(f"<td>{_cell(row.results[metric.name])}</td>" for metric in metrics)
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><tr><th>model</th><th>steps</th>{heads}</tr>{body}</table></div>'
    )


def _cell(result: Result) -> str:
    if not result.count:
        return "–"
    return f"{digits(result.value)}<br><small>{digits(result.low)} – {digits(result.high)}</small>"


def _clips(shown: Shown) -> str:
    parts = []
    for prompt, files in shown.values():
        figures = "".join(
            f'<figure><img src="{escape(path.as_posix())}" alt="{escape(f"{prompt}, {run}")}">'
            f"<figcaption>{escape(run)}</figcaption></figure>"
            for run, path in files.items()
        )
        parts.append(f'<p>{escape(prompt)}</p><div class="clips">{figures}</div>')
    return "".join(parts)


def _figure(metric: Metric, rows: Sequence[TableRow], colours: Mapping[str, str]) -> str:
    results = {(row.label, row.steps): row.results[metric.name] for row in rows}
    points = {key: result for key, result in results.items() if result.count}
    if not points:
        return ""
    drawn = "".join(
        _curve([(s, r) for (name, s), r in sorted(points.items()) if name == label], points, colour)
        for label, colour in colours.items()
    )
    return (
        f'<figure><svg width="{_WIDTH}" height="{_HEIGHT}" role="img" '
        f'aria-label="{escape(metric.title)} over steps">{_axes(points)}{drawn}</svg>'
        f"<figcaption>{escape(titled(metric))}</figcaption></figure>"
    )


def _curve(
    series: Sequence[tuple[int, Result]],
    points: Mapping[tuple[str, int], Result],
    colour: str,
) -> str:
    if not series:
        return ""
    if series[0][0] == REAL_STEPS:
        y = _y(series[0][1].value, points)
        return (
            f'<line x1="{_PAD}" x2="{_WIDTH - 8}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}" '
            'stroke-width="1.5" stroke-dasharray="5 3"/>'
        )
    places = [(_x(steps, points), _y(result.value, points)) for steps, result in series]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    bars = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_y(result.low, points):.1f}" '
        f'y2="{_y(result.high, points):.1f}" stroke="{colour}" stroke-width="1.5"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
        for (x, y), (_, result) in zip(places, series, strict=True)
    )
    return f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>{bars}'


def _axes(points: Mapping[tuple[str, int], Result]) -> str:
    low, high = _range(points)
    ticks = "".join(
        f'<text x="{_x(steps, points):.1f}" y="{_HEIGHT - _PAD + 16}" font-size="11" '
        f'text-anchor="middle">{steps}</text>'
        for steps in sorted({steps for _, steps in points} - {REAL_STEPS})
    )
    bounds = "".join(
        f'<text x="{_PAD - 5}" y="{_y(value, points) + 4:.1f}" font-size="11" '
        f'text-anchor="end">{digits(value)}</text>'
        for value in (low, high)
    )
    frame = (
        f'<path d="M{_PAD} 8V{_HEIGHT - _PAD}H{_WIDTH - 8}" fill="none" stroke="#999"/>'
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 4}" font-size="11" text-anchor="middle">steps</text>'
    )
    return frame + ticks + bounds


def _range(points: Mapping[tuple[str, int], Result]) -> tuple[float, float]:
    low = min(result.low for result in points.values())
    high = max(result.high for result in points.values())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _x(steps: int, points: Mapping[tuple[str, int], Result]) -> float:
    """Place steps on a logarithmic axis."""
    all_steps = [math.log2(steps) for _, steps in points if steps != REAL_STEPS]
    span = max(max(all_steps) - min(all_steps), 1e-9)
    share = (math.log2(steps) - min(all_steps)) / span
    return _PAD + 12 + share * (_WIDTH - _PAD - 32)


def _y(value: float, points: Mapping[tuple[str, int], Result]) -> float:
    low, high = _range(points)
    return _HEIGHT - _PAD - 6 - (value - low) / (high - low) * (_HEIGHT - _PAD - 22)
