"""FindRec: the contract, missing modalities, ablations and every switch."""

import dataclasses

import pytest
import torch
from torch import Tensor

from findrec.config import FindRecConfig
from findrec.model import FindRec
from findrec.recommender import Batch, Catalogue
from tests.catalogues import catalogue, sequences
from tests.contract import RecommenderContract
from tests.step import StepLoss


def config(**changes: object) -> FindRecConfig:
    sizes: dict[str, object] = {
        "dim": 24, "align_dim": 24, "max_length": 7, "dropout": 0.2, "layers": 1, "d_state": 3,
        "heads": 2, "experts": 3, "iicm_samples": 16,
    }  # fmt: skip
    # A weight at which an error in an auxiliary loss shows in the gradients of the whole loss.
    return FindRecConfig(**({"iicm_weight": 0.5} | sizes | changes))  # type: ignore[arg-type]


def build(data: Catalogue, **changes: object) -> FindRec:
    torch.manual_seed(0)
    return FindRec(config(**changes), data)


def states(model: FindRec, *, training: bool = False) -> Tensor:
    return TestFindRec.run(model, sequences(5, 7), training=training)


class TestFindRec(RecommenderContract):
    model = FindRec

    def config(self) -> FindRecConfig:
        return config()


SWITCHES: list[dict[str, object]] = [
    {"dim": 32},
    {"max_length": 6},
    {"dropout": 0.0},
    {"align_dim": 16},
    {"layers": 2},
    {"modality_layers": 0},
    {"d_state": 4},
    {"d_conv": 2},
    {"expand": 1},
    {"alpha": 0.5},
    {"feed_forward": True},
    {"id_input": "fused"},
    {"score_with": "fused"},
    {"id_input": "fused", "score_with": "fused"},
    {"iicm_weight": 0.0},
    {"iicm_sign": "equation"},
    {"iicm_entropy": 0.0},
    {"iicm_kl": 0.3},
    {"iicm_align": "id"},
    {"iicm_positions": "last"},
    {"iicm_pairs": "all"},
    {"iicm_bandwidth": "svgd"},
    {"iicm_samples": 5},
    {"iicm_ridge": 1.0},
    {"heads": 4},
    {"attention": "channels"},
    {"attention": "none"},
    {"experts": 1},
    {"router_temperature": 0.1},
    {"fusion": "sum"},
]


def name_of(switch: dict[str, object]) -> str:
    return ",".join(f"{name}={value}" for name, value in switch.items())


def test_every_field_is_switched() -> None:
    fields = {field.name for field in dataclasses.fields(FindRecConfig)}
    assert {name for switch in SWITCHES for name in switch} == fields


@pytest.mark.parametrize("switch", SWITCHES, ids=name_of)
class TestSwitch:
    """What is most likely to break under a switch; the whole contract runs on the default."""

    _no_vmap_fallback = RecommenderContract._no_vmap_fallback

    @staticmethod
    def contract(switch: dict[str, object]) -> TestFindRec:
        class Switched(TestFindRec):
            def config(self) -> FindRecConfig:
                return config(**switch)

        return Switched()

    def test_changes_the_loss(self, switch: dict[str, object]) -> None:
        losses = []
        for contract in (self.contract(switch), self.contract({})):
            step = contract.step()
            loss_of = StepLoss(contract.build())
            key = torch.tensor([1, 2])
            losses.append(loss_of(step.inputs, step.targets, step.weights, key).item())
        assert losses[0] != pytest.approx(losses[1], rel=1e-9)

    def test_every_parameter_learns(self, switch: dict[str, object]) -> None:
        self.contract(switch).test_every_parameter_learns()

    def test_stack_equals_separate_models(self, switch: dict[str, object]) -> None:
        self.contract(switch).test_stack_equals_separate_models()

    def test_length_groups_equal_whole_batch(self, switch: dict[str, object]) -> None:
        self.contract(switch).test_length_groups_equal_whole_batch()

    def test_later_items_change_no_earlier_state(self, switch: dict[str, object]) -> None:
        self.contract(switch).test_later_items_change_no_earlier_state()


