"""Run by the Python that DepthFlow is installed for, as a program of its own; nothing in kinephoto imports DepthFlow.

DepthFlow is under the AGPL. Its camera goes from side to side (parallel rays, nothing steadied), its anisotropic filter
is off, as software OpenGL needs, and it draws without a window.

    PYTHON speed_depthflow.py PHOTO DEPTH FILM TELLS WIDTH HEIGHT FRAMES FPS QUALITY

writes FILM, and TELLS: {"seconds": {"frames": from the first frame to the end of encoding}}.
"""

import json
import math
import os
import sys
import time

REACH = 0.3
"""How far the camera goes to either side; in DepthFlow's unit, the picture's height."""


def main(photo, depth, film, tells, width, height, frames, fps, quality):  # noqa: D103
    # The ffmpeg that comes with it lies beside its Python.
    os.environ["PATH"] = os.path.dirname(sys.executable) + os.pathsep + os.environ.get("PATH", "")
    from depthflow.scene import DepthScene

    class Swing(DepthScene):
        began_s = None

        def build(self):
            super().build()
            self.image.anisotropy = 1

        def update(self):
            if Swing.began_s is None:
                Swing.began_s = time.perf_counter()
            self.state.isometric, self.state.steady = 1.0, 0.0
            self.state.offset = (REACH * math.sin(2 * math.pi * self.tau), 0.0)

    scene = Swing(backend="headless")
    scene.input(image=photo, depth=depth)
    size = {"width": int(width), "height": int(height)}
    length = {"fps": float(fps), "time": int(frames) / float(fps)}
    scene.main(**size, **length, quality=float(quality), output=film)
    with open(tells, "w", encoding="utf-8") as file:
        json.dump({"seconds": {"frames": time.perf_counter() - Swing.began_s}}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
