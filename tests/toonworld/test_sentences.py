"""Tests of the sentence generator."""

from random import Random

import pytest

from enliven.toonworld.sentences import languages, sentence, split_of, voices


@pytest.mark.parametrize("language", languages())
def test_training_and_test_sentences_are_disjoint(language: str) -> None:
    random = Random(0)
    train = {sentence(language, random, "train") for _ in range(300)}
    test = {sentence(language, random, "test") for _ in range(100)}
    assert len(train) > 250
    assert not train & test
    assert {split_of(text) for text in test} == {"test"}


def test_sentences_are_complete() -> None:
    for language in languages():
        assert voices(language)
        text = " ".join(sentence(language, Random(seed), "train") for seed in range(100))
        assert "{" not in text
        assert "  " not in text


def test_a_seed_gives_the_same_sentence() -> None:
    assert sentence("polish", Random(5), "train") == sentence("polish", Random(5), "train")
