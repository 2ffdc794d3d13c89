import torch

from enliven.media.regions import fit_masks, token_masks
from golden_files import golden


def test_masks_are_resized_as_the_published_code_does() -> None:
    case = golden("preprocess").case("mask_crop")
    fitted = fit_masks(case.inputs["masks"], case.args["height"], case.args["width"])
    assert torch.equal(fitted, case.outputs["masks"])


def test_token_masks_are_those_of_the_published_code() -> None:
    case = golden("preprocess").case("token_mask")
    rows, columns = case.args["grid"]
    tokens = token_masks(case.inputs["masks"], (rows, columns))
    assert torch.equal(tokens.flatten(1).float(), case.outputs["token_masks"])


def test_a_mask_of_the_frame_size_is_left_alone_and_the_middle_is_kept() -> None:
    masks = torch.rand(2, 32, 48)
    assert torch.equal(fit_masks(masks, 32, 48), masks)
    halves = torch.zeros(2, 40, 100)
    halves[0, :, :50] = halves[1, :, 50:] = 1
    assert token_masks(fit_masks(halves, 40, 40), (4, 4)).tolist() == [
        [[True, True, False, False]] * 4,
        [[False, False, True, True]] * 4,
    ]
