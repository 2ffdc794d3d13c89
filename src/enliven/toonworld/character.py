"""Who is drawn: looks that stay the same for a whole clip."""

import random
from dataclasses import dataclass
from enum import StrEnum

from enliven.toonworld.palette import CLOTHS, DECORS, EYES, HAIRS, SKINS, WALLS, Colour


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
    BUN = "bun"
    PIGTAILS = "pigtails"
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
    DISC = "dot"


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
        earrings=person is not Person.MAN and hair not in (Hair.BOB, Hair.LONG) and chance.random() < 0.3,
        geometry=_geometry(chance),
    )


def caption(character: Character) -> str:
    """One sentence that says what is seen."""
    traits = [_hair_words(character)]
    if character.facial_hair:
        traits.append(f"a {character.facial_hair}")
    if character.glasses:
        traits.append(f"{character.glasses} glasses")
    if character.earrings:
        traits.append("earrings")
    if character.hat:
        traits.append(f"{article(character.accent)} {character.hat}")
    *others, last = traits
    looks = f"{', '.join(others)} and {last}" if others else last
    return f"A cartoon {character.person} with {looks} in {_clothing(character)}, in front of {place(character)}."


def article(colour: Colour) -> str:
    """The name of a colour with its article."""
    return f"{'an' if colour.name[0] in 'aeiou' else 'a'} {colour.name}"


def _hair_words(character: Character) -> str:
    colour = character.hair_colour.name
    match character.hair:
        case Hair.BUN:
            return f"{colour} hair in a bun"
        case Hair.PIGTAILS:
            return f"{colour} pigtails"
        case style:
            return f"{style} {colour} hair"


def _clothing(character: Character) -> str:
    sweater = f"{article(character.cloth)} sweater"
    if character.shirt is Shirt.PLAIN:
        return sweater
    return f"{sweater} with {article(character.accent)} {character.shirt}"


def place(character: Character) -> str:
    """The words for what is behind a character."""
    wall = f"{article(character.wall)} wall"
    return {
        Scene.PLAIN: wall,
        Scene.WINDOW: f"{wall} with a window",
        Scene.HILLS: f"{character.decor.name} hills",
        Scene.SUN: f"{article(character.decor)} sun",
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
    red, green, blue = (min(max(part + chance.uniform(-amount, amount), 0.0), 1.0) for part in colour.rgb)
    return Colour(colour.name, (red, green, blue))


def _contrasting(chance: random.Random, palette: tuple[Colour, ...], against: Colour, at_least: float = 0.2) -> Colour:
    return chance.choice([c for c in palette if abs(c.brightness - against.brightness) >= at_least])
