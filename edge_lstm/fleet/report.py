"""The gate's report: one HTML file to read, with pictures, in light and dark; nothing is fetched.

Its rule: what it says is what `Gate` says, in the same order; the same bytes for the same gate. Every text from a file
is escaped. It opens with the verdict, then what to look at first.

Never: leave out a drive that differs, or one that could not be compared. Of those that are the same only the names.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from edge_lstm.fleet.compare import KINDS, Compared, Moment
from edge_lstm.fleet.gate import WORDS, Gate
from firmware_bridge.words import plural

_PICTURES = 40  # drives with a picture: a report of hundreds would open no more
_ROWS = 12  # moments of a drive that have a line; the JSON has all
_WIDE, _HIGH, _LEFT, _BOTTOM, _TOP = 640, 190, 62, 26, 12

_NUMBER = ' class="n"'
_STYLE = """
:root{--bg:#fbfbfa;--card:#fff;--ink:#1b1f24;--soft:#5b6570;--line:#dfe3e7;--old:#2a6fbb;--new:#c8501a;--ok:#1d7a46;
--bad:#b3261e;--warn:#8a5a00;--limit:#8b949e}
@media (prefers-color-scheme:dark){:root{--bg:#14171a;--card:#1c2025;--ink:#e6e9ec;--soft:#9aa5b1;--line:#323940;
--old:#6db3f2;--new:#ff9a5c;--ok:#58c98a;--bad:#ff8a80;--warn:#e8b44c;--limit:#7d8792}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:860px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;line-height:1.25;margin:0 0 6px}h2{font-size:19px;margin:36px 0 8px}
h3{font-size:16px;margin:0;overflow-wrap:anywhere}
p{margin:6px 0}.soft{color:var(--soft)}.ok{color:var(--ok)}.bad{color:var(--bad)}.warn{color:var(--warn)}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:14px 16px;margin:14px 0}
.tiles{display:flex;flex-wrap:wrap;gap:10px;margin:18px 0}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:8px 14px;min-width:120px}
.tiles b{display:block;font-size:22px;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:14px;margin-top:8px}
th{text-align:left;color:var(--soft);font-weight:500}th,td{padding:3px 12px 3px 0;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}tr+tr td{border-top:1px solid var(--line)}
svg{width:100%;height:auto;display:block;margin-top:8px}svg text{fill:var(--soft);font:11px system-ui,sans-serif}
svg path{fill:none}.axis{stroke:var(--line);stroke-width:1}.lim{stroke:var(--limit);stroke-dasharray:4 4}
.at{stroke:var(--soft);opacity:.5}
.old{stroke:var(--old);stroke-width:2}.new{stroke:var(--new);stroke-width:2;stroke-dasharray:7 3}
.key{font-size:13px;color:var(--soft)}.key i{display:inline-block;width:22px;vertical-align:middle;margin:0 5px 0 14px}
.key i.o{border-top:2px solid var(--old)}.key i.w{border-top:2px dashed var(--new)}
code{font-size:13px;overflow-wrap:anywhere}details{margin:10px 0}summary{cursor:pointer}
"""


def report(gate: Gate) -> str:
    """The whole page."""
    said = gate.sentence()
    new, old = _names(gate)
    level = "ok" if gate.passes else ("bad" if gate.differing else "warn")
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>Gate: {escape(new)}</title><style>{_STYLE}</style></head><body><main>",
        f'<p class="soft">edge-lstm gate · {escape(new)} against {escape(old)}</p>',
        f'<h1 class="{level}">{escape(_verdict(gate))}</h1><p>{escape(said[:1].upper() + said[1:])}.</p>',
        *_tiles(gate),
        *_differing(gate.differing),
        *_aside(gate),
        *_same([one for one in gate.compared if not one.count]),
        *_how(gate),
        "</main></body></html>\n",
    ]
    return "\n".join(parts)


def _names(gate: Gate) -> tuple[str, str]:
    """What the two models are called; of one name, which is which by their digests."""
    models = gate.new, gate.old
    if gate.new["name"] != gate.old["name"]:
        return gate.new["name"], gate.old["name"]
    new, old = (f"{one['name']} {one['digest'][:8]}…" if one["digest"] else one["name"] for one in models)
    return new, old


def _verdict(gate: Gate) -> str:
    if gate.passes:
        return "Passes: every action is the same"
    if gate.differing:
        return f"Stop: look at {len(gate.differing)} {'drive' if len(gate.differing) == 1 else 'drives'}"
    return "Open: not all drives could be compared" if gate.compared else "Open: nothing could be compared"


def _tiles(gate: Gate) -> list[str]:
    found = [
        (f"{len(gate.compared)} of {len(gate.runs)}", f"{plural(len(gate.runs), 'drive')} compared"),
        (_duration(sum(one.seconds for one in gate.compared)), "of driving"),
        (f"{sum(one.actions for one in gate.compared):,}", "actions"),
        *((f"{count:,}", WORDS[kind]) for kind, count in gate.totals().items() if count),
    ]
    cells = "".join(f'<div><b>{value}</b><span class="soft">{escape(name)}</span></div>' for value, name in found)
    return [f'<div class="tiles">{cells}</div>']


def _duration(seconds: float) -> str:
    """In the unit that a person would take."""
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 2 * 3600 else f"{seconds / 3600:,.2f} h"


def _differing(runs: Sequence[Compared]) -> list[str]:
    if not runs:
        return []
    found = ["<h2>What would have been different, the gravest first</h2>"]
    for number, one in enumerate(runs, 1):
        kinds = ", ".join(f"{WORDS[k]}: {one.differing[k]:,}" for k in KINDS if one.differing.get(k))
        picture = _picture(one) if number <= _PICTURES else ""
        found.append(
            f"<section><h3>{number}. {escape(one.log)}</h3>"
            f'<p class="soft">{one.count:,} of {one.actions:,} actions in {one.seconds:,.1f} s; {escape(kinds)}</p>'
            f"{picture}{_moments(one)}</section>"
        )
    if len(runs) > _PICTURES:
        found.append(f'<p class="soft">Pictures are of the first {_PICTURES} drives.</p>')
    return found


def _moments(one: Compared) -> str:
    titles = ("from s", "to s", "actions", "consequence", "field", "old", "new", "limits")
    numeric = {0, 1, 2, 5, 6}
    head = "".join(f"<th{_NUMBER if k in numeric else ''}>{title}</th>" for k, title in enumerate(titles))
    rows = "".join(_row(moment, numeric) for moment in one.moments[:_ROWS])
    more = len(one.moments) - _ROWS + one.further
    rest = f'<p class="soft">and {more:,} further moments, all in the JSON</p>' if more > 0 else ""
    return f'<div class="wide"><table><tr>{head}</tr>{rows}</table></div>{rest}'


def _row(moment: Moment, numeric: set[int]) -> str:
    low, high = moment.limits
    limits = "" if low is None and high is None else f"{_said(low, '…')} to {_said(high, '…')}"
    cells = (
        f"{moment.from_s:.3f}",
        f"{moment.to_s:.3f}",
        f"{moment.actions:,}",
        WORDS[moment.kind],
        f"{moment.field} ({moment.unit})" if moment.unit else moment.field,
        _said(moment.old),
        _said(moment.new),
        limits,
    )
    shown = (f"<td{_NUMBER if k in numeric else ''}>{escape(cell)}</td>" for k, cell in enumerate(cells))
    return f"<tr>{''.join(shown)}</tr>"


def _said(value: float | None, none: str = "none") -> str:
    return none if value is None else f"{value:.6g}"


def _picture(one: Compared) -> str:
    """The action around the worst moment: old and new, and the limits."""
    curve = one.curve
    if curve is None or not one.moments:
        return ""
    worst = one.moments[0]
    numbers = [v for v in (*curve["old"], *curve["new"], *worst.limits) if v is not None]
    if not numbers:
        return ""
    low, high = min(numbers), max(numbers)
    room = (high - low or abs(high) or 1.0) * 0.06
    low, high = low - room, high + room
    first, last = curve["t_s"][0], max(curve["t_s"][-1], curve["t_s"][0] + 1e-6)
    right, bottom = _WIDE - 8, _HIGH - _BOTTOM

    def x(t_s: float) -> float:
        return float(_LEFT + (t_s - first) / (last - first) * (right - _LEFT))

    def y(value: float) -> float:
        return float(bottom - (value - low) / (high - low) * (bottom - _TOP))

    def path(values: Sequence[float | None], kind: str) -> str:
        steps, down = "", False
        for t_s, value in zip(curve["t_s"], values, strict=True):
            if value is not None:
                steps += f"{'L' if down else 'M'}{x(t_s):.1f} {y(value):.1f}"
            down = value is not None
        return f'<path class="{kind}" d="{steps}"/>'

    unit = f" ({worst.unit})" if worst.unit else ""
    title = f"{worst.field}{unit} around {worst.worst_s:.3f} s"
    parts = [f'<svg viewBox="0 0 {_WIDE} {_HIGH}" role="img" aria-label="{escape(title)}">']
    parts += [f'<path class="axis" d="M{_LEFT} {_TOP}V{bottom}H{right}"/>']
    for value in sorted({_rounded(low + room), _rounded((low + high) / 2), _rounded(high - room)}):
        parts.append(f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>')
    for t_s, anchor in ((first, "start"), (worst.worst_s, "middle"), (last, "end")):
        if anchor == "middle" and not (last - first) * 0.15 < t_s - first < (last - first) * 0.85:
            continue
        parts.append(f'<text x="{x(t_s):.1f}" y="{_HIGH - 8}" text-anchor="{anchor}">{t_s:.3f} s</text>')
    for limit in worst.limits:
        if limit is not None:
            parts.append(f'<path class="lim" d="M{_LEFT} {y(limit):.1f}H{right}"/>')
    parts.append(f'<path class="at" d="M{x(worst.worst_s):.1f} {_TOP}V{bottom}"/>')
    parts += [path(curve["old"], "old"), path(curve["new"], "new"), "</svg>"]
    key = f'<p class="key">{escape(title)}<i class="o"></i>old<i class="w"></i>new'
    return "".join(parts) + key + (" · dashed grey: limits</p>" if worst.limits != (None, None) else "</p>")


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _aside(gate: Gate) -> list[str]:
    runs = [one for one in gate.runs if not one.comparable]
    if not runs:
        return []
    rows = "".join(f"<section><h3>{escape(one.log)}</h3><p>{escape(one.why)}</p></section>" for one in runs)
    said = "Of these nothing is known about the new model: the old one does not make what was recorded, or the log"
    return [f'<h2 class="warn">Not comparable: {len(runs)}</h2><p>{said} cannot be read.</p>{rows}']


def _same(runs: Sequence[Compared]) -> list[str]:
    if not runs:
        return []
    names = "".join(f"<li><code>{escape(one.log)}</code>, {one.actions:,} actions</li>" for one in runs)
    many = "drive" if len(runs) == 1 else "drives"
    return [f"<details><summary>{len(runs)} {many} without a difference</summary><ul>{names}</ul></details>"]


def _how(gate: Gate) -> list[str]:
    bits = "any bit" if not gate.tolerance else f"more than {gate.tolerance:g} of its range"
    old = gate.old["digest"] or "in each recording"
    return [
        "<h2>How it was compared</h2>",
        "<p>Each drive was first replayed by the old model, and what it sent, its outputs and its actions were "
        "compared with the recording, bit by bit. Only where nothing differs the new model was given the same bytes. "
        f"An action differs where one of its fields does, by {bits}. What the robot would have done after that, nobody "
        "knows: readings stay those that were recorded.</p>",
        f"<p>New: {escape(gate.new['name'])}, <code>{escape(gate.new['digest'])}</code><br>"
        f"Old: {escape(gate.old['name'])}, <code>{escape(old)}</code></p>",
    ]
