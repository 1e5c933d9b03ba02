"""`rankaudit FILE [--out DIR]`, or `python -m rankaudit FILE [--out DIR]`."""

import argparse
import sys
from pathlib import Path

from rankaudit import run_audit
from rankaudit.errors import InputError


def main() -> int:
    """Run the audit and print its summary; status 2 on bad input."""
    parser = argparse.ArgumentParser(prog="rankaudit", description="Audit printed ranking metrics.")
    parser.add_argument("file", type=Path, help="result rows")
    parser.add_argument("--out", type=Path, default=Path("rankaudit_report"))
    arguments = parser.parse_args()
    try:
        report = run_audit(arguments.file, arguments.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for check in report.checks:
        print(f"{check.kind:20} {check.reported:4} of {check.examined} {check.unit}")
    print(f"written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
