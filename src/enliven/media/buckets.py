"""The frame sizes LongCat was trained on, by aspect ratio.

Each table lists ``height/width -> height x width`` in the order that decides ties.
"""

from typing import Literal

from enliven.errors import RequestError

Resolution = Literal["480p", "720p"]

_TABLES = {
    ("480p", 32): """
        0.26 320x1216, 0.31 352x1120, 0.38 384x1024, 0.43 416x960, 0.52 448x864, 0.58 480x832, 0.67 512x768,
        0.74 544x736, 0.86 576x672, 0.95 608x640, 1.05 640x608, 1.17 672x576, 1.29 704x544, 1.35 736x544,
        1.50 768x512, 1.67 800x480, 1.73 832x480, 2.00 896x448, 2.31 960x416, 2.58 992x384, 2.75 1056x384,
        3.09 1088x352, 3.70 1184x320, 3.80 1216x320, 3.90 1248x320, 4.00 1280x320""",
    ("480p", 64): """
        0.26 320x1216, 0.38 384x1024, 0.50 448x896, 0.67 512x768, 0.82 576x704, 1.00 640x640, 1.22 704x576,
        1.50 768x512, 1.86 832x448, 2.00 896x448, 2.50 960x384, 2.83 1088x384, 3.60 1152x320, 3.80 1216x320,
        4.00 1280x320""",
    ("480p", 128): """
        0.25 256x1024, 0.38 384x1024, 0.43 384x896, 0.57 512x896, 0.67 512x768, 1.00 640x640, 1.50 768x512,
        1.75 896x512, 2.33 896x384, 2.67 1024x384, 4.00 1024x256""",
    ("480p", 256): """
        0.25 256x1024, 0.33 256x768, 0.50 256x512, 0.67 512x768, 1.00 512x512, 1.50 768x512, 2.00 512x256,
        3.00 768x256, 4.00 1024x256""",
    ("720p", 32): """
        0.25 480x1920, 0.29 512x1792, 0.32 544x1696, 0.36 576x1600, 0.40 608x1504, 0.49 672x1376, 0.54 704x1312,
        0.59 736x1248, 0.69 800x1152, 0.74 832x1120, 0.82 864x1056, 0.88 896x1024, 0.94 928x992, 1.00 960x960,
        1.07 992x928, 1.14 1024x896, 1.22 1056x864, 1.31 1088x832, 1.35 1120x832, 1.44 1152x800, 1.70 1248x736,
        2.00 1344x672, 2.05 1376x672, 2.47 1504x608, 2.53 1536x608, 2.83 1632x576, 3.06 1664x544, 3.12 1696x544,
        3.62 1856x512, 3.93 1888x480, 4.00 1920x480""",
    ("720p", 64): """
        0.22 448x2048, 0.29 512x1792, 0.36 576x1600, 0.45 640x1408, 0.55 704x1280, 0.63 768x1216, 0.76 832x1088,
        0.88 896x1024, 1.00 960x960, 1.14 1024x896, 1.31 1088x832, 1.50 1152x768, 1.58 1216x768, 1.82 1280x704,
        1.91 1344x704, 2.20 1408x640, 2.30 1472x640, 2.67 1536x576, 2.89 1664x576, 3.62 1856x512, 3.75 1920x512""",
    ("720p", 128): """
        0.20 384x1920, 0.27 512x1920, 0.33 512x1536, 0.42 640x1536, 0.50 640x1280, 0.60 768x1280, 0.67 768x1152,
        0.78 896x1152, 1.00 1024x1024, 1.29 1152x896, 1.50 1152x768, 1.67 1280x768, 2.00 1280x640, 2.40 1536x640,
        3.00 1536x512, 3.75 1920x512, 5.00 1920x384""",
    ("720p", 256): """
        0.33 512x1536, 0.60 768x1280, 1.00 1024x1024, 1.67 1280x768, 3.00 1536x512""",
}


def _read(table: str) -> dict[float, tuple[int, int]]:
    rows = (row.split() for row in table.split(","))
    return {float(ratio): (int(size.split("x")[0]), int(size.split("x")[1])) for ratio, size in rows}


BUCKETS = {key: _read(table) for key, table in _TABLES.items()}


def choose_bucket(height: int, width: int, resolution: Resolution = "480p", granularity: int = 16) -> tuple[int, int]:
    """The trained (height, width) nearest in aspect to a picture; of two equally near, the first listed.

    ``granularity`` is what both sides must divide by: 16 times the larger side of the context-parallel grid (64 times
    for refinement). Raises RequestError where no table fits.
    """
    table = BUCKETS.get((resolution, max(granularity, 32)))
    if table is None:
        known = [16, *sorted({size for _, size in BUCKETS})]
        raise RequestError(
            f"no frame sizes for {resolution} in steps of {granularity}; 480p and 720p are known in steps of {known}",
            hint="choose one of those, or give height and width yourself",
        )
    ratio = height / width
    return table[min(table, key=lambda listed: abs(listed - ratio))]
