"""The report's page on the paper's claims: the primary ones first, then what explains them."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.analyse.effects import Effect
from benchmark.analyse.judged import Judged, pair_verdict, qualified
from benchmark.plan import experiments
from benchmark.render.document import Block, with_range
from benchmark.render.tables.build import BuiltTable
from benchmark.settings.registry import Profile

SECTIONS = {
    "primary": "Is FindRec above every other row?",
    "retention": "What does the history cost each row?",
    "machinery": "Does the machinery help?",
    "claims": "The paper’s claims",
    "readings": "Readings of the paper",
    "specifications": "Every combination of four open choices",
    "four-ways": "FindRec, four ways",
    "diagnose": "Which protocol could have given the printed levels?",
    "power": "What could be shown",
}
"""In the page's order; the experiment or command that each shows -> its heading."""


_FURTHER = {"retention": ("retention-doses",)}
"""Pictures beside the one that has the section's name."""


@dataclass(frozen=True)
class ClaimLine:
    """A primary claim."""

    asks: str
    word: str
    size: str
    """Of the difference, with its interval, and from which row; "" without runs."""
    note: str
    """What qualifies it."""


@dataclass(frozen=True)
class PrimaryClaims:
    """Those of one dataset, and what P1 and P2 say together."""

    dataset: str
    """Its title and, of a further profile, what that changes."""
    sentence: str
    lines: tuple[ClaimLine, ...]


@dataclass(frozen=True)
class Section:
    """One section of the page."""

    name: str
    title: str
    blocks: tuple[Block, ...]
    figures: tuple[str, ...]
    """Names of its pictures that are drawn."""
    missing: str
    """Why nothing is shown; "" where something is."""
    left_out: int
    """Number of its tables that no run fills."""


def primary_claims(
    tables: Sequence[BuiltTable], titles: dict[str, str], further: Sequence[tuple[Profile, Judged]]
) -> list[PrimaryClaims]:
    """P1, P2 and M1 from the table `primary`, of the datasets on which it has runs, each followed
    by what further profiles have of them.

    titles: of datasets, by name.
    """
    table = next((t for t in tables if t.document.name == "primary" and has_runs(t)), None)
    if table is None or table.judged is None:
        return []
    found = []
    ran = {key.dataset for key, runs in table.shown.items() if runs}
    for dataset in dict.fromkeys(one.dataset for one in table.judged.best if one.dataset in ran):
        title = titles.get(dataset, dataset)
        role = table.judged.roles.get(dataset)
        named = f"{title} ({role})" if role == "exploratory" else title
        found.append(_of_dataset(table.judged, dataset, named))
        for profile, judged in further:
            if any(one.dataset == dataset and one.margin is not None for one in judged.best):
                named = f"{title}, {profile.title} ({judged.roles[dataset]})"
                found.append(_of_dataset(judged, dataset, named))
    return found


def _of_dataset(judged: Judged, dataset: str, title: str) -> PrimaryClaims:
    best = {one.protocol: one for one in judged.best if one.dataset == dataset}
    lines = [
        ClaimLine(
            f"Above every other row, history {one.protocol}? ({one.claim})",
            one.word,
            _size(one.margin, one.strongest or ""),
            qualified(one.note, one),
        )
        for one in best.values()
    ]
    lines += [
        ClaimLine(
            f"{one.contrast.asks} (history {one.protocol}, {one.claim})",
            one.word,
            _size(one.effect, " and ".join(str(arm) for arm in one.contrast.minus)),
            qualified(one.note, one),
        )
        for one in judged.contrasts
        if one.dataset == dataset and one.contrast.claim == "primary"
    ]
    return PrimaryClaims(title, pair_verdict(tuple(best.values())), tuple(lines))


def _size(effect: Effect | None, over: str) -> str:
    if effect is None:
        return ""
    return f"{with_range(*effect.relative)} over {over}"


def sections(
    tables: Sequence[BuiltTable],
    figures: Sequence[str],
    power: Block,
    profile: Profile,
    *,
    ledger: bool,
) -> list[Section]:
    """The page's sections; of a table its blocks without details in which any number stands.
    ledger: whether `claims` ran."""
    by_name = {table.document.name: table for table in tables}
    found = []
    for name, title in SECTIONS.items():
        if name not in (*experiments(), "claims", "power"):
            continue
        blocks: tuple[Block, ...] = (power,) if name == "power" else ()
        missing, left_out = "", 0
        table = by_name.get(name)
        if table is not None and has_runs(table):
            wanted = [block for block in table.document.blocks if not block.detail]
            blocks = tuple(block for block in wanted if _has_numbers(block))
            left_out = len(wanted) - len(blocks)
        elif name not in ("power", "claims") or (name == "claims" and not ledger):
            missing = _missing(name, profile)
        own = () if missing else tuple(f for f in (name, *_FURTHER.get(name, ())) if f in figures)
        found.append(Section(name, title, blocks, own, missing, left_out))
    return found


def _missing(name: str, profile: Profile) -> str:
    """What fills a section that has no runs, and where it then stands: what belongs to another
    profile fills that one's report. Claims are judged where the analysis plan is carried out."""
    of = experiments()["primary" if name == "claims" else name].profile
    if of in (None, profile.name):
        return f"Not run yet: `./reproduce.sh {name}` fills this section."
    return (
        f"Of profile `{of}`: `./reproduce.sh {name}`, then `./reproduce.sh report --profile {of}`."
    )


def _has_numbers(block: Block) -> bool:
    entries = [entry for row in block.rows for entry in row.entries]
    return any(character.isdigit() for entry in entries for character in entry.text)


def has_runs(table: BuiltTable) -> bool:
    """Whether any run stands behind it."""
    return any(table.shown.values())
