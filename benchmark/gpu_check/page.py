"""The report as Markdown: the targets first, then what was measured."""

from collections.abc import Iterable, Iterator
from typing import Any

from benchmark.gpu_check.parts import Report, Result
from benchmark.gpu_check.speed import ratios

ID_STACK, MULTIMODAL_STACK = 1.5, 3.0
"""Most that a step of ten seeds may take, in steps of one."""
CAPTURE_GAIN = 3.0
"""Least that capture speeds up a step of one seed."""
SCAN_FLOORS = 2.0
"""Most that the scan may take, in times of its traffic; or no longer than mamba-ssm's."""
TABLE_MINUTES = 30.0
"""Most that ten seeds of Table 2's twelve trained rows on ML-100k and Beauty may take in steps."""
TABLE_ROWS = 12


def page(report: Report, seeds: int) -> str:
    """Markdown; seeds: how many a stack has."""
    about = report.about
    lines = [
        f"# GPU check: {about['device']}",
        "",
        ", ".join(f"{name} {version}" for name, version in about["packages"].items())
        + f"; code {about['code'][:12]}. Times are this device's.",
        "",
        "## Targets",
        "",
        *_table(["target", "found", ""], _targets(report, seeds)),
        "",
        "## Is it right?",
        "",
        *_table(["check", "outcome", ""], _checks(report)),
        "",
        "## Steps",
        "",
        "Milliseconds a step at the paper's widths, on synthetic data of the dataset's shape.",
        "",
        *_table(
            ["row", "dataset", "seeds", "op by op", "captured", "peak GB", "execution"],
            _steps(report),
        ),
        "",
        "## Scan",
        "",
        *_table(
            ["call: backend", "forward, ms", "forward and backward, ms", "times the floor"],
            _scans(report),
        ),
        "",
        *_kernels(report),
        *_precision(report),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _table(headings: list[str], rows: Iterable[list[str]]) -> list[str]:
    held = ["| " + " | ".join(row) + " |" for row in rows]
    head = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    return [*head, *held] if held else ["Not measured yet."]


def _measured(report: Report, prefix: str) -> Iterator[tuple[str, Result]]:
    for name, result in report.parts.items():
        if name.startswith(prefix) and "error" not in result:
            yield name, result


def _verdict(met: bool | None) -> str:
    return {True: "met", False: "MISSED", None: "not measured"}[met]


def _targets(report: Report, seeds: int) -> Iterator[list[str]]:
    steps = dict(_measured(report, "steps of "))
    found = {name: ratios(result, (1, seeds)) for name, result in steps.items()}
    for multimodal, most in ((False, ID_STACK), (True, MULTIMODAL_STACK)):
        kind = "multimodal" if multimodal else "ID"
        own = {
            name: value["stack"]
            for name, value in found.items()
            if steps[name]["multimodal"] is multimodal and value["stack"] is not None
        }
        label = f"{seeds} seeds at most {most:g} times one, {kind} rows"
        yield _worst(label, own, most, at_most=True)
    gains = {name: value["capture"] for name, value in found.items() if value["capture"]}
    label = f"a captured step at least {CAPTURE_GAIN:g} times as fast, one seed"
    yield _worst(label, gains, CAPTURE_GAIN, at_most=False)
    yield _scan_target(report)
    yield _time_of_table(steps, seeds)


def _worst(label: str, found: dict[str, Any], bound: float, *, at_most: bool) -> list[str]:
    if not found:
        return [label, "", _verdict(None)]
    kept = sum(value <= bound if at_most else value >= bound for value in found.values())
    name = (max if at_most else min)(found, key=lambda key: found[key])
    text = f"{kept} of {len(found)}; worst {found[name]:.2f} ({name.removeprefix('steps of ')})"
    return [label, text, _verdict(kept == len(found))]


def _scan_target(report: Report) -> list[str]:
    label = f"the scan within {SCAN_FLOORS:g} times its traffic, or not slower than mamba-ssm's"
    calls = report.parts.get("scan", {}).get("calls", {})
    ours = {name: call for name, call in calls.items() if name.endswith(": triton")}
    if not ours:
        return [label, "", _verdict(None)]

    def met(name: str, call: Result) -> bool:
        theirs = calls.get(name.replace(": triton", ": mamba_ssm"))
        as_fast = theirs is not None and call["both, ms"] <= theirs["both, ms"]
        return bool(as_fast or call["times the floors"] <= SCAN_FLOORS)

    kept = sum(met(name, call) for name, call in ours.items())
    worst = max(call["times the floors"] for call in ours.values())
    return [label, f"{kept} of {len(ours)}; worst {worst:.2f} times", _verdict(kept == len(ours))]


def _time_of_table(steps: dict[str, Result], seeds: int) -> list[str]:
    label = f"Table 2 on ML-100k and Beauty, {seeds} seeds, in {TABLE_MINUTES:g} minutes of steps"
    stack = f"{seeds} seed{'s' if seeds > 1 else ''}"
    milliseconds = [
        found[stack]["captured, ms"] * found["budget, steps"]
        for found in steps.values()
        if "captured, ms" in found.get(stack, {})
    ]
    if not milliseconds:
        return [label, "", _verdict(None)]
    minutes, wanted = sum(milliseconds) / 60_000, 2 * TABLE_ROWS
    text = f"{minutes:.1f} minutes for {len(milliseconds)} of {wanted}"
    if len(milliseconds) < wanted and minutes <= TABLE_MINUTES:
        return [label, text, _verdict(None)]
    return [label, text, _verdict(minutes <= TABLE_MINUTES)]


def _checks(report: Report) -> Iterator[list[str]]:
    for name, result in report.parts.items():
        if "error" in result:
            yield [name, "failed", result["error"]]
        elif "skipped" in result:
            yield [name, "skipped", result["skipped"]]
        elif "ok" in result:
            deviation = result.get("deviation", {})
            shown = ", ".join(
                f"{key} {value:.1e}" if isinstance(value, float) else f"{key}: {value}"
                for key, value in deviation.items()
            )
            yield [name, "right" if result["ok"] else "WRONG", shown]


def _steps(report: Report) -> Iterator[list[str]]:
    for name, result in _measured(report, "steps of "):
        row, _, dataset = name.removeprefix("steps of ").rpartition(" on ")
        for seeds, own in result.items():
            if isinstance(own, dict):
                times = (own.get(f"{way}, ms") for way in ("op by op", "captured"))
                peak = own.get("captured, peak GB") or own.get("op by op, peak GB")
                shown = ["" if value is None else f"{value:.2f}" for value in (*times, peak)]
                yield [row, dataset, seeds.split()[0], *shown, own.get("execution", "op by op")]


def _scans(report: Report) -> Iterator[list[str]]:
    for name, call in report.parts.get("scan", {}).get("calls", {}).items():
        numbers = call["forward, ms"], call["both, ms"], call["times the floors"]
        yield [name, *(f"{value:.3f}" for value in numbers)]


def _kernels(report: Report) -> Iterator[str]:
    for name, result in _measured(report, "kernels of "):
        yield from (f"## {name[0].upper()}{name[1:]}", "")
        yield f"{result['launches a step']} launches and {result['ms a step']:.2f} ms a step."
        yield ""
        yield from _table(
            ["kernel", "share", "calls a step"],
            (
                [
                    f"`{k['name']}`".replace("|", "\\|"),
                    f"{k['share']:.1%}",
                    f"{k['calls a step']:.0f}",
                ]
                for k in result["largest"]
            ),
        )
        yield ""


def _precision(report: Report) -> Iterator[str]:
    for name, result in _measured(report, "precision of "):
        yield from (f"## {name[0].upper()}{name[1:]}, a stack", "")
        yield from _table(
            ["precision", "ms a step", "mean loss of 10 steps"],
            (
                [key, f"{own['ms']:.2f}", f"{own['loss of 10 steps']:.5f}"]
                for key, own in result.items()
                if isinstance(own, dict)
            ),
        )
        yield ""
