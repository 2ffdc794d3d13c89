"""All judges of the toon world together, and their opinion on a video, ready for JSON."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from enliven.judges.face import READINGS, FaceJudge, similarity
from enliven.judges.motion import body_motion, head_motion
from enliven.judges.quality import QualityJudge
from enliven.types import Video

CLOSED = 0.1  # a mouth that is open less than this is closed
DIGITS = 4


def judge_toon(video: Video, portrait: UInt8[Tensor, "3 h w"] | None = None) -> dict[str, object]:
    """Every reading frame by frame, and a summary; with a portrait also how alike each frame is to it.

    ``clean`` values are probabilities that no 8 x 8 cell is scrambled; a frame above 0.5 counts as clean.
    """
    face, quality = FaceJudge()(video.frames), QualityJudge()(video.frames)
    last_second = slice(-max(1, round(video.fps)), None)
    perframe = {name: face[name] for name in READINGS} | {name: quality[name] for name in ("clean_face", "clean_frame")}
    summary = {
        "mouth_open": face["mouth_open"].mean(),
        "mouth_closed_share": (face["mouth_open"] < CLOSED).float().mean(),
        "clean_face_share": (quality["clean_face"] > 0.5).float().mean(),
        "clean_frame_share": (quality["clean_frame"] > 0.5).float().mean(),
        "head_motion": torch.tensor(head_motion(face)),
        "body_motion": torch.tensor(body_motion(video.frames)),
    }
    if portrait is not None:
        perframe["identity"] = similarity(face["identity"], FaceJudge()(portrait[None])["identity"][0])
        summary["identity"] = perframe["identity"].mean()
        summary["identity_last_second"] = perframe["identity"][last_second].mean()
    return {
        "frames": len(video.frames),
        "fps": video.fps,
        "summary": {name: round(value.item(), DIGITS) for name, value in summary.items()},
        "per_frame": {name: [round(v, DIGITS) for v in values.tolist()] for name, values in perframe.items()},
    }
