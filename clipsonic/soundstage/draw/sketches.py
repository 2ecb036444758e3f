"""How each kind is drawn: what never moves (drawn once) and what does (drawn per frame)."""

from __future__ import annotations

from clipsonic.soundstage.draw import alarm, animal, blown, fire_wind, machine, struck, strung, water
from clipsonic.soundstage.draw.sketch import Sketch

SKETCHES: dict[str, Sketch] = {
    **struck.SKETCHES,
    **strung.SKETCHES,
    **blown.SKETCHES,
    **animal.SKETCHES,
    **machine.SKETCHES,
    **water.SKETCHES,
    **fire_wind.SKETCHES,
    **alarm.SKETCHES,
}
