"""Who is drawn: looks that stay the same for a whole clip."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

Option = TypeVar("Option")


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


class Person(StrEnum):
    """Who the caption speaks of."""

    WOMAN = "woman"
    MAN = "man"
    PERSON = "person"


class Hair(StrEnum):
    """Hair styles; the words stand in captions."""

    SHORT = "short"
    QUIFF = "swept-up"
    BOB = "chin-length"
    LONG = "long"
    CURLY = "curly"
    BUN = "tied-up"
    PIGTAILS = "pigtail"
    WAVY = "wavy"


class EyeShape(StrEnum):
    """How the eyes are cut."""

    ROUND = "round"
    ALMOND = "almond"
    WIDE = "wide"


class Shirt(StrEnum):
    """What the shirt shows."""

    PLAIN = "plain"
    COLLAR = "collar"
    STRIPE = "stripe"
    STAR = "star"
    HEART = "heart"
    DISC = "disc"


class Scene(StrEnum):
    """What is behind the person."""

    PLAIN = "plain"
    WINDOW = "window"
    HILLS = "hills"
    SUN = "sun"
    SHELF = "shelf"
    PLANT = "plant"
    LAMP = "lamp"


class Hat(StrEnum):
    """Headwear."""

    NONE = ""
    BEANIE = "beanie"
    CAP = "cap"


class Glasses(StrEnum):
    """Frames before the eyes."""

    NONE = ""
    ROUND = "round"
    SQUARE = "square"


class FacialHair(StrEnum):
    """Hair around the mouth."""

    NONE = ""
    BEARD = "beard"
    MOUSTACHE = "moustache"
    GOATEE = "goatee"


@dataclass(frozen=True, slots=True)
class Geometry:
    """Proportions of a face, in half head heights; ``framing`` is half the head height in frame heights."""

    framing: float
    head_width: float
    jaw: float
    eye_distance: float
    eye_height: float
    eye_size: float
    brow_height: float
    brow_weight: float
    nose_size: float
    mouth_height: float
    mouth_width: float
    lip: float
    hair_part: float
    shoulders: float


@dataclass(frozen=True, slots=True)
class Character:
    """One drawn person and the place behind them."""

    person: Person
    skin: Colour
    hair: Hair
    hair_colour: Colour
    eye_shape: EyeShape
    eye_colour: Colour
    shirt: Shirt
    cloth: Colour
    accent: Colour
    scene: Scene
    wall: Colour
    decor: Colour
    hat: Hat
    glasses: Glasses
    facial_hair: FacialHair
    earrings: bool
    geometry: Geometry


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


def sample_character(seed: int) -> Character:
    """Draw a person by chance; the same seed gives the same person."""
    chance = random.Random(seed)
    person = chance.choice(list(Person))
    hat = chance.choice(list(Hat)[1:]) if chance.random() < 0.16 else Hat.NONE
    skin = _vary(chance, chance.choice(SKINS))
    hair = _hair(chance, person)
    dark = skin.brightness < 0.5
    hair_colours = HAIRS[:2] * 4 + HAIRS if dark else HAIRS[:6] * 3 + HAIRS[6:]
    cloth = _vary(chance, chance.choice(CLOTHS))
    accent = _contrasting(chance, CLOTHS, cloth)
    wall = _vary(chance, _contrasting(chance, WALLS, skin, at_least=0.08))
    return Character(
        person=person,
        skin=skin,
        hair=hair,
        hair_colour=_vary(chance, _contrasting(chance, hair_colours, skin, at_least=0.08)),
        eye_shape=chance.choice(list(EyeShape)),
        eye_colour=chance.choice(EYES[:1] * 4 + EYES if dark else EYES),
        shirt=chance.choice(list(Shirt)),
        cloth=cloth,
        accent=accent,
        scene=chance.choice(list(Scene)),
        wall=wall,
        decor=chance.choice(DECORS),
        hat=hat,
        glasses=chance.choice(list(Glasses)[1:]) if chance.random() < 0.25 else Glasses.NONE,
        facial_hair=_facial_hair(chance, person),
        earrings=person is not Person.MAN and hair is not Hair.BOB and chance.random() < 0.3,
        geometry=_geometry(chance),
    )


def caption(character: Character) -> str:
    """One sentence that says what is seen."""
    extras = [f"{character.hair} {character.hair_colour.name} hair"]
    if character.facial_hair:
        extras.append(f"a {character.facial_hair}")
    if character.glasses:
        extras.append(f"{character.glasses} glasses")
    if character.earrings:
        extras.append("earrings")
    if character.hat:
        extras.append(f"a {character.accent.name} {character.hat}")
    traits = " and ".join([", ".join(extras[:-1]), extras[-1]] if len(extras) > 1 else extras)
    return (
        f"A cartoon {character.person} with {traits} in a {_clothing(character)}, "
        f"in front of {_place(character)}."
    )


def _clothing(character: Character) -> str:
    if character.shirt is Shirt.PLAIN:
        return f"{character.cloth.name} sweater"
    return f"{character.cloth.name} sweater with a {character.accent.name} {character.shirt}"


def _place(character: Character) -> str:
    wall = f"a {character.wall.name} wall"
    return {
        Scene.PLAIN: wall,
        Scene.WINDOW: f"{wall} with a window",
        Scene.HILLS: f"{character.decor.name} hills",
        Scene.SUN: f"a {character.decor.name} sun",
        Scene.SHELF: f"{wall} with a shelf",
        Scene.PLANT: f"{wall} with a plant",
        Scene.LAMP: f"{wall} with a lamp",
    }[character.scene]


def _hair(chance: random.Random, person: Person) -> Hair:
    styles = {
        Person.WOMAN: (Hair.BOB, Hair.LONG, Hair.CURLY, Hair.BUN, Hair.PIGTAILS, Hair.WAVY),
        Person.MAN: (Hair.SHORT, Hair.SHORT, Hair.QUIFF, Hair.CURLY, Hair.WAVY),
        Person.PERSON: (Hair.SHORT, Hair.QUIFF, Hair.BOB, Hair.CURLY, Hair.WAVY, Hair.BUN),
    }
    return chance.choice(styles[person])


def _facial_hair(chance: random.Random, person: Person) -> FacialHair:
    if person is Person.MAN and chance.random() < 0.5:
        return chance.choice(list(FacialHair)[1:])
    return FacialHair.NONE


def _geometry(chance: random.Random) -> Geometry:
    return Geometry(
        framing=chance.choice((0.262, 0.28, 0.298)),
        head_width=chance.uniform(0.8, 0.9),
        jaw=chance.uniform(-0.02, 0.12),
        eye_distance=chance.uniform(0.34, 0.39),
        eye_height=chance.uniform(-0.06, 0.02),
        eye_size=chance.uniform(0.145, 0.18),
        brow_height=chance.uniform(0.27, 0.32),
        brow_weight=chance.uniform(0.032, 0.052),
        nose_size=chance.uniform(0.8, 1.2),
        mouth_height=chance.uniform(0.5, 0.56),
        mouth_width=chance.uniform(0.27, 0.32),
        lip=chance.uniform(0.7, 1.15),
        hair_part=chance.uniform(-0.35, 0.35),
        shoulders=chance.uniform(1.15, 1.35),
    )


def _vary(chance: random.Random, colour: Colour, amount: float = 0.02) -> Colour:
    red, green, blue = (min(max(part + chance.uniform(-amount, amount), 0), 1) for part in colour.rgb)
    return Colour(colour.name, (red, green, blue))


def _contrasting(
    chance: random.Random, palette: tuple[Colour, ...], against: Colour, at_least: float = 0.2
) -> Colour:
    return chance.choice([c for c in palette if abs(c.brightness - against.brightness) >= at_least])
