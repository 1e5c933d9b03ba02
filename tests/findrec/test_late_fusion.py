"""Late fusion: the contract, its formula written out, and as many parameters as FindRec has."""

import pytest
import torch
from torch import nn

from benchmark.settings.registry import get_profile
from benchmark.settings.resolve import resolve
from findrec import Batch, Catalogue, Features, FindRec, FindRecConfig, LateFusion, LateFusionConfig
from findrec.recommender import Modality
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract

SHARED: dict[str, object] = {
    "dim": 24, "align_dim": 24, "max_length": 7, "dropout": 0.2, "layers": 1, "d_state": 3,
    "heads": 2, "experts": 3,
}  # fmt: skip


def config(**changes: object) -> LateFusionConfig:
    return LateFusionConfig(**(SHARED | changes))  # type: ignore[arg-type]


class TestLateFusion(RecommenderContract):
    """At an inner width that the BLAS vectorises whole, which one of the tests asks for."""

    model = LateFusion

    def config(self) -> LateFusionConfig:
        return config(inner=32)


class TestLateFusionAsWideAsFindRec(RecommenderContract):
    """The default width, with other streams. Heads and experts are such that it is 48 here, which
    the BLAS vectorises whole too."""

    model = LateFusion

    def config(self) -> LateFusionConfig:
        return config(
            align_dim=32, experts=4, modality_layers=0, feed_forward=True, alpha=0.5, d_conv=2
        )


def build(data: Catalogue, seed: int = 0, **changes: object) -> LateFusion:
    torch.manual_seed(seed)
    return LateFusion(config(**changes), data)


@pytest.mark.parametrize("modalities", [("text", "image"), ("text",), ("image",), ()])
def test_equals_the_formula_written_out(modalities: tuple[Modality, ...]) -> None:
    """LayerNorm(W2 relu(W1 [z_id, z_txt, z_img] + b1) + b2), number by number in float64. 1e-12:
    sums of some hundred terms in another order."""
    model = build(catalogue(modalities=modalities, missing=0.25)).double()
    items = sequences(3, 7)
    batch = Batch(items, torch.arange(3), torch.tensor([0, 0]))
    states = model(batch).states
    z = {"id": model.streams["id"](model.items(items), batch)}
    for name in modalities:
        z[name] = model.streams[name](model.features[name](items), batch)
    vectors = torch.cat(list(z.values()), -1).tolist()
    weights = dict(model.fusion.named_parameters())
    for user in range(3):
        for position in range(7):
            joined = vectors[user][position]
            hidden = [
                max(sum(w * x for w, x in zip(row, joined, strict=True)) + bias, 0.0)
                for row, bias in zip(*_numbers(weights, "inner"), strict=True)
            ]
            out = [
                sum(w * h for w, h in zip(row, hidden, strict=True)) + bias
                for row, bias in zip(*_numbers(weights, "outer"), strict=True)
            ]
            mean = sum(out) / len(out)
            variance = sum((x - mean) ** 2 for x in out) / len(out)
            expected = [(x - mean) / (variance + 1e-5) ** 0.5 for x in out]
            found = states[user, position].tolist()
            assert found == pytest.approx(expected, rel=1e-12, abs=1e-12)


def _numbers(weights: dict[str, nn.Parameter], layer: str) -> tuple[list[list[float]], list[float]]:
    return weights[f"{layer}.weight"].tolist(), weights[f"{layer}.bias"].tolist()


def test_starts_from_findrec_s_streams() -> None:
    """The same draws in the same order: only the fusion differs between the two of one seed."""
    data = catalogue(missing=0.25)
    late = build(data, 3)
    torch.manual_seed(3)
    findrec = FindRec(config().of_findrec(), data).state_dict()
    for name, value in late.state_dict().items():
        if not name.startswith("fusion."):
            assert torch.equal(value, findrec[name]), name
    assert {name.partition(".")[0] for name in findrec.keys() - late.state_dict().keys()} == {
        "routing"
    }


def test_without_modalities_it_is_findrec_without_modalities() -> None:
    data = catalogue(modalities=())
    late, findrec = build(data), FindRec(config().of_findrec(), data)
    findrec.load_state_dict(late.state_dict())
    items = sequences(5, 7)
    both = [TestLateFusion.run(model, items, training=True) for model in (late, findrec)]
    assert torch.equal(*both)


# ---- parameters ---------------------------------------------------------------------------------

CATALOGUES = {
    # as docs/baselines.md has them: items, width of the text and of the image features
    "ml-100k": (1_349, 384, 1_280),
    "beauty": (2_423, 384, None),
    "microlens": (17_228, 1_024, 1_024),
}


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def shapes(items: int, width: int | None) -> Features | None:
    """Features of that width; expanded zeros take no memory."""
    if width is None:
        return None
    return Features(torch.zeros(1).expand(items + 1, width), torch.arange(items + 1) > 0)


@pytest.mark.parametrize("profile", ["smoke", "ci", "quick", "paper", "reading-b"])
@pytest.mark.parametrize("dataset", CATALOGUES)
def test_has_as_many_parameters_as_findrec(dataset: str, profile: str) -> None:
    """Both as the profile configures them; the rule of the comparison is 2 %, and a whole number of
    inner units leaves 0.05 % at most at these widths."""
    items, text, image = CATALOGUES[dataset]
    data = Catalogue(items, shapes(items, text), shapes(items, image))
    with torch.device("meta"):
        late, findrec = (
            resolved.method.cls(resolved.config, data)
            for resolved in (
                resolve(name, dataset, get_profile(profile)) for name in ("Late fusion", "FindRec")
            )
        )
    assert abs(count(late) / count(findrec) - 1) < 0.0005


@pytest.mark.parametrize("changes", [{"heads": 4}, {"experts": 8}, {"heads": 1, "experts": 1}])
def test_the_width_follows_findrec_s_heads_and_experts(changes: dict[str, int]) -> None:
    data = catalogue()
    late = build(data, **changes)
    unit = count(build(data, inner=2)) - count(build(data, inner=1))
    findrec = FindRec(FindRecConfig(**(SHARED | changes)), data)  # type: ignore[arg-type]
    assert abs(count(late) - count(findrec)) <= unit / 2


def test_counting_draws_nothing() -> None:
    """With the width that was counted and with the same width given, all weights are equal."""
    counted = build(catalogue())
    given = build(catalogue(), inner=counted.fusion.inner.out_features).state_dict()
    for name, value in counted.state_dict().items():
        assert torch.equal(value, given[name]), name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inner": 0}, "inner is 0: it must be at least 1, or None"),
        ({"heads": 5}, "align_dim 24 does not divide into 5 heads"),
        ({"dim": 0}, "dim is 0"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)
