"""``enliven train``: a toon model by a recipe, a backbone from shards, or an efficient decoder from films."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

if TYPE_CHECKING:
    from enliven.train.recipe import BackboneRecipe


def train(
    recipe: Path,
    /,
    *,
    stages: Annotated[tuple[str, ...], Parameter("--stage", show_default=False)] = (),
    settings: Annotated[tuple[str, ...], Parameter("--set", show_default=False)] = (),
) -> None:
    """Train a model by a recipe, or only some of its stages; a stopped stage goes on where it was.

    Several processes share a backbone whose recipe has as many parts of a step:
    torchrun --nproc-per-node 2 -m enliven train recipe.toml --set backbone.parts=2

    Args:
        recipe: A TOML file such as examples/toon.toml; with kind = "backbone" such as examples/longcat-avatar.toml,
            which learns from shards that enliven encode has made; with kind = "decoder" such as
            examples/soul-evae.toml, which learns from films.
        stages: A stage to run: speech, hearing, reading, drawing, autoencoder, encoding, backbone, lora; of a backbone
            texts, backbone; of a decoder none. Repeatable.
        settings: NAME=VALUE for anything in the recipe, for example backbone.minutes=10.

    """
    from enliven import config

    values = config.override(config.read(recipe), settings)
    if values.get("kind") == "backbone":
        _train_backbone(values, stages)
    elif values.get("kind") == "decoder":
        _train_decoder(values, stages)
    else:
        _train_toon(values, stages)


def _train_toon(values: dict[str, Any], stages: tuple[str, ...]) -> None:
    from enliven import config
    from enliven.commands.progress import listener
    from enliven.train.toon import ToonRecipe, train_toon

    whole = config.parse(ToonRecipe, values)
    with listener() as tell:
        train_toon(whole, stages, tell)


def _train_backbone(values: dict[str, Any], stages: tuple[str, ...]) -> None:
    from enliven import config
    from enliven.commands.console import say
    from enliven.commands.progress import listener
    from enliven.train.recipe import BackboneRecipe, train_recipe

    whole = config.parse(BackboneRecipe, values)
    with listener() as tell:
        result = train_recipe(whole, stages, tell)
    if not stages or "backbone" in stages:
        say(f"{result}: for enliven generate {' '.join(flags(whole))}")


def _train_decoder(values: dict[str, Any], stages: tuple[str, ...]) -> None:
    from enliven import config
    from enliven.commands.console import say
    from enliven.commands.progress import listener
    from enliven.errors import RequestError
    from enliven.train.decoder import DecoderRecipe, train_decoder

    if stages:
        raise RequestError(f"there is no stage {stages[0]!r}", hint="a decoder learns in one; leave --stage out")
    whole = config.parse(DecoderRecipe, values)
    with listener() as tell:
        result = train_decoder(whole, tell)
    say(f"{result}: for enliven generate --weights {result} --decoder efficient")


def flags(recipe: "BackboneRecipe") -> list[str]:
    """What opens the result of a recipe: a LoRA needs the model that it has learnt beside."""
    from enliven.systems import choose_model

    if not recipe.lora.rank:
        return ["--weights", str(recipe.result)]
    return ["--model", choose_model(recipe.model, recipe.weights).name, "--lora", str(recipe.result)]
