"""Captions are encoded once, and read without the encoder."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from enliven.data.order import Process
from enliven.errors import ConfigError
from enliven.models.networks import find_parts, save_network, save_networks
from enliven.models.text import TextEncoder
from enliven.train.texts import TextStore, encode_texts, encoder_name
from enliven.types import Text
from tiny import tiny_networks

CAPTIONS = ["a man with a hat", "a hat", "nobody at all, really nobody at all, nobody, and nobody else anywhere here"]


def test_what_is_read_is_what_the_encoder_says(tmp_path: Path) -> None:
    encoder: TextEncoder = tiny_networks().text
    assert encode_texts(CAPTIONS, lambda: encoder, tmp_path) == 4  # and the empty one
    store = TextStore(tmp_path, encoder.params.length)
    for caption in ["", *CAPTIONS]:
        got, want = store([caption]), encoder([caption])
        assert got.mask is not None
        assert want.mask is not None
        assert torch.equal(got.mask, want.mask)
        torch.testing.assert_close(got.tokens, want.tokens * want.mask[..., None], atol=1e-5, rtol=1e-4)
    assert store(CAPTIONS).tokens.shape == (3, 12, 16)


def test_only_what_is_missing_is_encoded(tmp_path: Path) -> None:
    asked: list[str] = []
    encoder = tiny_networks().text

    def listen(captions: Sequence[str]) -> Text:
        asked.extend(captions)
        return encoder(captions)

    encode_texts(CAPTIONS[:2], lambda: listen, tmp_path)
    encode_texts(CAPTIONS, lambda: listen, tmp_path)
    assert sorted(asked) == sorted(["", *CAPTIONS])

    def refuse() -> TextEncoder:
        raise AssertionError("the encoder is not needed")

    assert encode_texts(CAPTIONS, refuse, tmp_path) == 0
    with pytest.raises(ConfigError, match="not in"):
        TextStore(tmp_path, 12)(["a woman"])


def test_processes_share_the_captions(tmp_path: Path) -> None:
    encoder = tiny_networks().text
    counts = [encode_texts(CAPTIONS, lambda: encoder, tmp_path, process=Process(rank, 2)) for rank in range(2)]
    assert counts == [2, 2]
    assert TextStore(tmp_path, 12)(["", *CAPTIONS]).tokens.shape[0] == 4


def test_another_encoder_has_another_name(tmp_path: Path) -> None:
    save_networks(tiny_networks(), tmp_path, torch.float32)
    name = encoder_name(find_parts(tmp_path)["text"])
    assert name == encoder_name(find_parts(tmp_path)["text"])
    save_network(tiny_networks().text, tmp_path / "text", torch.float16)
    assert encoder_name(find_parts(tmp_path)["text"]) != name
