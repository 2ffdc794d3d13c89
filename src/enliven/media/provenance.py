"""What a video file says of how it was made: with which model."""

from pathlib import Path

from enliven.media.container import open_media

TAG = "comment"
BEFORE = "made by enliven with "


def made_with(model: str) -> dict[str, str]:
    """What is written into the file of a video that a model made."""
    return {TAG: BEFORE + model}


def maker(path: Path) -> str | None:
    """The model that made a video, if it says so. Raises MediaError."""
    with open_media(path) as container:
        comment = container.metadata.get(TAG, "")
    return comment.removeprefix(BEFORE) if comment.startswith(BEFORE) else None
