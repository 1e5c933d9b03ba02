"""The claims ledger: every sentence of claims.yaml with a verdict and what it rests on.

A claim that runs can test has a line for each dataset and protocol. Of a claim about the text
itself there is one line, whose evidence is the audit of the page. Lines of runs that belong to the
analysis plan are *secondary* and corrected by Benjamini and Hochberg at 10 %, a family a protocol;
the claim that is P1 and P2 of the plan is *primary* and has their verdict; all else is
*exploratory* and corrected in a family of its own. Below a claim that is P1 or P2 stand the same
claims of the method's other readings, corrected by Holm over them: they decide nothing, and a
positive one among them does not stand by its own p.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from benchmark.analyse.analysis_plan import AnalysisPlan
from benchmark.analyse.claim_data import Finding, Here
from benchmark.analyse.claim_tests import answer
from benchmark.analyse.effects import (
    DISCOVERY_RATE,
    Word,
    corrected,
    discoveries,
    without_significance,
)
from benchmark.analyse.judged import Judged, JudgedBest
from benchmark.evaluate.metrics import PROTOCOLS, History
from benchmark.paper import (
    Claim,
    Claims,
    LooseEndClaim,
    OrderClaim,
    QualityClaim,
    SettingClaim,
)
from benchmark.paper.sentences import text_checks
from benchmark.runs.spec import RunSpec, slug

Standing = Literal["primary", "secondary", "exploratory", "another reading", ""]
"""Of a line in the plan; "" of what has no p-value."""

QUALIFIED = "under these features, widths and budgets"


@dataclass(frozen=True)
class LedgerLine:
    """One claim, on one dataset under one protocol where runs test it."""

    claim: Claim
    finding: Finding
    word: Word
    """After the correction."""
    standing: Standing = ""
    dataset: str = ""
    protocol: History | Literal[""] = ""
    grade: str = ""
    adjusted: float = float("nan")
    runs: tuple[str, ...] = ()
    """Folders of the runs that it rests on, below the store's root."""
    read_as: str = ""
    """The arm that stands for the paper's method; "" for its base."""

    @property
    def verdict(self) -> str:
        """The word with what qualifies it: what was found with other features or data than the
        paper's holds for these, and "does not replicate" is kept for grade A."""
        tested = self.word in ("supported", "opposite", "refuted", "smaller than 1 %", "undecided")
        if not tested or not self.dataset:
            return self.word
        if self.grade != "A":
            data = "on other data, " if self.grade == "C" else ""
            return f"{self.word}, {data}{QUALIFIED}"
        return "does not replicate" if self.word in ("opposite", "refuted") else self.word


@dataclass(frozen=True)
class Place:
    """One dataset of the ledger."""

    here: Here
    grade: str


def judge_claims(
    claims: Claims,
    cells: pd.DataFrame,
    places: Sequence[Place],
    plan: AnalysisPlan,
    judged: Judged | None = None,
) -> list[LedgerLine]:
    """Every claim in its order. cells: as `benchmark.paper.load_cells` gives them. judged: the
    plan's own claims, if they are known."""
    page = _page(claims, cells)
    lines: list[LedgerLine] = []
    for claim in claims.claims:
        tested = [
            line
            for place in places
            for protocol in PROTOCOLS
            if (line := _line(claim, place, protocol, plan)) is not None
        ]
        own = [line for line in tested if _speaks_of(claim, line.dataset, plan)]
        general = [line.finding for line in tested if _is_general(line.finding)]
        if 0 < len(general) < len(tested):  # a dataset has what others lack
            own = [line for line in own if not _is_general(line.finding)]
        elif general:  # another command measures it, or nothing can
            own = [LedgerLine(claim, general[0], general[0].word)]
        elif tested and not own:
            said = f"it speaks of {', '.join(getattr(claim, 'datasets', ()))} alone"
            own = [LedgerLine(claim, Finding("not testable here", said), "not testable here")]
        lines += own or [LedgerLine(claim, page[claim.id], page[claim.id].word)]
        lines += [r for line in own for r in _other_readings(line, places, judged)]
    return _corrected(lines, plan, judged)


