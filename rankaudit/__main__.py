"""`rankaudit FILE [--out DIR]`, or `python -m rankaudit FILE [--out DIR]`."""

import argparse
import contextlib
import io
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from rankaudit.audit import audit_csv
from rankaudit.errors import InputError
from rankaudit.findings import SEVERITIES
from rankaudit.interpret import Defaults
from rankaudit.report import to_json, write_report
from rankaudit.terminal import summary

FORMAT = """\
the file:
  A CSV file (comma, semicolon or tab), a LaTeX tabular or a Markdown table, compressed or not, in
  UTF-8, or in UTF-16 with a byte order mark. One row per printed row, a header first; numbers as
  on the page, with all their digits.

  row          the method; needed (also: method, model, algorithm)
  table        where the row stands
  dataset
  group        a subgroup of users; empty for all users
  role         result, ours (the row that improvements are about) or improvement (per cent)
  versus       of an improvement: the row compared with; empty for the best
  targets      relevant items per ranking: 1, another number, shares such as 1:1611 2:361, or any
  candidates   items in a ranking, the target included: 101 for one among 100 negatives;
               empty for all items
  rounding     once, or twice if runs were rounded before they were averaged
  ties         broken, or expected if hits are counted in expectation over ties
  users, runs  rankings behind a mean, if stated; then hits must be whole numbers
  source       anything, for people
  NDCG@10 ...  metrics: NDCG@k, MRR@k, MRR, HR@k, Recall@k, Precision@k, MAP@k; (%) after the name
               if the cells are in per cent

exit status: 0; 1 if --fail-on finds something; 2 if the input is malformed."""

TEMPLATE = """\
table,dataset,row,group,role,versus,targets,candidates,rounding,ties,users,runs,NDCG@5,NDCG@10,MRR@10,HR@10
1,Beauty,SASRec,,result,,1,,once,broken,,,0.0249,0.0318,0.0255,0.0517
1,Beauty,Ours,,ours,,1,,once,broken,,,0.0291,0.0367,0.0293,0.0601
1,Beauty,Improv.,,improvement,SASRec,,,,,,,16.87%,15.41%,14.90%,16.25%
"""


def _folder(text: str) -> Path:
    """A path; none is a mistake, as an empty variable in a script is."""
    if not text.strip():
        raise argparse.ArgumentTypeError("names no folder")
    return Path(text)


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="rankaudit",
        description="Audit printed ranking metrics: what NDCG, MRR, HR and the like can and "
        "cannot be together.",
        epilog=FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, nargs="?", help="result rows")
    parser.add_argument(
        "--out", type=_folder, help="folder for audit.md, audit.html and audit.json "
        "(default: rankaudit_report; none with --json)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument(
        "--fail-on", choices=SEVERITIES, help="exit with status 1 on a finding at least so severe"
    )
    parser.add_argument("--template", action="store_true", help="print a file to fill in")
    told = parser.add_argument_group("what holds for rows that do not say otherwise")
    for name in ("targets", "candidates", "rounding", "ties", "users", "runs"):
        told.add_argument(f"--{name}", default="", help="as the column of this name")
    told.add_argument("--percent", action="store_true", help="all metrics are in per cent")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the audit and print its summary. Returns the exit status (see `FORMAT`)."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # of a terminal that knows few characters
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        text, status = _run(argv)
        with contextlib.suppress(BrokenPipeError):  # its reader has read enough; the status holds
            print(text, end="")
            if sys.stdout is not None:
                sys.stdout.flush()
            return status
        _discard_output()
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        _discard_output()
        name = f"{error.filename}: " if error.filename else "standard output: "
        print(f"{name}cannot be written ({error.strerror})", file=sys.stderr)
        return 2
    return status


def _run(argv: Sequence[str] | None) -> tuple[str, int]:
    """What is printed, and the exit status."""
    parser = arguments()
    given = parser.parse_args(argv)
    if given.template:
        return TEMPLATE, 0
    if given.file is None:
        parser.error("name a file with result rows, or use --template to begin one")
    defaults = Defaults(
        given.targets, given.candidates, given.rounding, given.ties, given.users, given.runs,
        given.percent,
    )  # fmt: skip
    out = given.out or (None if given.json else Path("rankaudit_report"))
    watched = sys.stderr is not None and sys.stderr.isatty()
    report = audit_csv(given.file, defaults, _progress if watched else _quiet)
    if out is not None:
        write_report(report, out)
    if given.json:
        text = to_json(report)
    else:
        shown = sys.stdout is not None and sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if shown else None
        text = "\n".join([*summary(report, width), f"written to {out}", ""])
    worst = SEVERITIES[: SEVERITIES.index(given.fail_on) + 1] if given.fail_on else ()
    return text, int(any(finding.severity in worst for finding in report.findings))


def _discard_output() -> None:
    """Drop what standard output still holds: Python would write it again at the end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _progress(text: str) -> None:
    print(f"\r\033[K{text}", end="" if text else "\r\033[K", file=sys.stderr, flush=True)


def _quiet(_: str) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