class TestMissingModalities:
    @pytest.mark.parametrize("training", [False, True])
    def test_missing_for_all_items_is_no_modality(self, training: bool) -> None:
        """Same parameters, same states: no branch is built for a modality that no item has."""
        empty, without = build(catalogue(missing=1.0)), build(catalogue(modalities=()))
        assert empty.state_dict().keys() == without.state_dict().keys()
        assert torch.equal(states(empty, training=training), states(without, training=training))

    def test_one_modality_missing_for_all_items(self) -> None:
        both = catalogue(missing=0.25)
        lacking = catalogue(missing=1.0)
        data = dataclasses.replace(both, image=lacking.image)
        empty, without = build(data), build(dataclasses.replace(both, image=None))
        assert empty.state_dict().keys() == without.state_dict().keys()
        assert torch.equal(states(empty), states(without))

    def test_single_modality_is_routed_alone(self) -> None:
        """O is the other modality's stream; nothing is attended to or aligned."""
        model = build(catalogue(modalities=("text",)))
        assert not model.aux_loss_weights()
        seen = []
        model.routing.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        model.streams["text"].register_forward_hook(lambda _, __, output: seen.append(output))
        states(model)
        stream, routed = seen
        assert torch.equal(stream, routed)

    def test_single_modality_can_align_with_the_id_stream(self) -> None:
        model = build(catalogue(modalities=("text",)), iicm_align="id")
        batch = Batch(sequences(5, 7), torch.arange(5), torch.tensor([0, 0]), training=True)
        losses = model.aux_losses(model(batch).aux, batch.valid, batch.key)
        assert set(model.aux_loss_weights()) == {"alignment", "entropy"} <= set(losses)


class TestAblations:
    """Table 5: each removes its part and leaves all else as it is."""

    full = build(catalogue(missing=0.25))

    def test_without_cross_attention(self) -> None:
        model = build(catalogue(missing=0.25), attention="none")
        assert model.state_dict().keys() == self.full.state_dict().keys()
        seen: list[Tensor] = []
        model.routing.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        for name in ("image", "text"):
            model.streams[name].register_forward_hook(lambda _, __, output: seen.append(output))
        states(model)
        first, second, routed = seen
        assert torch.equal(routed, first + second)

    def test_without_iicm(self) -> None:
        """Lambda at 0: the same parameters and states, and no auxiliary loss."""
        model = build(catalogue(missing=0.25), iicm_weight=0.0)
        assert not model.aux_loss_weights()
        model.load_state_dict(self.full.state_dict())
        assert torch.equal(states(model, training=True), states(self.full, training=True))

    def test_without_moe(self) -> None:
        """One expert of the same width and no router; everything else has the same parameters."""
        model = build(catalogue(missing=0.25), experts=1)
        left = {n: p.shape for n, p in self.full.named_parameters() if "routing" not in n}
        right = {n: p.shape for n, p in model.named_parameters() if "routing" not in n}
        assert left == right
        experts = {n: p.shape for n, p in model.named_parameters() if "routing" in n}
        assert experts == {"routing.experts.weight": (12, 12), "routing.experts.bias": (12,)}


class TestSumFusion:
    """S = z_id + Linear(O_exp), in place of the FFN."""

    def test_adds_the_experts_to_the_id_stream(self) -> None:
        """Float64, so that 1e-12 leaves room for the order of sums alone."""
        model = build(catalogue(missing=0.25), fusion="sum").double()
        seen: list[Tensor] = []
        for module in (model.streams["id"], model.routing):
            module.register_forward_hook(lambda _, __, output: seen.append(output))
        found = states(model)
        z_id, (o_exp, _) = seen
        weights = model.state_dict()
        added = torch.einsum("blm,dm->bld", o_exp, weights["fusion.weight"])
        expected = z_id + added + weights["fusion.bias"]
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)

    def test_without_modalities_the_state_is_the_stream(self) -> None:
        model = build(catalogue(modalities=()), fusion="sum")
        assert not [name for name in model.state_dict() if name.startswith("fusion")]
        seen: list[Tensor] = []
        model.streams["id"].register_forward_hook(lambda _, __, output: seen.append(output))
        assert torch.equal(states(model), seen[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 5}, "align_dim 24 does not divide into 5 heads"),
        ({"experts": 0}, "experts is 0"),
        ({"iicm_weight": -1e-3}, "iicm_sign"),
        ({"iicm_ridge": 0.0}, "iicm_ridge is 0.0"),
        ({"attention": "users"}, "attention is 'users': choose one of"),
        ({"iicm_sign": "plus"}, "iicm_sign is 'plus'"),
    ],
)
def test_bad_values_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)
