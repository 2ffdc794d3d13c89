"""The smallest networks that run the real code: random weights, 16 x 16 pixels and more, clips of nine frames."""

import torch

from enliven.diffusion.clips import ClipGeometry
from enliven.models.longcat import LongCatParams
from enliven.models.longcat_audio import AudioParams
from enliven.models.networks import HearingParams, NetworkParams, Networks, build_networks
from enliven.models.text import TextParams, learn_tokenizer
from enliven.models.vae import ToonAutoencoderParams

GEOMETRY = ClipGeometry(frames=17, context=5, fps=25)

PARAMS = NetworkParams(
    backbone=LongCatParams(
        in_channels=4,
        out_channels=4,
        hidden_size=32,
        depth=2,
        num_heads=2,
        caption_channels=16,
        adaln_tembed_dim=16,
        frequency_embedding_size=16,
        audio=AudioParams(
            audio_window=5, audio_block=2, audio_channel=16, intermediate_dim=16, output_dim=16, context_tokens=2
        ),
    ),
    autoencoder=ToonAutoencoderParams(channels=4, outer_width=8, inner_width=8),
    audio=HearingParams(
        25.0,
        {
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "conv_dim": (8, 8, 8),
            "conv_kernel": (128, 8, 8),
            "conv_stride": (16, 5, 4),
            "feat_extract_norm": "layer",
            "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        },
    ),
    text=TextParams(12, {"vocab_size": 300, "d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}),
)


def tiny_networks(seed: int = 0) -> Networks:
    """New tiny networks; every weight random, also those that start at zero for training."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = build_networks(PARAMS, learn_tokenizer(["a man with a hat"], 300))
        for parameter in networks.backbone.parameters():
            torch.nn.init.normal_(parameter, std=0.05)
    for network in (networks.backbone, networks.autoencoder, networks.audio, networks.text):
        network.eval().requires_grad_(False)
    return networks
