"""Painters fill holes; they know no 3D beyond "not nearer than this".

``get_painter(name)`` is the one door to them, ``paint_holes`` the one way to use them.
"""

from __future__ import annotations

from kinephoto.painter.composite import paint_holes
from kinephoto.painter.door import Painter, get_painter, painter_names

__all__ = ["Painter", "get_painter", "paint_holes", "painter_names"]
