import pytest
import torch
from torch import Tensor

from enliven.diffusion.guidance import Guidance, ProjectedGuidance
from enliven.types import Conditioning, Text
from golden_files import golden


def conditioning() -> Conditioning:
    return Conditioning(Text(torch.ones(1, 2, 3)), Text(torch.zeros(1, 2, 3)), torch.ones(1, 1, 5, 5, 2, 4))


class Passes:
    """A backbone whose answer is looked up by what it is told; it counts how often it is asked."""

    def __init__(self, both: Tensor, audio: Tensor, none: Tensor) -> None:
        self.answers = {(True, True): both, (False, True): audio, (False, False): none}
        self.asked: list[tuple[bool, bool]] = []

    def __call__(self, cond: Conditioning) -> Tensor:
        self.asked.append((bool(cond.text.tokens.any()), bool(cond.audio.any())))
        return self.answers[self.asked[-1]]


def test_two_scales_as_published() -> None:
    case = golden("guidance").case("avatar")
    told = (case.inputs[f"noise_pred_{name}"] for name in ("cond", "uncond_text", "uncond"))
    passes = Passes(*told)
    out = Guidance(case.args["text_guidance_scale"], case.args["audio_guidance_scale"])(passes, conditioning())
    torch.testing.assert_close(out, case.outputs["out"], atol=1e-5, rtol=0)


def test_unequal_scales_follow_equation_2() -> None:
    both, audio, none = torch.randn(3, 1, 2, 3, 2, 2)
    out = Guidance(3.0, 5.0)(Passes(both, audio, none), conditioning())
    torch.testing.assert_close(out, none + 3 * (both - audio) + 5 * (audio - none), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("guidance", "passes"), [(Guidance(), 1), (Guidance(4.0, 4.0), 2), (Guidance(3.0, 1.0), 2), (Guidance(4.0, 5.0), 3)]
)
def test_passes_of_weight_zero_are_not_run(guidance: Guidance, passes: int) -> None:
    told = Passes(*torch.randn(3, 1, 2, 3, 2, 2))
    guidance(told, conditioning())
    assert len(told.asked) == passes


def test_projected_guidance_as_published() -> None:
    case = golden("guidance").case("base")
    told = Passes(case.inputs["noise_pred_cond"], case.inputs["noise_pred_uncond"], torch.zeros(()))
    out = ProjectedGuidance(case.args["guidance_scale"])(told, conditioning())
    torch.testing.assert_close(out, case.outputs["out"], atol=1e-5, rtol=0)


def test_projected_guidance_scales_each_sample_by_itself() -> None:
    both, audio = torch.randn(2, 2, 2, 3, 2, 2)
    guide = ProjectedGuidance(4.0)
    batch = guide(Passes(both, audio, audio), conditioning())
    alone = guide(Passes(both[1:], audio[1:], audio[1:]), conditioning())
    torch.testing.assert_close(batch[1:], alone)
