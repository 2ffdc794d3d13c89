"""The command line: which commands there are, and how an error becomes one sentence and an exit code."""

import logging
import os
import shlex
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.text import Text

from enliven.errors import EnlivenError
from enliven.runtime.launch import failing, leads

INTERRUPTED = 130
BAD_INPUT = 2

app = App(
    name="enliven",
    help="A portrait, speech and a sentence go in; a talking video of any length comes out.",
    suppress_keyboard_interrupt=False,
    default_parameter=Parameter(negative=()),
)
app.command("enliven.commands.generate:generate", help="Make a video from a portrait, speech and a prompt.")
app.command("enliven.commands.refine:refine", help="Make a finished video anew in 720p.")
app.command("enliven.commands.generate:resume", help="Go on with an interrupted run at its next clip.")
app.command("enliven.commands.batch:batch", help="Make many videos with one loading of the model.")
app.command(
    "enliven.commands.demo:demo", help="Make a short video from a portrait and speech that are drawn and shipped."
)
app.command("enliven.commands.models:models", help="List the models and what they need.")
app.command("enliven.commands.doctor:doctor", help="Say what this machine can run, and what it lacks.")
app.command("enliven.commands.encode:encode", help="Encode videos, or the drawn world, into shards to train on.")
app.command("enliven.commands.failures:failures", help="Make negative examples to train on, by a model itself.")
app.command("enliven.commands.train:train", help="Train a model, or a decoder, by a recipe.")
app.command("enliven.commands.distill:distill", help="Make a model quick: a student in few steps without guidance.")

toon = App(name="toon", help="The drawn world: portraits, clips and data whose truth is known.")
toon.command("enliven.commands.toon:portrait", help="Draw the portrait of a character.")
toon.command("enliven.commands.toon:clip", help="Draw a character saying a sentence, with sound and truth.")
toon.command("enliven.commands.toon:dataset", help="Draw many clips for training.")
toon.command("enliven.commands.toon:judge", help="Score a video of a drawn character.")
app.command(toon)

codebook = App(name="codebook", help="Soul's codebook: where real latents lie, so that long videos stay there.")
codebook.command("enliven.commands.codebook:fit", help="Learn a codebook from a folder of encoded clips.")
codebook.command("enliven.commands.codebook:show", help="Say what a codebook is, and draw it.")
app.command(codebook)


def main() -> None:
    """Run the command line of this process and exit with its code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin starve each other on a busy laptop
    level = logging.WARNING if leads() else logging.ERROR
    logging.basicConfig(level=level, format="%(levelname)s %(name)s: %(message)s")
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run ``arguments`` and return the exit code; an error a caller can mend is told on standard error."""
    try:
        app(list(arguments), exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        chain = error.command_chain or ()
        listed = "options" if error.target else "commands"
        tell(str(error), f"{shlex.join(['enliven', *chain, '--help'])} lists the {listed}")
        return BAD_INPUT
    except EnlivenError as error:
        tell(str(error), error.hint)
        return error.exit_code
    except KeyboardInterrupt:
        tell("stopped", "")
        return INTERRUPTED
    return 0


def tell(message: str, hint: str) -> None:
    """Say what went wrong, and below it what to do about it; of several processes, the first that fails does."""
    with failing() as first:
        console = Console(stderr=True, soft_wrap=True, highlight=False, quiet=not first)
        console.print(Text.assemble(("error: ", "bold red"), message))
        if hint:
            console.print(Text.assemble(("hint: ", "bold"), hint))
