"""Draw a synthetic lesion from its morphology: numpy and PIL alone.

Every colour is relative to the skin under it (brown is darker skin, red is skin with its green and blue taken away),
as in life: redness is plain on light skin and dusky on dark skin. That difference is what a model trained on light
skin has to learn in the clinical domain.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from skinrl.phantom.diseases import Morphology

#: Six skin tones, lightest first, as RGB; the index plus one is the phantom's Fitzpatrick type.
TONES = ((244, 208, 177), (231, 180, 143), (210, 158, 124), (176, 120, 84), (135, 84, 52), (90, 56, 40))

#: Colour word -> (factor on the skin's RGB, RGB mixed in, share of the latter).
_PAINT: dict[str, tuple[tuple[float, float, float], tuple[int, int, int], float]] = {
    "red": ((0.92, 0.48, 0.48), (200, 30, 40), 0.25),
    "pink": ((1.0, 0.78, 0.80), (240, 120, 140), 0.18),
    "violet": ((0.75, 0.50, 0.80), (130, 60, 160), 0.30),
    "brown": ((0.58, 0.46, 0.38), (80, 45, 20), 0.10),
    "black": ((0.22, 0.20, 0.20), (20, 18, 20), 0.30),
    "tan": ((0.82, 0.70, 0.54), (150, 100, 50), 0.10),
    "white": ((1.0, 1.0, 1.0), (252, 246, 240), 0.75),
    "yellow": ((1.0, 0.90, 0.60), (225, 180, 50), 0.50),
    "pearly": ((1.0, 0.94, 0.94), (248, 226, 226), 0.45),
    "blue": ((0.60, 0.65, 0.90), (50, 70, 150), 0.50),
}
_COUNTS = {"single": (1, 1), "few": (3, 4), "many": (8, 11)}
#: Radius of one lesion as a share of the image's side, by number; small primary lesions are half as large.
_RADIUS = {"single": (0.22, 0.30), "few": (0.12, 0.17), "many": (0.065, 0.09)}
_SMALL_SHAPES = frozenset({"papule", "vesicle", "pustule"})


@dataclass(frozen=True)
class Scene:
    """How the photograph was taken. Lengths are shares of the side, colours are in 0 to 255."""

    zoom: tuple[float, float]
    noise: tuple[float, float]
    blur: tuple[float, float]
    light: float
    cast: float
    hairs: tuple[int, int]
    tone_weights: tuple[float, ...]
    contrast: tuple[float, float]


#: The two domains. Textbook plates: close, sharp, even light, mostly light skin. Clinic: the rest of the world.
DOMAINS: dict[str, Scene] = {
    "textbook": Scene(
        zoom=(0.95, 1.1),
        noise=(2, 5),
        blur=(0.3, 0.7),
        light=0.06,
        cast=0.02,
        hairs=(0, 0),
        tone_weights=(0.45, 0.35, 0.12, 0.05, 0.02, 0.01),
        contrast=(0.9, 1.1),
    ),
    "clinical": Scene(
        zoom=(0.75, 1.0),
        noise=(4, 10),
        blur=(0.4, 0.9),
        light=0.25,
        cast=0.05,
        hairs=(0, 4),
        tone_weights=(1 / 6,) * 6,
        contrast=(0.75, 1.0),
    ),
}


def draw_tone(rng: np.random.Generator, domain: str) -> int:
    """Index of a skin tone, 0 (lightest) to 5, as frequent as in the domain."""
    return int(rng.choice(len(TONES), p=DOMAINS[domain].tone_weights))


def render(morphology: Morphology, tone: int, domain: str, rng: np.random.Generator, size: int = 112) -> Image.Image:
    """One RGB image of `size` x `size` pixels.

    `morphology` has one word to each attribute (see `Morphology.draw`); `tone` is an index into `TONES`.
    """
    scene = DOMAINS[domain]
    words = {attribute: values[0] for attribute, values in morphology.words().items()}
    base = np.asarray(TONES[tone], dtype=np.float32) * rng.uniform(0.95, 1.05)
    canvas = np.broadcast_to(base, (size, size, 3)).astype(np.float32)
    contrast = rng.uniform(*scene.contrast)
    zoom = rng.uniform(*scene.zoom)
    paint = _paint(words["colour"], base, rng)
    low, high = _RADIUS[words["number"]]
    shrink = 0.72 if words["primary_lesion"] in _SMALL_SHAPES else 1.0
    for x, y in _places(words["number"], words["arrangement"], zoom, rng):
        radius = rng.uniform(low, high) * zoom * shrink
        _lesion(canvas, words, paint, (x * size, y * size), max(radius * size, 3.0), contrast, rng)
    image = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    _hairs(image, int(rng.integers(scene.hairs[0], scene.hairs[1] + 1)), tone, rng)
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(*scene.blur)) * size / 112))
    return _photograph(np.asarray(image, dtype=np.float32), scene, rng)


def _paint(colour: str, base: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    factor, target, share = _PAINT[colour]
    mixed = base * np.asarray(factor) * (1 - share) + np.asarray(target) * share
    return (mixed * rng.uniform(0.94, 1.06, 3)).astype(np.float32)


def _places(number: str, arrangement: str, zoom: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """Centres of the lesions as shares of the side."""
    low, high = _COUNTS[number]
    count = int(rng.integers(low, high + 1))
    if count == 1:
        x, y = rng.uniform(0.38, 0.62, 2)
        return [(float(x), float(y))]
    radius = _RADIUS[number][1] * zoom
    if arrangement == "linear":
        angle = rng.uniform(0, math.pi)
        reach = 0.42 * zoom
        steps = np.linspace(-reach, reach, count)
        across, down = math.cos(angle), math.sin(angle)
        return [(0.5 + s * across + rng.normal(0, 0.015), 0.5 + s * down + rng.normal(0, 0.015)) for s in steps]
    if arrangement == "grouped":
        middle = rng.uniform(0.36, 0.64, 2)
        reach, apart = radius * (1.0 + 0.75 * math.sqrt(count)), 1.25 * radius
    else:
        middle, reach, apart = np.array([0.5, 0.5]), 0.46, 0.88 / math.sqrt(count) * (0.7 + 0.3 * zoom)
    places: list[tuple[float, float]] = []
    for _ in range(60 * count):
        x, y = middle + rng.uniform(-reach, reach, 2)
        if 0.04 < x < 0.96 and 0.04 < y < 0.96 and all(math.hypot(x - a, y - b) >= apart for a, b in places):
            places.append((float(x), float(y)))
            if len(places) == count:
                break
        apart *= 0.996
    return places


def _lesion(
    canvas: np.ndarray,
    words: dict[str, str],
    paint: np.ndarray,
    centre: tuple[float, float],
    radius: float,
    contrast: float,
    rng: np.random.Generator,
) -> None:
    """Blend one lesion into the canvas, within its own window."""
    size = canvas.shape[0]
    reach = radius * 1.6 + 3
    x0, x1 = max(int(centre[0] - reach), 0), min(int(centre[0] + reach) + 1, size)
    y0, y1 = max(int(centre[1] - reach), 0), min(int(centre[1] + reach) + 1, size)
    if x0 >= x1 or y0 >= y1:
        return
    dx, dy = np.meshgrid(np.arange(x0, x1) - centre[0], np.arange(y0, y1) - centre[1])
    rough = {"sharp": 0.04, "blurred": 0.06, "irregular": 0.24}[words["border"]]
    angle = np.arctan2(dy, dx)
    edge = np.ones_like(angle)
    for wave in (2, 3, 5, 7) if rough > 0.1 else (2, 3):
        edge += rough * rng.normal() / wave**0.5 * np.cos(wave * angle + rng.uniform(0, 6.28))
    # Distance from the centre in units of the lesion's own outline: 1 is the border.
    away = np.hypot(dx, dy) / (radius * np.clip(edge, 0.45, 1.6))
    soft = {"sharp": 0.8 / radius, "irregular": 0.8 / radius, "blurred": 0.16}[words["border"]]
    inside = 1.0 / (1.0 + np.exp(np.clip((away - 1.0) / soft, -30, 30)))
    colour, mask = _primary(words["primary_lesion"], paint, away, inside, dx / radius, dy / radius)
    colour = _surface(words["scale"], colour, rng)
    mask = (mask * contrast)[..., None]
    window = canvas[y0:y1, x0:x1]
    window += mask * (colour - window)


def _primary(
    shape: str, paint: np.ndarray, away: np.ndarray, inside: np.ndarray, dx: np.ndarray, dy: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Colour (h, w, 3) and opacity (h, w) of the primary lesion."""
    colour = np.broadcast_to(paint, (*away.shape, 3)).copy()
    mask = inside * 0.95
    tilt = dx + dy
    if shape == "plaque":
        # A raised edge: lit from the upper left, in shade at the lower right.
        colour *= (1.0 - 0.20 * tilt * (away > 0.6))[..., None]
    elif shape in ("papule", "nodule"):
        dome = np.sqrt(np.clip(1.0 - away**2, 0, 1))
        depth = 0.30 if shape == "papule" else 0.42
        colour *= (0.80 + depth * dome - 0.18 * tilt)[..., None]
        glint = np.exp(-((dx + 0.35) ** 2 + (dy + 0.35) ** 2) / 0.03) * (1.0 if shape == "nodule" else 0.5)
        colour += (glint * 70)[..., None]
    elif shape == "ring":
        hollow = 1.0 / (1.0 + np.exp(np.clip((0.62 - away) / 0.06, -30, 30)))
        mask = inside * (0.15 + 0.80 * hollow)
    elif shape == "vesicle":
        fluid = np.clip(1.0 - away / 0.8, 0, 1)[..., None] > 0.12
        colour = np.where(fluid, 0.45 * colour + 0.55 * np.array([235.0, 225.0, 205.0]), colour)
        colour += (np.exp(-((dx + 0.3) ** 2 + (dy + 0.3) ** 2) / 0.05) * 60)[..., None]
    elif shape == "pustule":
        head = (away < 0.5)[..., None]
        colour = np.where(head, np.array([246.0, 232.0, 160.0]), colour)
    elif shape == "ulcer":
        crater = (away < 0.55)[..., None]
        colour = np.where(crater, 0.35 * colour + np.array([60.0, 12.0, 12.0]), colour * 1.05)
    return colour, mask


