"""Kernels of other libraries: when they load, and that tensors reach them as their libraries have them."""

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.testing import assert_close

from enliven.errors import ConfigError, MissingExtra
from enliven.runtime.attention import load_kernel, why_not
from enliven.runtime.kernel_fused import FlexKernel, HalfKernel, need
from enliven.runtime.kernel_plain import sdpa

FUSED = ["flash2", "flash3", "sage", "cudnn", "flex", "block-sparse"]
PACKAGES = {"flash2": "flash_attn", "flash3": "flash_attn_interface", "sage": "sageattention", "flex": "triton"}


def pretend(monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int] | None) -> None:
    """A machine with such a GPU, or with none."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: capability is not None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)


@pytest.mark.parametrize("name", FUSED)
def test_without_a_gpu_that_is_what_is_missing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, None)
    assert why_not(name) == f"attention {name} needs a GPU, and there is none"


@pytest.mark.parametrize("name", FUSED)
def test_an_old_gpu_is_named_and_so_is_the_one_it_takes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, (6, 1))
    assert "this one has 6.1" in why_not(name)


def test_flash3_is_for_one_generation_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, (10, 0))
    assert "compute capability 9.x, this one has 10.0" in why_not("flash3")


@pytest.mark.parametrize(("name", "module"), PACKAGES.items())
def test_a_missing_package_is_named(name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, (9, 0))
    monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr(sys, "meta_path", [Nothing(module), *sys.meta_path])
    with pytest.raises(MissingExtra, match="which is not installed") as missing:
        load_kernel(name)
    assert "auto" in missing.value.hint


class Nothing:
    """An importer that finds one module missing."""

    def __init__(self, module: str) -> None:
        self.module = module

    def find_spec(self, name: str, *rest: object) -> None:
        if name == self.module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_broken_package_says_what_is_wrong(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "built_for_another.py").write_text("raise ImportError('undefined symbol: _ZN3c10')\n")
    (tmp_path / "half_installed.py").write_text("import the_other_half\n")
    monkeypatch.syspath_prepend(tmp_path)
    for module, reason in (("built_for_another", "undefined symbol"), ("half_installed", "the_other_half")):
        with pytest.raises(MissingExtra, match=f"cannot be imported: .*{reason}"):
            need(module, "a package", "flash2")


def tokens_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention in the layout of FlashAttention: samples, tokens, heads, channels."""
    return sdpa(*(x.transpose(1, 2) for x in (q, k, v))).transpose(1, 2)


def heads_first(q: Tensor, k: Tensor, v: Tensor, tensor_layout: str = "NHD", is_causal: bool = False) -> Tensor:
    """Attention in a layout that is named, as SageAttention has it."""
    assert not is_causal
    return (sdpa if tensor_layout == "HND" else tokens_first)(q, k, v)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Hopper GPU, and the libraries with their signatures; the newest FlashAttention tells more than was asked."""
    pretend(monkeypatch, (9, 0))
    contents = {
        "flash_attn": ("flash_attn_func", tokens_first),
        "flash_attn_interface": ("flash_attn_func", lambda q, k, v: (tokens_first(q, k, v), q.sum())),
        "sageattention": ("sageattn", heads_first),
    }
    for module, (name, function) in contents.items():
        made = ModuleType(module)
        setattr(made, name, function)
        monkeypatch.setitem(sys.modules, module, made)


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize("name", ["flash2", "flash3", "sage"])
def test_axes_are_those_of_the_library(name: str) -> None:
    q, k, v = (torch.randn(2, 3, length, 8) for length in (5, 7, 7))
    kernel = load_kernel(name)
    assert isinstance(kernel, HalfKernel)
    assert_close(kernel.attend(q, k, v), sdpa(q, k, v))


def test_numbers_that_a_kernel_does_not_compute_in_are_refused() -> None:
    kernel = HalfKernel("flash2", sdpa)
    with pytest.raises(ConfigError, match=r"flash2 computes in bfloat16 on a GPU, not in torch\.bfloat16 on cpu"):
        kernel(*torch.randn(3, 1, 1, 4, 8, dtype=torch.bfloat16))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("shape", [(2, 1, 1, 7), (2, 3, 5, 7), (1, 3, 1, 7), None])
def test_flex_attention_adds_the_bias(shape: tuple[int, ...] | None) -> None:
    q, k, v = (torch.randn(2, 3, length, 16) for length in (5, 7, 7))
    bias = None if shape is None else torch.randn(shape)
    assert_close(FlexKernel(flex_attention)(q, k, v, bias), sdpa(q, k, v, bias), atol=1e-5, rtol=0)
