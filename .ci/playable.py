"""Exit with an error unless each video named decodes to more than one picture, and they move."""

from __future__ import annotations

import sys

import av
import numpy as np

for name in sys.argv[1:]:
    with av.open(name) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    if (
        len(frames) < 2
        or frames[0].max() == frames[0].min()
        or np.array_equal(frames[0], frames[len(frames) // 3])
    ):
        sys.exit(f"{name}: {len(frames)} pictures, and nothing moves in them.")
    print(f"{name}: {len(frames)} pictures of {frames[0].shape[1]}×{frames[0].shape[0]} px, and they move.")
