"""Pictures of scenes: `Painter(scene).frame(time_s)` shows at every instant what is heard then.

Guarantee: a picture is a pure function of (scene, time, size). Price: 0.2 to 0.5 ms per 160x120 frame.
"""

from clipsonic.soundstage.draw.painter import Painter

__all__ = ["Painter"]
