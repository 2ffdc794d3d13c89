"""The kernels by name, and the leaves against a dense mask."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from enliven.errors import ConfigError, MissingExtra
from enliven.runtime import attention
from enliven.runtime.attention import (
    CrossAttend,
    SelfAttend,
    kernel_names,
    load_kernel,
    use_kernel,
    why_not,
)
from enliven.runtime.kernel_plain import Kernel, sdpa
from enliven.types import AttentionRule

LAYOUTS = {
    "full": [AttentionRule(range(5), (range(5),))],
    "continuation": [
        AttentionRule(range(1), (range(1),)),
        AttentionRule(range(1, 2), (range(1, 2),)),
        AttentionRule(range(2, 4), (range(1, 5),)),
        AttentionRule(range(4, 5), (range(5),)),
    ],
    "gaps": [AttentionRule(range(3), (range(1), range(3, 5))), AttentionRule(range(3, 5), (range(2, 3), range(1)))],
    "soft": [AttentionRule(range(5), (range(1), range(1, 3), range(4, 5)), (math.log(0.3), 0.0, 1.5))],
}


def dense_bias(rules: list[AttentionRule], tokens: int) -> Tensor:
    bias = torch.full((5, 5), -math.inf)
    for rule in rules:
        for index, keys in enumerate(rule.keys):
            bias[rule.queries.start : rule.queries.stop, keys.start : keys.stop] = rule.bias[index] if rule.bias else 0
    return bias.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)


def test_an_unknown_kernel_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'flesh'") as refused:
        load_kernel("flesh")
    assert "sdpa" in refused.value.hint


def test_a_kernel_that_cannot_be_had_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Kernel:
        raise MissingExtra("it needs a package")

    monkeypatch.setitem(attention._LOADERS, "broken", broken)
    assert {"broken", "auto"} <= set(kernel_names())
    assert why_not("broken") == "it needs a package"
    assert why_not("auto") == ""


class Surveyor:
    """A kernel that keeps where tokens lie, and hands their values on."""

    def __init__(self) -> None:
        self.grids: list[object] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        self.grids.append(None)
        return q

    def on_grid(self, q: Tensor, k: Tensor, v: Tensor, q_grid: object, k_grid: object) -> Tensor:
        self.grids.append((q_grid, k_grid))
        return q


def test_a_kernel_is_told_the_grid_where_frames_see_frames_and_all_alike() -> None:
    leaf, surveyor = SelfAttend(), Surveyor()
    leaf.kernel = surveyor
    q, k, v = torch.randn(3, 1, 5, 6, 2, 8)
    rules = [
        AttentionRule(range(1), (range(1),)),
        AttentionRule(range(1, 3), (range(1, 3),)),
        AttentionRule(range(3, 5), (range(1), range(1, 5)), (-1.0, 0.0)),
    ]
    leaf(q, k, v, rules, grid=(2, 3))
    assert surveyor.grids == [None, ((2, 2, 3), (2, 2, 3)), None]
    surveyor.grids.clear()
    leaf(q[:, 2:], k, v, LAYOUTS["full"], offset=2, grid=(2, 3))
    leaf(q, k, v, LAYOUTS["full"])
    assert surveyor.grids == [((3, 2, 3), (5, 2, 3)), None]


@pytest.mark.parametrize("rules", LAYOUTS.values(), ids=LAYOUTS.keys())
@pytest.mark.parametrize("kernel", ["sdpa", "matmul"])
def test_frames_see_what_the_rules_say(rules: list[AttentionRule], kernel: str) -> None:
    q, k, v = torch.randn(3, 2, 5, 4, 2, 8)
    leaf = SelfAttend()
    use_kernel(leaf, kernel)
    heads = (x.flatten(1, 2).transpose(1, 2) for x in (q, k, v))
    expected = sdpa(*heads, dense_bias(rules, 4)).transpose(1, 2).reshape(q.shape)
    assert_close(leaf(q, k, v, rules), expected, atol=1e-5, rtol=0)
    assert_close(leaf(q[:, 2:], k, v, rules, offset=2), expected[:, 2:], atol=1e-5, rtol=0)


def test_neighbouring_ranges_are_not_copied() -> None:
    seen = []

    def spy(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.append((k.untyped_storage().data_ptr(), bias))
        return q

    leaf, (q, k, v) = SelfAttend(), torch.randn(3, 1, 4, 2, 1, 8).unbind()
    leaf.kernel = spy
    leaf(q, k, v, [AttentionRule(range(4), (range(1), range(1, 4)), (-0.5, 0.0))])
    leaf(q, k, v, [AttentionRule(range(4), (range(1), range(2, 4)))])
    assert seen[0][0] == k.untyped_storage().data_ptr() != seen[1][0]
    assert seen[0][1].flatten().tolist() == [-0.5, -0.5, 0, 0, 0, 0, 0, 0]
    assert seen[1][1] is None


def test_masked_keys_are_not_seen() -> None:
    q, k, v = torch.randn(3, 2, 6, 2, 8)
    mask = torch.arange(6) < torch.tensor([[4], [6]])
    leaf = CrossAttend()
    assert_close(leaf(q, k, v, mask)[:1], leaf(q[:1], k[:1, :4], v[:1, :4]))
    assert_close(leaf(q, k, v, mask)[1:], leaf(q[1:], k[1:], v[1:]))


def test_a_kernel_reaches_every_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        return v[:, :, :1].expand_as(q)

    monkeypatch.setitem(attention._LOADERS, "first", lambda: first)
    network = torch.nn.ModuleDict({"text": CrossAttend(), "frames": torch.nn.Sequential(SelfAttend())})
    use_kernel(network, "first")
    x = torch.randn(1, 3, 2, 1, 8)
    assert torch.equal(network["frames"][0](x, x, x, LAYOUTS["full"])[0, 2, 1], x[0, 0, 0])
    assert torch.equal(network["text"](x[:, 0], x[:, 1], x[:, 2])[0, 1], x[0, 2, 0])
