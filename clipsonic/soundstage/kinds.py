"""The kinds of sounding things: what each is called, what it is made of, and how its attributes become sound.

Laws shared by all kinds, so that sight tells sound:
    size in [0, 1]   -> pitch:  f0 = high_hz * 2 ** (-2 * size)        (two octaves, larger is lower)
    speed in [0, 1]  -> rate:   rate_hz = slow_hz * 4 ** speed         (a factor of 4, shown on a dial)
    count 1..4       -> density: that many objects sound, each on its own
    material         -> timbre: decay, partials, noise
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["events", "continuous"]


@dataclass(frozen=True)
class Kind:
    """One kind of sounding thing.

    Args:
        name: its word in manifests and reports.
        family: its family.
        nouns: names used in captions for training; the last one is held out for judging when there are three or more.
        verb: what it does, present participle, for captions ("ringing").
        mode: `events` (separate onsets at `rate_hz`) or `continuous` (sounds while active, modulated at `rate_hz`).
        high_hz: pitch at size 0, or None where the sound has no pitch.
        slow_hz: rate at speed 0, or None where nothing recurs.
        materials: what it may be made of, at least one; the first word is also an adjective in captions.
        max_count: how many may stand together.
        periodic: whether what recurs does so at (nearly) even intervals; otherwise `rate_hz` is a mean number.
    """

    name: str
    family: str
    nouns: tuple[str, ...]
    verb: str
    mode: Mode
    high_hz: float | None
    slow_hz: float | None
    materials: tuple[str, ...]
    max_count: int = 3
    periodic: bool = True

    @property
    def pitched(self) -> bool:
        """Whether its size is heard as pitch."""
        return self.high_hz is not None


_KINDS = (
    # struck
    Kind("bell", "struck", ("bell", "hand bell", "chime"), "ringing", "events", 1760.0, 0.6, ("glass", "bronze"), 3),
    Kind(
        "xylophone",
        "struck",
        ("xylophone", "marimba", "row of bars"),
        "being played",
        "events",
        1400.0,
        1.0,
        ("wooden", "steel"),
        1,
    ),
    Kind("drum", "struck", ("drum", "tom-tom", "hand drum"), "being beaten", "events", 320.0, 1.0, ("skin", "tin"), 3),
    # strung
    Kind(
        "guitar",
        "strung",
        ("guitar", "lute", "plucked guitar"),
        "being plucked",
        "events",
        660.0,
        0.8,
        ("nylon", "steel"),
        1,
    ),
    Kind(
        "violin",
        "strung",
        ("violin", "fiddle", "bowed violin"),
        "being bowed",
        "continuous",
        1320.0,
        0.5,
        ("maple", "black"),
        1,
    ),
    # blown
    Kind(
        "flute",
        "blown",
        ("flute", "recorder", "pipe"),
        "being blown",
        "continuous",
        2000.0,
        0.7,
        ("silver", "bamboo"),
        1,
    ),
    Kind("horn", "blown", ("horn", "trumpet", "bugle"), "blaring", "continuous", 700.0, 0.5, ("brass", "copper"), 1),
    Kind(
        "kettle",
        "blown",
        ("kettle", "teapot", "water boiler"),
        "whistling",
        "continuous",
        3200.0,
        None,
        ("enamel", "steel"),
        1,
    ),
    # animals
    Kind("bird", "animal", ("bird", "songbird", "finch"), "singing", "events", 5200.0, 1.2, ("yellow", "blue"), 3),
    Kind("frog", "animal", ("frog", "toad", "bullfrog"), "croaking", "events", 480.0, 0.7, ("green", "brown"), 3),
    Kind("dog", "animal", ("dog", "puppy", "hound"), "barking", "events", 800.0, 0.6, ("spotted", "grey"), 2),
    Kind(
        "cricket",
        "animal",
        ("cricket", "grasshopper", "cicada"),
        "chirping",
        "events",
        5800.0,
        1.0,
        ("olive", "dark"),
        3,
    ),
    Kind("bee", "animal", ("bee", "bumblebee", "wasp"), "buzzing", "continuous", 480.0, None, ("striped", "golden"), 4),
    # machines
    Kind(
        "engine",
        "machine",
        ("engine", "motor", "piston engine"),
        "running",
        "continuous",
        None,
        8.0,
        ("iron", "red"),
        1,
    ),
    Kind(
        "clock", "machine", ("clock", "wall clock", "timepiece"), "ticking", "events", 2400.0, 1.0, ("oak", "white"), 2
    ),
    Kind(
        "fan",
        "machine",
        ("fan", "propeller", "ventilator"),
        "spinning",
        "continuous",
        None,
        4.0,
        ("plastic", "metal"),
        1,
    ),
    Kind(
        "train",
        "machine",
        ("train", "locomotive", "steam engine"),
        "puffing",
        "events",
        None,
        1.0,
        ("black", "green"),
        1,
    ),
    # water
    Kind(
        "drip",
        "water",
        ("dripping tap", "faucet", "leaking pipe"),
        "dripping",
        "events",
        2000.0,
        0.8,
        ("chrome", "rusty"),
        2,
    ),
    Kind(
        "rain",
        "water",
        ("rain cloud", "rain shower", "downpour"),
        "raining",
        "continuous",
        None,
        20.0,
        ("grey", "dark"),
        3,
        periodic=False,
    ),
    Kind(
        "stream", "water", ("stream", "waterfall", "brook"), "flowing", "continuous", None, None, ("rocky", "mossy"), 1
    ),
    # fire and wind
    Kind(
        "campfire",
        "fire and wind",
        ("campfire", "bonfire", "log fire"),
        "crackling",
        "events",
        None,
        4.0,
        ("orange", "red"),
        2,
    ),
    Kind(
        "wind",
        "fire and wind",
        ("tree in the wind", "windy tree", "gale"),
        "howling",
        "continuous",
        None,
        0.25,
        ("green", "bare"),
        2,
    ),
    Kind(
        "firework",
        "fire and wind",
        ("firework", "rocket", "firecracker"),
        "exploding",
        "events",
        None,
        0.5,
        ("golden", "violet"),
        2,
    ),
    # alarms
    Kind(
        "siren",
        "alarm",
        ("siren", "police light", "emergency beacon"),
        "wailing",
        "continuous",
        1800.0,
        0.3,
        ("blue", "red"),
        1,
    ),
    Kind(
        "beeper",
        "alarm",
        ("alarm clock", "digital alarm", "beeper"),
        "beeping",
        "events",
        3000.0,
        1.0,
        ("white", "black"),
        1,
    ),
)

KINDS: dict[str, Kind] = {kind.name: kind for kind in _KINDS}
"""All kinds by name, in a fixed order: the index of a kind is its class in the judge."""