def counts(lines: Sequence[LedgerLine]) -> dict[str, int]:
    """Word -> number of lines, of those that runs could test; those of other readings are none of
    them, since the base decides."""
    found = Counter(line.word for line in lines if line.dataset and not line.read_as)
    return dict(found.most_common())


def _speaks_of(claim: Claim, dataset: str, plan: AnalysisPlan) -> bool:
    """Whether a claim is about a dataset. One about a dataset of the plan is tested on all of them:
    they stand for one another as the plan says."""
    named = set(getattr(claim, "datasets", ()))
    return not named or dataset in named or (dataset in plan.datasets and bool(named & _OURS))


_OURS = frozenset({"ml-100k", "beauty"})
"""Datasets of the paper that the plan stands for."""


def _is_general(finding: Finding) -> bool:
    """Whether the answer is that of no dataset."""
    return not finding.metric and not finding.arms


def _line(claim: Claim, place: Place, protocol: History, plan: AnalysisPlan) -> LedgerLine | None:
    finding = answer(claim, place.here, protocol)
    if finding is None:
        return None
    specs = _specs(finding, place)
    planned = bool(specs) and all(spec.protocol.analysis_plan == plan.hash for spec in specs)
    standing: Standing = "" if np.isnan(finding.p) else "secondary" if planned else "exploratory"
    return LedgerLine(
        claim,
        finding,
        finding.word,
        standing,
        place.here.dataset,
        protocol,
        place.grade,
        runs=_folders(specs),
    )


def _specs(finding: Finding, place: Place) -> list[RunSpec]:
    arms = [place.here.arms[name] for name in finding.arms if name in place.here.arms]
    return [arm.runs[0].record.spec for arm in arms if arm.runs]


def _folders(specs: Sequence[RunSpec]) -> tuple[str, ...]:
    return tuple("/".join(map(slug, spec.key)) for spec in specs)


def _other_readings(
    line: LedgerLine, places: Sequence[Place], judged: Judged | None
) -> list[LedgerLine]:
    """The line's claim of the method's other readings, where it is one of the plan's own."""
    own = _claim_of_plan(line, judged)
    if own is None or judged is None:
        return []
    place = next(place for place in places if place.here.dataset == line.dataset)
    found = []
    for best in judged.readings:
        if (best.claim, best.dataset) != (own.claim, own.dataset):
            continue
        result, subject = best.result, best.subject
        said, effect, p = best.note, None, float("nan")
        if result is not None:
            weakest = f"{len(best.others)} differences, the weakest: over "
            said = weakest + best.others[result.weakest] + (f"; {said}" if said else "")
            effect, p = result.effects[result.weakest], result.p
        finding = Finding(best.word, said, p=p, effect=effect, arms=(subject, *best.others))
        found.append(
            LedgerLine(
                line.claim,
                finding,
                best.word,
                "another reading",
                line.dataset,
                line.protocol,
                line.grade,
                best.adjusted,
                _folders(_specs(finding, place)),
                subject,
            )
        )
    return found


def _corrected(
    lines: Sequence[LedgerLine], plan: AnalysisPlan, judged: Judged | None
) -> list[LedgerLine]:
    primary = {
        id(line): best for line in lines if (best := _primary(line, plan, judged)) is not None
    }
    families: dict[tuple[str, str], list[LedgerLine]] = {}
    for line in lines:
        inside = line.standing and not line.read_as and id(line) not in primary
        if inside and line.word != "not reached":
            families.setdefault((line.standing, line.protocol), []).append(line)
    adjusted: dict[int, float] = {}
    for family in families.values():
        values = discoveries([line.finding.p for line in family])
        adjusted |= dict(zip(map(id, family), values.tolist(), strict=True))
    found = []
    for line in lines:
        fields = {name: getattr(line, name) for name in LedgerLine.__dataclass_fields__}
        if id(line) in primary:
            best = primary[id(line)]
            fields |= {"word": best.word, "adjusted": best.adjusted, "standing": "primary"}
        elif id(line) in adjusted:
            p = adjusted[id(line)]
            effect = line.finding.effect
            left = "undecided" if effect is None else without_significance(effect)
            fields |= {
                "adjusted": p,
                "word": corrected(line.word, p, DISCOVERY_RATE, otherwise=left),
            }
        found.append(LedgerLine(**fields))
    return found


