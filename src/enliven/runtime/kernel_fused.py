"""Attention kernels of other libraries. Each is imported when it is asked for, and says why where it cannot be had."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.flex_attention import flex_attention

from enliven.errors import ConfigError, MissingExtra
from enliven.runtime.kernel_plain import Kernel, sdpa

HALVES = (torch.bfloat16, torch.float16)
ANYWHERE = "--attention auto runs anywhere"

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class HalfKernel:
    """A kernel for numbers of 16 bits on a GPU. It knows no bias: calls with one go to ``sdpa``.

    Raises ConfigError for other numbers, or on a CPU.
    """

    name: str
    attend: Attend

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from ``q`` to ``k`` and ``v``, all ``b n tokens d``."""
        if not q.is_cuda or q.dtype not in HALVES:
            raise ConfigError(
                f"attention {self.name} computes in bfloat16 on a GPU, not in {q.dtype} on {q.device.type}",
                hint=f"choose --dtype bfloat16 on a GPU; {ANYWHERE}",
            )
        return self.attend(q, k, v) if bias is None else sdpa(q, k, v, bias)


@dataclass(frozen=True, slots=True)
class FlexKernel:
    """FlexAttention of PyTorch: a bias is added within the kernel."""

    attend: Callable[..., Any]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
        """Attend from ``q`` to ``k`` and ``v``, all ``b n tokens d``."""
        if bias is None:
            return self.attend(q, k, v)
        b, n, row = (int(size > 1) for size in bias.shape[:3])  # an axis of one is the same for all
        # No function with a name: type checks wrap those, and the compiler does not look through them.
        return self.attend(q, k, v, score_mod=lambda score, *at: score + bias[at[0] * b, at[1] * n, at[2] * row, at[3]])


def load_flash2() -> Kernel:
    """FlashAttention 2, from flash-attn. Raises ConfigError, MissingExtra."""
    need_gpu("flash2", 8)
    attend = need("flash_attn", "flash-attn", "flash2").flash_attn_func
    return HalfKernel("flash2", _tokens_first(attend))


def load_flash3() -> Kernel:
    """FlashAttention 3, for Hopper, from its own source. Raises ConfigError, MissingExtra."""
    need_gpu("flash3", 9, newest=9)
    attend = need("flash_attn_interface", "flash_attn_3", "flash3").flash_attn_func
    return HalfKernel("flash3", _tokens_first(attend))


def load_sage() -> Kernel:
    """SageAttention, which rounds queries and keys to 8 bits: near the others, not equal. As above."""
    need_gpu("sage", 8)
    attend = need("sageattention", "sageattention", "sage").sageattn
    return HalfKernel("sage", lambda q, k, v: attend(q, k, v, tensor_layout="HND", is_causal=False))


def load_cudnn() -> Kernel:
    """The attention of cuDNN and no other. Raises ConfigError."""
    need_gpu("cudnn", 8)
    if not torch.backends.cudnn.is_available():
        raise ConfigError("attention cudnn needs a PyTorch that was built with cuDNN", hint=ANYWHERE)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
            return sdpa(q, k, v)

    return HalfKernel("cudnn", attend)


def load_flex() -> Kernel:
    """FlexAttention, compiled for the shapes it meets: the first passes take long. Raises ConfigError, MissingExtra."""
    need_gpu("flex", 7)
    need("triton", "triton", "flex")
    return FlexKernel(torch.compile(flex_attention))


def need_gpu(kernel: str, oldest: int, newest: int = 99) -> None:
    """Raise ConfigError unless there is a GPU of a compute capability from ``oldest`` to ``newest``."""
    if not torch.cuda.is_available():
        raise ConfigError(f"attention {kernel} needs a GPU, and there is none", hint=ANYWHERE)
    major, minor = torch.cuda.get_device_capability()
    if not oldest <= major <= newest:
        wanted = f"{oldest}.x" if newest == oldest else f"{oldest}.0 or newer"
        raise ConfigError(
            f"attention {kernel} needs a GPU of compute capability {wanted}, this one has {major}.{minor}",
            hint=ANYWHERE,
        )


def need(module: str, package: str, kernel: str) -> Any:
    """A module of an optional package. Raises MissingExtra where it is not installed, or broken."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise _broken(package, kernel, error) from error
        raise MissingExtra(
            f"attention {kernel} needs {package}, which is not installed", hint=f"install it; {ANYWHERE}"
        ) from None
    except (ImportError, OSError, RuntimeError) as error:  # built for another PyTorch, or another GPU
        raise _broken(package, kernel, error) from error


def _broken(package: str, kernel: str, error: Exception) -> MissingExtra:
    return MissingExtra(
        f"attention {kernel} needs {package}, which cannot be imported: {error}",
        hint=f"build it for the PyTorch that is installed; {ANYWHERE}",
    )


def _tokens_first(attend: Callable[..., Any]) -> Attend:
    """A kernel on ``b tokens n d``, as one on ``b n tokens d``. Some versions give more than what was asked for."""

    def attend_heads_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = attend(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
        return (seen[0] if isinstance(seen, tuple) else seen).transpose(1, 2)

    return attend_heads_first
