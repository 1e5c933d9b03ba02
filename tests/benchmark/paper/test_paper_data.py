"""The paper as data: transcription, claims, and facts about the public data."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import pandas as pd
import pytest

from benchmark.errors import InputError
from benchmark.paper import (
    CELLS,
    CLAIMS,
    BaseClaim,
    ChangeClaim,
    OrderClaim,
    RangeClaim,
    ValueClaim,
    load_cells,
    load_claims,
)
from benchmark.paper.data_facts import (
    Counts,
    k_core,
    load_data_facts,
    recompute,
)
from benchmark.paper.data_facts import test_items as held_out_items

PRINTED = {"FindRec": {"Ours", "Full Model"}, "BERT4Rec": {"BERTRec"}}
SIZES = {"1": 15, "2": 156, "3": 60, "4": 16, "5": 16, "6": 16, "7": 16, "8": 12, "9": 16}


def test_every_table_has_its_cells() -> None:
    """Rows times columns as printed: 12 methods and an improvement row on 3 x 4 columns, ..."""
    cells = load_cells()
    assert cells["table"].value_counts().to_dict() == SIZES
    assert not cells.duplicated(["table", "row", "group", "dataset", "metric"]).any()
    assert cells["value"].dtype == float
    renamed = cells[cells["row"] != cells["printed_row"]]
    statistics = renamed["table"] == "1"
    for record in renamed[~statistics].to_dict("records"):
        assert record["printed_row"] in PRINTED[record["row"]]
    inferred = cells[cells["dataset_inferred"] == "yes"]
    assert set(inferred["table"]) == set("56789")


def test_checksum_of_the_transcription() -> None:
    """A change to a printed number must be meant: it changes this sum of all (place, digits)."""
    cells = load_cells()
    keys = ["table", "row", "group", "dataset", "metric", "printed", "mark"]
    text = "\n".join(sorted("|".join(map(str, line)) for line in cells[keys].to_numpy()))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "a821ae488b6179dc"


def _table(text: str, number: str) -> list[list[str]]:
    """Lines of a table in the text: tab-separated, from its caption to the next blank line."""
    body = text.split(f"\nTable {number}: ", 1)[1].split("\n\n", 1)[1]
    return [line.split("\t") for line in body.split("\n\n", 1)[0].split("\n")]


def test_transcription_against_the_text() -> None:
    """Every number of every table line of the text stands in the same order in cells.csv."""
    path = os.environ.get("FINDREC_PAPER_TEXT")
    if not path:
        pytest.skip("FINDREC_PAPER_TEXT does not point to the paper's text")
    text = Path(path).read_text(encoding="utf-8")
    cells = load_cells()
    for number in SIZES:
        expected = []
        for line in _table(text, number):
            for field in line[1:]:
                bare = re.sub(r"</?u>", "", field)
                if re.fullmatch(r"[0-9.,]+%?\*?", bare):
                    marks = [m for m, there in (("underline", bare != field),
                                                ("star", bare.endswith("*"))) if there]  # fmt: skip
                    expected.append((bare.rstrip("*"), " ".join(marks)))
        part = cells[cells["table"] == number]
        assert list(zip(part["printed"], part["mark"], strict=True)) == expected, number


def test_claims_refer_to_cells_that_exist() -> None:
    cells = load_cells()
    places = set(
        cells[["table", "row", "dataset", "metric", "group"]].itertuples(index=False, name=None)
    )
    rows = set(cells[["table", "row"]].itertuples(index=False, name=None))
    seen = 0
    for claim in load_claims().claims:
        refs = []
        if isinstance(claim, ValueClaim):
            refs = [claim.cell]
        elif isinstance(claim, ChangeClaim):
            refs = [claim.start, claim.end]
        for ref in refs:
            seen += 1
            assert (ref.table, ref.row, ref.dataset, ref.metric, ref.group) in places, claim.id
        if isinstance(claim, OrderClaim) and claim.display_item.startswith("table"):
            table = claim.display_item.removeprefix("table ")
            for name in (*claim.above, *claim.below):
                assert (table, name) in rows, claim.id
        if isinstance(claim, BaseClaim):
            for name in claim.rows:
                assert (claim.table, name) in rows, claim.id
        if isinstance(claim, RangeClaim):
            assert (claim.table, claim.row) in rows, claim.id
    assert seen > 40


def test_damaged_files_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = CELLS.read_text(encoding="utf-8").splitlines()
    lines[5] = lines[5].replace("7.19", "about 7")
    damaged = tmp_path / "cells.csv"
    damaged.write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setattr("benchmark.paper.CELLS", damaged)
    with pytest.raises(InputError, match=r"cells\.csv, line 6"):
        load_cells()
    text = CLAIMS.read_text(encoding="utf-8").replace(
        "display_item: table 7", "display_item: table 10"
    )
    ledger = tmp_path / "claims.yaml"
    ledger.write_text(text, encoding="utf-8")
    monkeypatch.setattr("benchmark.paper.CLAIMS", ledger)
    with pytest.raises(InputError, match=r"no display item 'table 10'"):
        load_claims()


@pytest.mark.parametrize(
    ("length", "held_out"), [(5, 1), (9, 1), (10, 1), (19, 1), (20, 2), (30, 3), (109, 10)]
)
def test_held_out_items_under_eight_one_one(length: int, held_out: int) -> None:
    assert held_out_items(length) == held_out


def test_k_core_by_hand() -> None:
    """Item c falls with one user, then user 3 with one item; a and b keep users 1 and 2."""
    pairs = [(1, "a"), (1, "b"), (2, "a"), (2, "b"), (3, "a"), (3, "c")]
    core = k_core(pd.DataFrame(pairs, columns=["user", "item"]), 2)
    assert list(core.itertuples(index=False, name=None)) == pairs[:4]


def test_counts_by_hand() -> None:
    counts = Counts(users=4, items=5, interactions=8, relevant_items={1: 3, 2: 1})
    assert counts.sparsity == pytest.approx(0.6)
    assert counts.average_length == 2
    assert counts.shares == ((1, 0.75), (2, 0.25))


def test_buckets_divide_the_dataset() -> None:
    facts = load_data_facts().datasets["beauty"]
    assert sum(b.users for b in facts.buckets.values()) == facts.counts.users
    assert sum(b.interactions for b in facts.buckets.values()) == facts.counts.interactions
    for counts in (facts.counts, *facts.buckets.values()):
        assert sum(counts.relevant_items.values()) == counts.users


def test_facts_recomputed_from_raw_data() -> None:
    raw = os.environ.get("FINDREC_RAW")
    if not raw:
        pytest.skip("FINDREC_RAW does not point to raw data")
    stored = load_data_facts().datasets
    found = recompute(Path(raw))
    for name, facts in found.items():
        assert facts == stored[name]


def test_recomputing_without_files_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"beauty/sequences\.txt"):
        recompute(tmp_path)
