"""Texts of docs/verdict.md: how to read it, what would change it, the invitation to reply, and what
the pages say of a primary claim and of a family that is not complete. Each stands here once."""

from collections.abc import Iterable

from benchmark.analyse.effects import DISCOVERY_RATE, Word
from benchmark.analyse.judged import Judged
from benchmark.evaluate.metrics import PROTOCOLS
from benchmark.plan import OWN_MODEL
from benchmark.render.notes import DatasetNote
from benchmark.render.tables.inference import HEADINGS

READING = """\
This page says what the suite's own runs show of the paper's claims, by rules that were fixed
before them ([plan](plan.md)); what was asked later is called exploratory. It does not say how the
printed numbers came about, and a claim that is not supported here is not thereby false:

- The features are not those of the paper's encoders, the widths are small, and not every dataset
  is the paper's: each dataset has a grade (A: the paper's own data, modalities and encoders; B: its
  data, other features; C: other data), and "does not replicate" is said of grade A alone.
- The paper does not say whether items of a user's history compete with the target. Both ways are
  shown side by side, and neither is called the right one.
- Where the paper leaves a choice open or says two things, FindRec here has a default
  ([readings](paper-readings.md)); what else has been run is below ("The same of other readings of
  FindRec"). Unless the reply below says so, nobody who wrote the paper has checked this
  implementation.
- The rows are as they were tuned here ([tuning](tuning.md)). On MovieLens-1M rates and budgets are
  its own and dropouts those of MovieLens-100k, where rows overfit sooner; no smaller one was looked
  for. MMMLP and SMLP4Rec have one layer (their authors: four and eight) and learn from one
  prefix of a sequence at a time, which gives them fewer targets.
- M1 compares both at the dropouts that they took from MovieLens-100k, 0.2 and 0.3. On validation
  targets of MovieLens-1M late fusion at FindRec's is level with FindRec
  ([tuning](tuning.md#what-m1-owes-to-dropout)): its support there says nothing of the machinery by
  itself.
- M2 and M4 are asked of the default, which scores items by their ids. With planted features that
  default shows less of them than fused item vectors do ([planted](planted.md)).
- *Undecided* means that these runs are too few to tell; it is no mild no. What they could have
  shown stands beside it (*detectable*). What the other words mean is in
  [protocol](protocol.md#the-analysis-plan)."""

CHANGE = """\
And, whoever brings it:

- **A mistake of ours**, in FindRec, in another row, in the ranking or in the inference. The runs
  that it touches are made anew; the new answer stands here, and the deviations have the old one.
- **Another reading.** One that the authors name as theirs is run by the rules of the plan, with
  the same seeds, and its answer stands beside the default's, unadjusted if it is named before
  it is run.
- **Better settings of a row**, found on validation targets within the number of trials that every
  row had: printed beside this answer.
- **Longer budgets of all rows**: what is known of them stands beside this answer
  ([tuning](tuning.md#twice-the-budget)).
- **More seeds**, up to ten, for all rows of a comparison at once: both answers are printed.

Seeds, rows, metrics or a protocol that are chosen after the results are known change nothing."""

INVITATION = """\
Whoever wrote the paper is invited to answer here, at any length, by an issue or a pull request.
What is sent stands unedited between the marks, and stays when the page is filled anew. It would
help most to know: whether items of the history competed with the target in the printed numbers,
and all items or sampled ones; which split, encoders and settings; and which of the open
[readings](paper-readings.md) is the authors' own."""

M1: dict[Word, str] = {
    "supported": "Cross-attention, alignment and experts together beat plain late fusion at the "
    "plan's settings (M1).",
    "opposite": "Plain late fusion is above cross-attention, alignment and experts (M1).",
    "smaller than 1 %": "That cross-attention, alignment and experts gain 1 % over plain late "
    "fusion is excluded (M1).",
    "undecided": "Whether cross-attention, alignment and experts beat plain late fusion is not "
    "decided (M1).",
}
"""What M1 came to -> the sentence."""

BEST_NOTE = (
    "The margin is over the row that is best on validation under the same protocol. The verdict "
    "rests on all eleven rows: it is *supported* where the lower bound is above 0 over each of "
    "them, and *refuted* where bounds for all rows at once exclude a gain of 1 % over one of them, "
    "which says nothing of the others. p is that of being above every other row, corrected by Holm "
    "over P1, P2 and M1 on the primary dataset, and not on the others. A refutation has no p: its "
    "bounds cover all rows already."
)

FALSE_DISCOVERIES = (
    "by Benjamini and Hochberg, which lets one discovery in ten be false on average "
    f"({100 * DISCOVERY_RATE:.0f} % in place of 5 %)"
)


AGREEMENT = (
    "Kendall's tau-b of the rows' means over users and seeds: 1 is the same order, 0 no relation. "
    "Beside it the middle 95 % of the resamples of users and seeds; resampling adds noise to the "
    "means, so that these lie a little low. This describes and decides nothing."
)


def one_modality(note: DatasetNote) -> str:
    """What is missing of the method on a dataset that has texts or images alone; "" on others."""
    if len(note.encoders) != 1:
        return ""
    (kept,) = note.encoders
    return (
        f"{kept} alone: of {OWN_MODEL}'s machinery the experts are left there, without "
        "cross-attention and alignment"
    )


def reserves(notes: Iterable[DatasetNote]) -> list[str]:
    """A sentence for each dataset with one modality."""
    return [f"{note.title} has {said}." for note in notes if (said := one_modality(note))]


def family_note(judged: Judged) -> str:
    """How much of the secondary families has been tested; "" where all has.

    Their correction is over what was tested, so that a word can change as the rest comes in.
    """
    counts = []
    for protocol in PROTOCOLS:
        words = [
            one.word
            for one in judged.contrasts
            if one.contrast.claim == "secondary" and one.protocol == protocol
        ]
        testable = [word for word in words if word != "not testable here"]
        tested = len(testable) - testable.count("not reached")
        if tested < len(testable):
            counts.append(f"{HEADINGS[protocol]}: {tested} of {len(testable)}")
    if not counts:
        return ""
    return (
        f"Secondary verdicts are corrected {FALSE_DISCOVERIES}, over the contrasts that are "
        f"reached ({', '.join(counts)} over all datasets), and can change as the rest come in."
    )
