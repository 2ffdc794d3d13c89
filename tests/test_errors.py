"""The error tree as its module draws it."""

import re

from enliven import errors
from enliven.errors import EnlivenError


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = dict(re.findall(r"──\s(\w+)\s.*exit (\d+)", errors.__doc__ or ""))
    classes = {kind.__name__: str(kind.exit_code) for kind in EnlivenError.__subclasses__()}
    assert drawn == classes


def test_an_error_carries_its_message_and_what_to_do() -> None:
    error = errors.RequestError("0 seconds were asked for", hint="ask for more than 0")
    assert (str(error), error.hint) == ("0 seconds were asked for", "ask for more than 0")
    assert EnlivenError("lost").hint == ""
