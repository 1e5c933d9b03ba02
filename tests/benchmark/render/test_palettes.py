"""Colours of the pictures as people with protanopia and deuteranopia see them."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

from benchmark.render.figures import style

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
"""Linear RGB -> linear RGB as it is seen. Machado, Oliveira and Fernandes 2009, table 1, severity
1.0; each row sums to 1, so that greys stay greys."""

LEAST = 0.10
"""Least distance in OKLab of two colours that stand beside one another: five times 0.02, about what
is just noticed of two patches that touch, since marks are small and lie apart."""


def linear(colour):
    """[3] of "#rrggbb", IEC 61966-2-1."""
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    """OKLab (Ottosson 2020) of linear RGB [3]: lightness, green-red, blue-yellow."""
    to_cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return to_lab @ np.cbrt(to_cones @ np.clip(rgb, 0, 1))


def test_oklab_of_known_colours():
    """Ottosson's own values for white and for sRGB red, to the digits that he prints."""
    np.testing.assert_allclose(oklab(linear("#ffffff")), [1, 0, 0], atol=1e-3)
    np.testing.assert_allclose(oklab(linear("#ff0000")), [0.628, 0.225, 0.126], atol=1e-3)


@pytest.mark.parametrize("vision", VISIONS)
def test_greys_stay_greys(vision):
    np.testing.assert_allclose(VISIONS[vision] @ [0.5, 0.5, 0.5], 0.5, atol=1e-5)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("palette", style.PALETTES)
def test_colours_are_told_apart(palette, vision):
    seen = {c: oklab(VISIONS[vision] @ linear(c)) for c in style.PALETTES[palette]}
    near = {
        pair: round(float(np.linalg.norm(seen[pair[0]] - seen[pair[1]])), 3)
        for pair in itertools.combinations(seen, 2)
    }
    assert {pair: d for pair, d in near.items() if d < LEAST} == {}


def test_red_and_green_of_one_lightness_are_told_to_be_close():
    """The measure finds what it should: such a pair is far with normal vision alone."""
    pair = [linear("#b03030"), linear("#4f7a2a")]
    far, near = (
        np.linalg.norm(oklab(VISIONS[v] @ pair[0]) - oklab(VISIONS[v] @ pair[1]))
        for v in ("normal", "deuteranopia")
    )
    assert near < LEAST < far


def test_every_colour_of_a_picture_is_in_a_palette():
    """Beside them the modules of the pictures name greys and pale backgrounds alone."""
    folder = Path(style.__file__).parent
    for path in sorted(folder.glob("*.py")):
        if path.name == "style.py":
            continue
        for colour in re.findall(r'"(#[0-9A-Fa-f]{6})"', path.read_text(encoding="utf-8")):
            lightness, *tint = oklab(linear(colour))
            assert np.hypot(*tint) < 0.02 or lightness > 0.9, (path.name, colour)
