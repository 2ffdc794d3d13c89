"""Of which encoders the clips in a folder are: what others made does not fit together."""

import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from enliven.errors import ConfigError
from enliven.media.storage import replacing, storage_error
from enliven.models.weights import sampled
from enliven.pipeline import AvatarPipeline
from enliven.systems.spec import ModelSpec

ENCODERS = ("autoencoder", "audio")
MADE_BY = "encoders.json"


def require_same_of(pipeline: AvatarPipeline, shards: Path, folder: Path) -> None:
    """Keep in ``folder`` of which encoders the clips are that a model makes of those in ``shards``.

    Raises ConfigError where either holds clips of others, StorageError.
    """
    encoders = [getattr(pipeline.networks, name) for name in ENCODERS]
    if (shards / MADE_BY).exists():
        require_same(shards / MADE_BY, pipeline.spec, encoders, pipeline.spec.geometry.fps)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise storage_error(folder, error) from None
    require_same(folder / MADE_BY, pipeline.spec, encoders, pipeline.spec.geometry.fps)


def require_same(path: Path, spec: ModelSpec, networks: Sequence[Any], fps: int) -> None:
    """Keep in ``path`` of which encoders and frame rate the clips beside it are.

    Raises ConfigError where they are of others: a batch has one of each.
    """
    digest = sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            digest.update(name.encode() + sampled(value).double().cpu().numpy().tobytes())
    now = {"model": spec.name, "weights": digest.hexdigest(), "fps": fps}
    if not path.exists():
        with replacing(path) as fresh:
            fresh.write_text(json.dumps(now, indent=1) + "\n", encoding="utf-8")
    before = {"fps": spec.geometry.fps} | json.loads(path.read_text(encoding="utf-8"))
    if before["weights"] != now["weights"]:
        raise ConfigError(
            f"{path.parent} holds clips of other encoders, those of {before['model']} as they were then",
            hint="name another folder: what others made does not fit together",
        )
    if before["fps"] != fps:
        raise ConfigError(
            f"{path.parent} holds clips of {before['fps']} frames a second, not {fps}",
            hint="name another folder for each frame rate; a recipe takes several",
        )
