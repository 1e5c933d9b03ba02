"""Pictures of every kind become the RGB that a person would see, or are refused."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from benchmark.data.encoders.image import load_pictures
from benchmark.errors import InputError

GREY = np.linspace(0, 1, 4096).reshape(64, 64)


def show(path: Path, size: int = 32) -> np.ndarray:
    """[size, size, 3], 0 to 1."""
    return load_pictures([str(path)], size, [0.0] * 3, [1.0] * 3)[0].permute(1, 2, 0).numpy()


@pytest.fixture
def expected(tmp_path: Path) -> np.ndarray:
    Image.fromarray((GREY * 255).astype("uint8")).save(tmp_path / "8.png")
    return show(tmp_path / "8.png")


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("x.png", (GREY * 65535).astype("uint16")),
        ("x.tif", (GREY * 65535).astype("uint16")),
        ("big-endian.tif", (GREY * 65535).astype(">u2")),
        ("x.pgm", (GREY * 65535).astype("uint16")),
        ("unit.tif", GREY.astype("float32")),
        ("bytes.tif", (GREY * 255).astype("float32")),
    ],
)
def test_deep_pixels(tmp_path: Path, expected: np.ndarray, name: str, pixels: np.ndarray) -> None:
    """16 bits and floating point look like the same picture in 8 bits, which rounds down by up to
    one in 255 here."""
    Image.fromarray(pixels).save(tmp_path / name)
    assert np.abs(show(tmp_path / name) - expected).max() <= 1.01 / 255


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        ((GREY * 1e6).astype("int32"), "32-bit integers do not say what white is"),
        ((GREY * 1000).astype("float32"), "pixels from 0 to 1000"),
        ((GREY - 0.5).astype("float32"), "pixels from -0.5 to 0.5"),
        (np.where(GREY > 0.5, np.nan, GREY).astype("float32"), "pixels from nan"),
    ],
)
def test_pixels_without_a_white(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    with pytest.raises(InputError, match=rf"x.tif: not a readable picture \({message}"):
        show(tmp_path / "x.tif")


def see_through(mode: str) -> Image.Image:
    """A red square in the middle; around it, nothing that is secretly green."""
    pixels = np.zeros((64, 64, 4), "uint8")
    pixels[:] = [0, 200, 0, 0]
    pixels[16:48, 16:48] = [200, 30, 30, 255]
    return Image.fromarray(pixels).convert(mode)


@pytest.mark.parametrize(
    ("form", "mode"),
    [("png", "RGBA"), ("png", "LA"), ("tiff", "RGBA"), ("tiff", "LA"), ("webp", "RGBA")],
)
def test_transparent_parts_are_white(tmp_path: Path, mode: str, form: str) -> None:
    see_through(mode).save(tmp_path / "x", form, **({"lossless": True} if form == "webp" else {}))
    pixels = show(tmp_path / "x", 64)
    assert pixels[0, 0].tolist() == [1.0, 1.0, 1.0]
    centre = see_through(mode).convert("RGB").getpixel((32, 32))
    assert np.abs(pixels[32, 32] * 255 - centre).max() < 1e-3


def test_half_transparent_parts_are_half_white(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 128)).save(tmp_path / "x.png")
    assert np.abs(show(tmp_path / "x.png", 8) - 127 / 255).max() < 0.5 / 255


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_one_transparent_colour(tmp_path: Path, mode: str) -> None:
    """Palette, grey and RGB pictures name a colour that is not there."""
    picture = Image.new("L", (8, 8), 7).convert(mode)
    key = (7, 7, 7) if mode == "RGB" else picture.getpixel((0, 0))
    picture.save(tmp_path / "x.png", transparency=key)
    assert show(tmp_path / "x.png", 8).min() == 1.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_exif_says(tmp_path: Path, orientation: int) -> None:
    """Stored as EXIF's eight cases say, the picture comes out upright (JPEG within 4 in 255)."""
    upright = Image.fromarray((GREY * 255).astype("uint8")).convert("RGB")
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = stored.getexif()
    exif[274] = orientation
    stored.save(tmp_path / "x.jpg", exif=exif, quality=95)
    upright.save(tmp_path / "y.png")
    assert np.abs(show(tmp_path / "x.jpg") - show(tmp_path / "y.png")).max() < 4 / 255


def test_damaged_exif_does_not_matter(tmp_path: Path) -> None:
    picture = Image.new("RGB", (8, 8), "red")
    picture.save(tmp_path / "x.jpg", exif=b"Exif\0\0" + b"MM\0*junk")
    assert show(tmp_path / "x.jpg", 8)[0, 0, 0] > 0.9


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_other_modes(tmp_path: Path, mode: str) -> None:
    form = "jpeg" if mode in {"CMYK", "YCbCr"} else "png"
    Image.new("RGB", (8, 8), "white").convert(mode).save(tmp_path / "x", form)
    assert show(tmp_path / "x", 8).min() > 0.98


def test_the_first_picture_of_an_animation(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert show(tmp_path / "x.gif", 8)[0, 0].tolist() == [1.0, 0.0, 0.0]


def test_too_many_pixels(tmp_path: Path) -> None:
    """196 megapixels, told by the head alone: nothing is unpacked."""
    stream = io.BytesIO()
    Image.new("1", (8, 8)).save(stream, "png")
    content = bytearray(stream.getvalue())
    content[16:24] = (14_000).to_bytes(4, "big") * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    (tmp_path / "x.png").write_bytes(content)
    with pytest.raises(InputError, match=r"x.png: a picture of too many pixels .*shrink it"):
        show(tmp_path / "x.png")


@pytest.mark.parametrize("form", ["png", "jpeg", "gif", "webp", "tiff"])
def test_pictures_that_are_cut_off(tmp_path: Path, form: str) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, form)
    good = stream.getvalue()
    for end in (0, 1, 9, 40, len(good) // 2):
        (tmp_path / "x").write_bytes(good[:end])
        with pytest.raises(InputError, match=r"x: not a readable picture"):
            show(tmp_path / "x")


def test_a_text_bomb_in_a_picture(tmp_path: Path) -> None:
    """A PNG whose compressed comment unpacks to more than Pillow allows."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "x" * 2_000_000, zip=True)
    Image.new("1", (8, 8)).save(tmp_path / "x.png", pnginfo=info)
    with pytest.raises(InputError, match=r"x.png: not a readable picture"):
        show(tmp_path / "x.png")
