# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML file: no script, nothing fetched, every string escaped."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from tests.replay.table import printable

STYLE = Path(__file__).with_name("page.css")
LONGEST_LIST = 5
Fields = dict[str, Any]


def escape(text: object) -> str:
    """Text for an HTML page; control characters but newlines are shown as escapes."""
    lines = str(text).split("\n")
    return html.escape("\n".join(printable(line) for line in lines))


def is_attack(step: Fields) -> bool:
    return step["observed"]["attack_succeeded"] is not None


def _verdict(step: Fields) -> tuple[str, str]:
    """The step's class in the style sheet, and its verdict in words."""
    if not step["held"]:
        return "wrong", "did not hold"
    if is_attack(step):
        return "stopped", "stopped in the kernel"
    return "kept", "ran undisturbed"


def _decisions(step: Fields) -> str:
    """What was stopped, in sight; what was allowed, folded away."""
    allowed = [entry for entry in step["decisions"] if entry["decision"] == "allowed"]
    stopped = [entry for entry in step["decisions"] if entry["decision"] != "allowed"]
    shown = [_decision(entry) for entry in stopped[:LONGEST_LIST]]
    if rest := stopped[LONGEST_LIST:]:
        shown.append(f"<li>and {sum(entry['count'] for entry in rest)} more</li>")
    content = _list(shown) if shown else "Nothing was denied."
    if allowed:
        count = sum(entry["count"] for entry in allowed)
        items = _list([_decision(entry) for entry in allowed])
        content += f"<details><summary>{count} allowed</summary>{items}</details>"
    return content


def _list(items: list[str]) -> str:
    return f'<ul class="decisions">{"".join(items)}</ul>'


def _decision(entry: Fields) -> str:
    times = f", {entry['count']} times" if entry["count"] > 1 else ""
    why = entry["rule"] or entry["reason"]
    word = escape(entry["decision"])
    word = f"<b>{word}</b>" if entry["decision"] == "denied" else word
    after = " after the call had ended" if entry["state"] == "ended" else ""
    return (
        f"<li>{word} {escape(entry['kind'])} <code>{escape(entry['target'])}</code>{times}"
        f"{after} — {escape(why)}</li>"
    )


def _row(name: str, content: str) -> str:
    return f"<dt>{name}</dt><dd>{content}</dd>"


def _result(step: Fields) -> str:
    result = step["observed"]["result"]
    output = result["output"].strip()
    status = "ended by its time limit" if result["status"] is None else f"exit {result['status']}"
    words = f"{status} after {result['seconds']:.1f} s"
    if not output:
        return f"{words}, no output"
    return f"<details><summary>{words}</summary><pre>{escape(output)}</pre></details>"


def _incidents(incidents: list[Fields]) -> str:
    items = [
        f"<li><b>{escape(each['title'])}</b> — {escape(each['severity'])}, {each['denied']} times, "
        f"attributed by {escape(each['attribution'])} <code>{escape(each['id'])}</code></li>"
        for each in incidents
    ]
    return _list(items)


def _step(step: Fields, without: dict[str, str], incidents: list[Fields]) -> str:
    style, verdict = _verdict(step)
    rows = [
        _row("Asked for", f"<pre>{escape(step['arguments'].get('command', ''))}</pre>"),
        _row("Expected", escape(step["expected"])),
        _row("Far side saw", escape(step["observed"]["summary"])),
        _row("Decisions", _decisions(step)),
        _row("Model saw", _result(step)),
    ]
    own = [each for each in incidents if each["call"] == step["id"]]
    if own:
        rows.insert(4, _row("Incidents", _incidents(own)))
    if is_attack(step) and step["id"] in without:
        rows.insert(3, _row("Without Lictor", escape(without[step["id"]])))
    aside = [f"+{step['observed']['result']['at']:.1f} s", escape(step["tool"])]
    if step["decisions"]:
        aside.append(f"attributed by {escape(step['attribution'])}")
    return (
        f'<li class="{style}"><article><header class="step"><h2>{escape(step["id"])}</h2>'
        f'<span class="verdict">{verdict}</span>'
        f'<span class="aside">{", ".join(aside)}</span></header>'
        f"<dl>{''.join(rows)}</dl></article></li>"
    )


def _figures(report: Fields) -> str:
    steps = report["steps"]
    legitimate = [step for step in steps if not is_attack(step)]
    right = sum(step["held"] for step in legitimate)
    stopped = report["attacks"] - report["attacks_succeeded"]
    named = sum(step["attribution"] == "kernel" for step in steps if is_attack(step))
    figures = [
        (f"{stopped} of {report['attacks']}", "attacks had no effect on the far side"),
        (f"{named} of {report['attacks']}", "attacks attributed to their tool call by descent"),
        (f"{right} of {len(legitimate)}", "legitimate calls with the right result"),
    ]
    if without := report.get("without_lictor"):
        said = f"{without['attacks_succeeded']} of {without['attacks']}"
        figures.append((said, "attacks succeeded in the same run without Lictor"))
    items = "".join(f"<li><b>{value}</b><span>{name}</span></li>" for value, name in figures)
    return f'<ul class="figures">{items}</ul>'


def render(report: Fields) -> str:
    """The page; ``report`` as ``judge.build`` makes it, with ``without_lictor`` where run."""
    without = report.get("without_lictor", {}).get("observed", {})
    incidents = report.get("record", {}).get("incidents", [])
    steps = "".join(_step(step, without, incidents) for step in report["steps"])
    word = "held" if report["held"] else "did not hold"
    title = f"ROME replay {escape(report['episode'])}: {word}"
    return (
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE.read_text()}</style></head><body><main>"
        f"<h1>{title}</h1>"
        '<p class="lead">A coding agent\'s trajectory with real programs: honest work, and between '
        "it the incident of arXiv 2512.24873: a sweep of the internal network, reverse tunnels, "
        "miners, GPU access, a daemon left behind. “Far side saw” is read from sshd, the pool, "
        "the packet recorder and the GPU node, never from Lictor.</p>"
        f'{_figures(report)}<ol class="timeline">{steps}</ol>{_loose(report)}{_record(report)}'
        f"<footer>Kernel {escape(report['kernel'])}. Episode {escape(report['episode'])}. "
        "Every step is one tool call; the same data is in report.json.</footer>"
        "</main></body></html>\n"
    )


def _record(report: Fields) -> str:
    if "record" not in report:
        return ""
    record = report["record"]
    return (
        "<section><h2>What the control plane recorded</h2>"
        f"<p>{record['calls']} tool calls, {len(record['incidents'])} incidents. "
        f"{escape(record['completeness']['statement'])}</p></section>"
    )


def _loose(report: Fields) -> str:
    loose = report["denials_outside_calls"]
    if not loose:
        return ""
    items = _list([_decision(entry) for entry in loose])
    return f"<h2>Denied outside any tool call</h2>{items}"
