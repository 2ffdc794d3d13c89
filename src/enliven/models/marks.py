"""Which encoders a backbone was taught with: marks of their weights, kept in its ``config.json``.

Encoders of equal widths fit any backbone, but what another one reads or hears is nonsense to it. Of an autoencoder
only what makes latents counts, since a decoder may learn on. A backbone without marks goes with any.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from enliven.errors import WeightsError
from enliven.media.storage import replacing
from enliven.models.weights import read_weights, sampled

TAUGHT_WITH = "taught_with"
BACKBONE = "backbone"
COUNTED = {  # the beginnings of the names of all tensors that count, by the folder of an encoder
    "text": re.compile(""),
    "audio": re.compile(""),
    "autoencoder": re.compile(r"latent_|analysis\.|(network\.)?(encoder|quant_conv)\."),
}


def mark(folder: Path, name: str) -> str:
    """A number that other weights or another tokenizer would change; stored in float32 or in float16 they have one.

    Of every tensor some values are read. Raises WeightsError.
    """
    total = hashlib.sha256()
    for path in folder.glob("tokenizer.json"):
        total.update(path.read_bytes())
    for key, value in sorted(read_weights(folder).items()):
        if COUNTED[name].match(key):
            total.update(f"{key} {tuple(value.shape)}".encode() + sampled(value).half().numpy().tobytes())
    return total.hexdigest()[:16]


def mark_backbone(parts: Mapping[str, Path]) -> None:
    """Let the backbone say that it was taught with the encoders beside it; folders by the names of networks.

    Raises WeightsError, StorageError.
    """
    path = parts[BACKBONE] / "config.json"
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    values[TAUGHT_WITH] = {name: mark(parts[name], name) for name in COUNTED if name in parts}
    with replacing(path) as part:
        part.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")


def require_marked(parts: Mapping[str, Path]) -> None:
    """Raise WeightsError where the backbone was taught with another encoder than that beside it."""
    path = parts[BACKBONE] / "config.json"
    told = json.loads(path.read_text(encoding="utf-8")).get(TAUGHT_WITH, {})
    if not isinstance(told, dict):
        raise WeightsError(f"{path} does not say what {TAUGHT_WITH} means", hint="fetch it again")
    for name in COUNTED:
        if name in told and name in parts and told[name] != mark(parts[name], name):
            raise WeightsError(
                f"the backbone in {parts[BACKBONE]} was taught with another {name} than that in {parts[name]}",
                hint="all folders of a model must come from the same one",
            )
