"""The colours of the toon world and their names."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Colour:
    """A named colour; red, green and blue in 0..1."""

    name: str
    rgb: tuple[float, float, float]

    def towards(self, other: "Colour", share: float) -> "Colour":
        """This colour with ``share`` (0..1) of another mixed in."""
        red, green, blue = (mine + share * (its - mine) for mine, its in zip(self.rgb, other.rgb, strict=True))
        return Colour(self.name, (red, green, blue))

    @property
    def brightness(self) -> float:
        """Perceived lightness in 0..1."""
        red, green, blue = self.rgb
        return 0.3 * red + 0.59 * green + 0.11 * blue


def _colours(table: Mapping[str, str]) -> tuple[Colour, ...]:
    return tuple(Colour(name, _parse(code)) for name, code in table.items())


def _parse(code: str) -> tuple[float, float, float]:
    red, green, blue = (int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))
    return red, green, blue


SKINS = tuple(
    Colour("skin", _parse(code)) for code in ("ffdcc2", "f8c9a4", "eab184", "d39a6a", "b57a4e", "8f5b3a", "6f452d")
)
HAIRS = _colours(
    {
        "black": "2b2530",
        "dark brown": "4a2f26",
        "brown": "7a4a2c",
        "red": "b8432a",
        "blond": "e5b755",
        "grey": "a9a8b3",
        "pink": "e07a9d",
        "blue": "4a6fc4",
    }
)
EYES = _colours({"brown": "5b3a24", "green": "3f7f52", "blue": "3572b0", "grey": "5d6c7c"})
CLOTHS = _colours(
    {
        "red": "d1495b",
        "orange": "e8853d",
        "yellow": "f0be4d",
        "green": "3f9168",
        "teal": "2b8a98",
        "blue": "3d68b8",
        "navy": "2e3d66",
        "purple": "7d559f",
        "pink": "e58aa5",
        "white": "f3efe6",
        "black": "35363f",
    }
)
WALLS = _colours(
    {
        "light blue": "bfe0ee",
        "cream": "f5e8cc",
        "mint": "c6e6d2",
        "lilac": "d8cfee",
        "peach": "fad7c0",
        "grey": "cfd5dc",
        "rose": "f3cbd3",
        "teal": "8cc5c6",
    }
)
DECORS = _colours({"white": "fdf9f0", "green": "86c08a", "yellow": "f6d06f", "blue": "8fb7de", "orange": "eeaa78"})
WHITE = Colour("white", (1.0, 1.0, 1.0))
INK = Colour("black", (0.16, 0.11, 0.14))
BLUSH = Colour("red", (0.92, 0.33, 0.33))