def _surface(scale: str, colour: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Scale, crust or roughness on the lesion. The grain is in pixels, so that it stays visible on small lesions."""
    if scale == "smooth":
        return colour
    shape = colour.shape[:2]
    if scale == "silvery scale":
        flakes = _grain(shape, 3, rng) > 0.35
        return np.where(flakes[..., None], 0.2 * colour + 0.8 * np.array([238.0, 236.0, 236.0]), colour)
    if scale == "fine scale":
        flakes = rng.random(shape) > 0.80
        return np.where(flakes[..., None], 0.45 * colour + 0.55 * np.array([240.0, 232.0, 226.0]), colour)
    if scale == "crust":
        crust = _grain(shape, 4, rng) > 0.45
        return np.where(crust[..., None], 0.25 * colour + 0.75 * np.array([176.0, 120.0, 36.0]), colour)
    pits = _grain(shape, 2, rng) > 0.45
    return np.where(pits[..., None], colour * 0.55, colour * 1.08)


def _grain(shape: tuple[int, int], cell: int, rng: np.random.Generator) -> np.ndarray:
    """Blotches of `cell` pixels with values spread evenly over 0 to 1."""
    small = rng.random((shape[0] // cell + 1, shape[1] // cell + 1))
    return np.kron(small, np.ones((cell, cell)))[: shape[0], : shape[1]]


def _hairs(image: Image.Image, count: int, tone: int, rng: np.random.Generator) -> None:
    pen = ImageDraw.Draw(image)
    dark = tuple(int(value * rng.uniform(0.2, 0.5)) for value in TONES[tone])
    for _ in range(count):
        x, y = rng.uniform(0, image.width, 2)
        angle, length = rng.uniform(0, 6.28), rng.uniform(0.2, 0.5) * image.width
        bend = rng.normal(0, 0.1) * image.width
        middle = (x + 0.5 * length * math.cos(angle) + bend, y + 0.5 * length * math.sin(angle))
        pen.line([(x, y), middle, (x + length * math.cos(angle), y + length * math.sin(angle))], fill=dark, width=1)


def _photograph(pixels: np.ndarray, scene: Scene, rng: np.random.Generator) -> Image.Image:
    """Uneven light, a colour cast of the lamp, sensor noise."""
    size = pixels.shape[0]
    steps = np.linspace(-1, 1, size, dtype=np.float32)
    angle = rng.uniform(0, 6.28)
    slope = scene.light * rng.uniform(0, 1)
    light = 1.0 + slope * 0.7 * (math.cos(angle) * steps[None, :] + math.sin(angle) * steps[:, None])
    light = light * (1.0 + scene.light * rng.uniform(-0.6, 0.4))
    cast = 1.0 + rng.normal(0, scene.cast, 3).astype(np.float32)
    noise = rng.standard_normal(pixels.shape, dtype=np.float32) * rng.uniform(*scene.noise)
    return Image.fromarray(np.clip(pixels * light[..., None] * cast + noise, 0, 255).astype(np.uint8))
