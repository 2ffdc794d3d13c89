"""What training costs, measured on the smallest networks."""

import torch

from enliven.bench.training import _alternately, _flops, _tokens, clip_batch, overhead, shorter
from enliven.systems.footprint import example_pass
from tiny import tiny_soul, tiny_spec


def test_the_trainer_is_compared_with_forward_and_backward() -> None:
    part = overhead(tiny_spec(), batch=2, laps=1)
    bare, step, share, tokens = (check.value for check in part.checks)
    assert share == 100 * bare / step
    assert tokens == 2 * _tokens(tiny_spec(), example_pass(tiny_spec())) / step


def test_a_batch_is_many_clips_of_one_kind() -> None:
    given = example_pass(tiny_spec())
    batch = clip_batch(given, 3)
    assert batch["clip"].latents.shape == (3, *given.latents.shape[1:])
    assert not torch.equal(batch["clip"].latents[0], batch["clip"].latents[1])
    assert batch["cond"].audio.shape[0] == batch["cond"].text.tokens.shape[0] == 3
    assert batch["given"].shape[2] == given.layout.clean


def test_every_block_costs_the_same() -> None:
    for spec in (tiny_spec(), tiny_soul()):
        one, two, three = (_flops(spec, shorter(spec, blocks)) for blocks in (1, 2, 3))
        assert 0 < two - one < one
        assert three - two == two - one


def test_both_are_timed_as_often() -> None:
    done: list[str] = []
    _alternately(lambda: done.append("a"), lambda: done.append("b"), 3)
    assert done == ["a", "b"] * 4
