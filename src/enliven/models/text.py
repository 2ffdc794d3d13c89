"""Prompts as the backbone reads them: a UMT5 encoder and its tokenizer."""

import html
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ftfy
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from enliven.errors import WeightsError
from enliven.types import Text

logger = logging.getLogger(__name__)

PADDING, END, UNKNOWN = "<pad>", "</s>", "<unk>"


@dataclass(frozen=True, slots=True)
class TextParams:
    """The text encoder: ``length`` tokens a prompt, and what differs from the default ``UMT5Config``."""

    length: int = 512
    config: Mapping[str, Any] = field(default_factory=dict)


class TextEncoder(nn.Module):
    """A UMT5 encoder whose last hidden states are the text. The prompt is cleaned, ended, padded and cut."""

    def __init__(self, params: TextParams, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.params = params
        self.tokenizer = tokenizer
        self.network = UMT5EncoderModel(UMT5Config(**params.config))

    @torch.no_grad()
    def forward(self, prompts: Sequence[str]) -> Text:
        """Encode prompts. Of a prompt that is too long the beginning is read, and that is logged."""
        rows = [self.tokens(clean(prompt)) for prompt in prompts]
        device = self.network.get_input_embeddings().weight.device
        padding = self.network.config.pad_token_id
        length = self.params.length
        ids = torch.tensor([row + [padding] * (length - len(row)) for row in rows], device=device)
        mask = torch.arange(length, device=device) < torch.tensor([[len(row)] for row in rows], device=device)
        states = self.network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return Text(states, mask)

    def tokens(self, prompt: str) -> list[int]:
        """The token numbers of a clean prompt, the last of which ends it."""
        ids: list[int] = self.tokenizer.encode(prompt).ids
        if len(ids) <= self.params.length:
            return ids
        logger.warning("the prompt has %d tokens; the first %d are read", len(ids), self.params.length)
        return [*ids[: self.params.length - 1], ids[-1]]


def clean(prompt: str) -> str:
    """A prompt with broken characters mended, HTML entities resolved and white space reduced to single spaces."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(prompt))).split())


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a ``tokenizer.json``, without padding or truncation of its own. Raises WeightsError."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise WeightsError(f"cannot read a tokenizer from {path}: {error}", hint="fetch it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def learn_tokenizer(texts: Iterable[str], size: int = 1024) -> Tokenizer:
    """A tokenizer whose frequent words are one token and which can spell anything in bytes; case is ignored."""
    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PADDING, END, UNKNOWN], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, 1)])
    return tokenizer
