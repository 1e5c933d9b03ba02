"""Draws bert4rec-long.svg: BERT4Rec's validation curve over a long budget.

./reproduce.sh run --models BERT4Rec --variant long --seeds 1 --profile quick
.venv/bin/python docs/images/bert4rec_long.py runs
"""

import sys
from pathlib import Path

from benchmark.render.figures.style import TWO_COLUMNS, figure, look, styled
from benchmark.runs.spec import RunKey
from benchmark.runs.store import Store

TITLES = {"ml-100k": "ML-100k", "beauty": "Beauty"}


def main() -> None:
    store = Store(Path(sys.argv[1]))
    with styled():
        drawn = figure(TWO_COLUMNS, 2.4)
        axes = drawn.subplots(1, len(TITLES))
        for place, (dataset, title) in zip(axes, TITLES.items(), strict=True):
            record = store.read(RunKey("quick", dataset, "BERT4Rec", "long"), 0).record
            steps, values = record.curves.validation_steps, record.curves.validation
            place.plot(steps, values, color=look("BERT4Rec").colour, lw=1.2)
            end = f"{values[-1]:.4f} after {record.steps:,} steps"
            place.set(title=f"{title}: {end}", ylim=(0, None))
            place.set(xlabel="optimiser steps", ylabel="validation NDCG@10")
        drawn.savefig(Path(__file__).with_name("bert4rec-long.svg"), metadata={"Date": None})


if __name__ == "__main__":
    main()
