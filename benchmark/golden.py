"""Makes golden curves: the first steps of every row on a CPU, by the same core as any run.

Widths, users and rates are the smoke profile's. Validation is ranked after every step, so that the
history that the core keeps of a run has each step's losses.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import torch

from benchmark import plan as planning
from benchmark.analyse.golden import Curve, Golden, MadeWith, rounding_of
from benchmark.core import builder, compute, split
from benchmark.data.bundle import load_bundle
from benchmark.data.content import Bundle
from benchmark.errors import InputError
from benchmark.evaluate.metrics import per_user
from benchmark.feature_controls import apply_feature_control
from benchmark.runs.spec import RunSpec
from benchmark.settings.registry import get_profile, methods
from benchmark.train.engine import train
from findrec.ops import scan_backend
from findrec.recommender import Recommender

PROFILE = "smoke"
STEPS = 20
SEED = 0
METRIC = "NDCG@10"
WEIGHT_DECAY_TIMES = 50
"""How many times a row's own weight decay is used: in 20 steps its own moves a loss by no more than
another machine may."""

CPU = torch.device("cpu")


def make_golden(
    *,
    datasets: Sequence[str] | None = None,
    models: Sequence[str] | None = None,
    data: Path | None = None,
    rounding: bool = False,
    watch: Callable[[str], None] = lambda _: None,
) -> Golden:
    """The curves of every row on the smoke profile's datasets, or of those that are named.

    rounding: measure each curve's `rounding` too, for a file that others compare with; it doubles
    the time. watch: is told the name of each row before it is made. Raises InputError for an
    unknown row or dataset, and for a row that cannot be trained.
    """
    profile = get_profile(PROFILE)
    hashes: dict[str, str] = {}
    curves: dict[str, dict[str, Curve]] = {}
    with _one_thread():
        for dataset in datasets or profile.run_on:
            bundle = load_bundle(dataset, root=data)
            hashes[dataset] = bundle.meta.data_hash
            curves[dataset] = {}
            for row in models or methods():
                watch(f"{row} on {dataset}")
                spec = planning.spec_of(row, dataset, profile)
                curves[dataset][row] = make_curve(spec, bundle, rounding=rounding)
    return Golden(made_with=made_with(), data=hashes, curves=curves)


def make_curve(spec: RunSpec, bundle: Bundle, *, rounding: bool = False) -> Curve:
    """The first steps of one row, and what they rank. Raises InputError where it fails."""
    if spec.training is not None:
        decay = WEIGHT_DECAY_TIMES * spec.training.weight_decay
        spec = spec.with_training(steps=STEPS, eval_every=1, weight_decay=decay)
    (outcome,) = compute(spec, bundle, [SEED], device=CPU)
    if outcome.failure is not None or outcome.validation is None or outcome.test is None:
        raise InputError(f"{spec.key}: no golden curve: {outcome.failure}; mend the row first")
    ranks = {
        f"{part}, {protocol}": float(per_user(own, METRIC, masked=masked).mean())
        for part, own in (("validation", outcome.validation), ("test", outcome.test))
        for protocol, masked in (("history kept", False), ("history left out", True))
    }
    losses = {} if outcome.curve is None else outcome.curve.terms
    curve = Curve(losses=losses, ranks=ranks)
    if not rounding or spec.training is None:
        return curve
    moved = Curve(losses=_losses_after_rounding(spec, bundle), ranks={})
    return curve.model_copy(update={"rounding": rounding_of(curve, moved)})


def _losses_after_rounding(spec: RunSpec, bundle: Bundle) -> dict[str, list[float]]:
    """The losses where every initial parameter is its neighbour among the float32 numbers, above
    or below as a coin says."""
    assert spec.training is not None
    sequences = split(bundle, spec.protocol)
    fed = apply_feature_control(bundle.catalogue(), spec, sequences.histories, SEED)
    build = builder(spec, fed)

    def moved() -> Recommender:
        model: Recommender = build()
        coins = torch.Generator().manual_seed(SEED)
        with torch.no_grad():
            for p in model.parameters():
                up = torch.rand(p.shape, generator=coins) < 0.5
                p.copy_(torch.nextafter(p, torch.where(up, torch.inf, -torch.inf)))
        return model

    trained = train(moved, spec.training, sequences.train, sequences.validation, [SEED], device=CPU)
    return trained.curves[0].terms


def made_with() -> MadeWith:
    """Of this process."""
    import llvmlite.binding  # takes part of a second, and the curves need numba anyway

    return MadeWith(
        torch=torch.__version__,
        numpy=metadata.version("numpy"),
        numba=metadata.version("numba"),
        isa=torch.backends.cpu.get_cpu_capability(),
        cpu=llvmlite.binding.get_host_cpu_name(),
        scan=scan_backend("cpu"),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums are split by the number of threads, so that it would change the last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
