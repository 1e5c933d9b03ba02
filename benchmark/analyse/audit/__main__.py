"""`python -m benchmark.analyse.audit [CSV] [--out DIR] [--base-rate]`."""

import argparse
import sys
from pathlib import Path

from benchmark.analyse.audit import run_audit
from benchmark.analyse.audit.base_rate import run_base_rate
from benchmark.errors import InputError


def main() -> int:
    """Run the audit and print its summary; status 2 on bad input."""
    parser = argparse.ArgumentParser(description="Audit printed ranking metrics.")
    parser.add_argument("csv", nargs="?", type=Path, help="result rows; without it, the paper")
    parser.add_argument("--out", type=Path, default=Path("results/audit"))
    parser.add_argument(
        "--base-rate", action="store_true", help="audit the sample of other published results"
    )
    arguments = parser.parse_args()
    if arguments.base_rate:
        run_base_rate(arguments.out / "base_rate")
        print((arguments.out / "base_rate" / "base_rate.md").read_text(encoding="utf-8"))
        return 0
    try:
        report = run_audit(arguments.csv, arguments.out)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    for check in report.checks:
        print(f"{check.kind:20} {check.reported:4} of {check.examined} {check.unit}")
    print(f"written to {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