def _primary(line: LedgerLine, plan: AnalysisPlan, judged: Judged | None) -> JudgedBest | None:
    """The plan's primary claim that the line says over: its subject is above every other row."""
    if line.read_as or plan.datasets.get(line.dataset) != "primary":
        return None
    return _claim_of_plan(line, judged)


def _claim_of_plan(line: LedgerLine, judged: Judged | None) -> JudgedBest | None:
    """The plan's claim about the best row that the line says over, on whichever dataset."""
    claim = line.claim
    if judged is None or not isinstance(claim, OrderClaim):
        return None
    for best in judged.best:
        if (
            claim.above == [best.subject]
            and claim.display_item == "table 2"
            and set(claim.below) == set(best.others)
            and (line.dataset, line.protocol) == (best.dataset, best.protocol)
        ):
            return best
    return None


def _page(claims: Claims, cells: pd.DataFrame) -> dict[str, Finding]:
    """What the printed page says of each claim."""
    findings = {f.row: f for f in text_checks(cells, claims).findings}
    page: dict[str, Finding] = {}
    for claim in claims.claims:
        found = findings.get(claim.id)
        if isinstance(claim, SettingClaim):
            found = findings.get(claim.name)
        if found is not None:
            said = found.why.rstrip(".")
            said += f" ({found.printed})" if isinstance(claim, SettingClaim) else ""
        elif isinstance(claim, QualityClaim) and not claim.evidence:
            said = f"the text at hand shows none of it; it would take {claim.needs}"
            page[claim.id] = Finding("not testable here", said, metric="")
            continue
        elif isinstance(claim, QualityClaim):
            said = claim.evidence
        elif isinstance(claim, LooseEndClaim):
            said = f"the text at hand has {claim.what}"
        else:
            said = "the page agrees with itself"
        page[claim.id] = Finding("described", said.rstrip("."), metric="")
    return page


FRAME = (
    *("claim", "section", "kind", "text", "verdict", "word", "standing", "dataset", "protocol"),
    *("grade", "metric", "difference", "low", "high", "p", "p_adjusted", "smallest_detectable"),
    *("users", "seeds", "evidence", "runs", "read_as"),
)


def ledger_frame(lines: Sequence[LedgerLine]) -> pd.DataFrame:
    """One line a row, columns `FRAME`; differences are relative, as shares."""
    return pd.DataFrame([_record(line) for line in lines], columns=list(FRAME))


def _record(line: LedgerLine) -> Mapping[str, object]:
    effect, nan = line.finding.effect, float("nan")
    numbers = (nan, nan, nan) if effect is None else effect.relative
    detectable = nan if effect is None else float(np.expm1(effect.smallest_detectable))
    return {
        "claim": line.claim.id,
        "section": line.claim.section,
        "kind": line.claim.kind,
        "text": line.claim.text,
        "verdict": line.verdict,
        "word": line.word,
        "standing": line.standing,
        "dataset": line.dataset,
        "protocol": line.protocol,
        "grade": line.grade,
        "metric": line.finding.metric if effect is not None else "",
        "difference": numbers[0],
        "low": numbers[1],
        "high": numbers[2],
        "p": line.finding.p,
        "p_adjusted": line.adjusted,
        "smallest_detectable": detectable,
        "users": effect.n_users if effect is not None else 0,
        "seeds": "/".join(map(str, effect.n_seeds)) if effect is not None else "",
        "evidence": line.finding.said,
        "runs": " ".join(line.runs),
        "read_as": line.read_as,
    }
