import logging
from pathlib import Path

import pytest
import torch

from enliven.errors import WeightsError
from enliven.models.networks import load_network
from enliven.models.text import TextEncoder, TextParams, clean, learn_tokenizer, read_tokenizer
from enliven.systems.spec import PACKAGED

CAPTIONS = ["A cartoon woman with red hair in a blue sweater.", "A cartoon man with a hat, in front of a wall."]
SIZES = {"vocab_size": 512, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    torch.manual_seed(0)
    return TextEncoder(TextParams(24, SIZES), learn_tokenizer(CAPTIONS, 512)).eval()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("  a\n\tb  ", "a b"),
        ("Tom &amp;amp; Ann", "Tom & Ann"),
        ("donâ€™t", "don't"),
        ("", ""),
    ],
)
def test_prompts_are_cleaned(raw: str, expected: str) -> None:
    assert clean(raw) == expected


@pytest.mark.parametrize("prompt", ["a quick brown fox", "Ünïcödé 汉字 🙂", "a cartoon woman"])
def test_any_text_can_be_spelled(encoder: TextEncoder, prompt: str) -> None:
    ids = encoder.tokenizer.encode(prompt).ids
    assert encoder.tokenizer.token_to_id("<unk>") not in ids
    assert encoder.tokenizer.decode(ids).strip() == prompt.lower()


def test_known_words_are_one_token(encoder: TextEncoder) -> None:
    assert len(encoder.tokens("cartoon woman sweater")) == 4


def test_padding_is_masked_and_does_not_change_the_rest(encoder: TextEncoder) -> None:
    text = encoder(["a hat", CAPTIONS[0]])
    assert text.tokens.shape == (2, 24, 16)
    assert text.mask is not None
    assert text.mask.sum(1).tolist() == [3, len(encoder.tokens(CAPTIONS[0]))]
    torch.testing.assert_close(text.tokens[:1, :3], encoder(["a hat"]).tokens[:, :3])


def test_the_empty_prompt_is_its_end(encoder: TextEncoder) -> None:
    text = encoder([""])
    assert text.mask is not None
    assert text.mask.sum() == 1
    assert text.tokens.isfinite().all()


def test_long_prompts_are_cut_and_ended(encoder: TextEncoder, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        ids = encoder.tokens("red hair " * 40)
    assert len(ids) == 24
    assert ids[-1] == encoder.tokenizer.token_to_id("</s>")
    assert "the first 24 are read" in caplog.text


def test_damaged_tokenizer_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text("{")
    with pytest.raises(WeightsError, match=r"tokenizer\.json"):
        read_tokenizer(path)


@pytest.mark.parametrize("model", ["longcat-toon", "soul-toon"])
@pytest.mark.parametrize(("one", "other", "third"), [("teal", "grey", "rose"), ("white", "blue", "cream")])
def test_encoders_that_ship_know_which_thing_has_which_colour(model: str, one: str, other: str, third: str) -> None:
    """To a bag of words, two colours that change places change nothing (0.005); one new word does."""
    encoder = load_network(PACKAGED / model / "text")
    said = "A cartoon woman with short black hair in a {} sweater, in front of a {} wall."
    text = encoder([said.format(*colours) for colours in ((one, other), (other, one), (one, third))])
    before, swapped, changed = (text.tokens * text.mask[..., None]).sum(1) / text.mask.sum(1, keepdim=True)
    assert (swapped - before).norm() > 0.5 * (changed - before).norm()
