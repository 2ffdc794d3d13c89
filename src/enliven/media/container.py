"""The one gate through which sound and video files come in."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from av.error import EOFError as EndOfFile
from av.error import FFmpegError

from enliven.errors import MediaError

logger = logging.getLogger(__name__)

# Single files only: playlists (hls, dash, concat) name other files, and an untrusted one may name yours.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,wav,w64,mp3,ogg,flac,aac,ac3,eac3,aiff,caf,au,amr",
    "MP4, MOV, M4A, MKV, WebM, AVI, WAV, MP3, OGG, FLAC, AAC, AC-3, AIFF, CAF or AU",
)
MOST_BYTES = 16 * 2**30
MOST_DAMAGED_PACKETS = 1000


def check_file(path: Path, most_bytes: int = MOST_BYTES) -> Path:
    """The absolute path of a readable, non-empty, ordinary file of at most ``most_bytes``.

    Raises MediaError for anything else: a name that points nowhere, a folder, a pipe, a file one may not read.
    """
    path = Path(path)
    try:
        path = path.resolve()
        size = path.stat().st_size
        if path.is_dir():
            raise MediaError(f"{path} is a folder; a file was expected", hint="name a file inside it")
        if not path.is_file():
            raise MediaError(f"{path} is not an ordinary file", hint="copy it to a file on disk first")
        with path.open("rb"):
            pass
    except FileNotFoundError:
        raise MediaError(f"{path} does not exist", hint="check the spelling and the folder") from None
    except PermissionError:
        raise MediaError(f"{path} may not be read", hint="check its permissions") from None
    except (OSError, ValueError) as error:
        raise MediaError(f"{path} cannot be read: {error}") from None
    if size == 0:
        raise MediaError(f"{path} is empty (0 bytes)", hint="copy or export it again")
    if size > most_bytes:
        raise MediaError(
            f"{path} is {size / 2**20:.0f} MiB; at most {most_bytes / 2**20:.0f} MiB are read",
            hint="cut it, or export it in a smaller format",
        )
    return path


@contextmanager
def open_media(path: Path) -> Iterator[Any]:
    """Open a sound or video file that nobody vouches for, as a PyAV input container.

    Only single-file formats are opened and only from the local disk. Raises MediaError.
    """
    path = check_file(path)
    names, spoken = FORMATS
    options = {"protocol_whitelist": "file", "format_whitelist": names}
    try:
        container = av.open(os.fspath(path), container_options=options, metadata_errors="replace")
    except (FFmpegError, ValueError) as error:
        raise MediaError(
            f"{path.name} is not a sound or video file that can be read ({_reason(error)})",
            hint=f"give {spoken}; if it is one, it is damaged: export it again",
        ) from None
    with container:
        yield container


def decode(container: Any, stream: Any) -> Iterator[Any]:
    """The frames of one stream, leaving out packets that are damaged (with a warning)."""
    damaged = 0
    demuxer = container.demux(stream)
    while damaged < MOST_DAMAGED_PACKETS:
        try:
            frames = next(demuxer).decode()
        except (StopIteration, EndOfFile):
            break
        except FFmpegError:
            damaged += 1
            continue
        yield from frames
    if damaged:
        logger.warning("%s: %d damaged packets were left out", name_of(container), damaged)


def packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets of one stream that carry data, in file order, up to the first that cannot be read."""
    try:
        for packet in container.demux(stream):
            if packet.size and packet.pts is not None:
                yield packet
    except FFmpegError as error:
        logger.warning("%s breaks off early (%s)", name_of(container), _reason(error))


def name_of(container: Any) -> str:
    """The bare file name, for messages."""
    return Path(container.name).name


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).lower()
