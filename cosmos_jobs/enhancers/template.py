"""Adds phrases to a prompt by rules: offline, deterministic, and no model.

NVIDIA advises to describe subject, setting, light, materials, camera and
motion. What the text says nothing about gets a neutral phrase; what it speaks
of, with whatever words, is left to it. So nothing is contradicted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cosmos_jobs.core.run import Scalar
from cosmos_jobs.enhancers.base import Answer, Request

NAME = "template"
VERSION = 1
"""The version of the rules below: another one makes other texts."""

LONG = 80
"""Words from which on a text is taken to be detailed already."""

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_END = re.compile(r"[.!?…][\"'”’)]*$")
_NEGATIONS = frozenset({"no", "not", "without", "never", "nor", "neither", "lacking", "free"})


def _words(*lines: str) -> frozenset[str]:
    """Return the entries of lines, divided by commas: words, and phrases of two or three."""
    return frozenset(each.strip() for line in lines for each in line.split(","))


_NIGHT = _words("night, midnight, nighttime, nocturnal, moonless, starry, stars, nightfall")
_WEATHER = _words(
    "overcast, cloud, cloudy, rain, raining, rainy, drizzle, fog, foggy, mist, misty, haze, hazy",
    "storm, stormy, thunderstorm, snow, snowing, snowy, snowfall, blizzard, smoke, smoky, smog",
)
_INDOOR = _words(
    "indoor, indoors, interior, inside, room, bedroom, kitchen, bathroom, office, warehouse",
    "factory, hall, hallway, corridor, workshop, garage, laboratory, lab, classroom, hospital",
    "shop, store, restaurant, museum, gym, studio, apartment, basement, church, theater",
)
# Where nothing of the usual may hold.
_ODD_PLACES = _words(
    "underwater, undersea, submarine, space, orbit, galaxy, nebula, cave, cavern, tunnel, mine",
    "microscope, microscopic, x, ray, infrared, thermal, eclipse, abyss, dream, dreamlike",
    "surreal, void, silhouette, fire, lava, explosion, volcano",
)
_STYLES = _words(
    "photorealistic, photoreal, photo, photograph, photographic, realistic, realism, lifelike",
    "cinematic, film, movie, documentary, footage, style, styled, stylized, stylised, cartoon",
    "anime, animation, animated, manga, comic, illustration, illustrated, drawing, drawn, sketch",
    "painting, painted, painterly, watercolor, watercolour, oil, pastel, ink, pencil, charcoal",
    "render, rendered, rendering, cgi, game, pixel, voxel, lego, clay, claymation, origami, paper",
    "abstract, surreal, impressionist, noir, vintage, retro, vhs, sepia, monochrome, grayscale",
    "greyscale, infrared, thermal, low poly, stop motion, black and white, cyberpunk, steampunk",
)


@dataclass(frozen=True, slots=True)
class _Phrase:
    """A sentence to add; only where the text has one of `when`, and never beside `unless`."""

    text: str
    when: Collection[str] = ()
    unless: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class _Aspect:
    """What a description speaks of; any of the `cues` says that the text does so already.

    Of the phrases the first that fits is added. Each has a cue of its aspect
    itself, so that it is added once only.
    """

    name: str
    cues: Collection[str]
    phrases: tuple[_Phrase, ...]


_LIGHT = _words(
    "light, lighting, lit, sunlight, sunlit, moonlight, moonlit, daylight, backlight, backlit",
    "highlight, spotlight, candlelight, firelight, twilight, starlight, floodlight, headlight",
    "streetlight, sun, sunny, sunshine, sunset, sunrise, sunbeam, moon, dawn, dusk, golden hour",
    "blue hour, golden, magic hour, noon, midday, morning, afternoon, evening, day, daytime, shade",
    "shaded, shadow, shadowy, shadowless, bright, brightness, dim, dark, darkness, gloomy, glow",
    "glowing, glare, neon, lamp, lantern, candle, bulb, led, fluorescent, flash, beam, lightning",
    "illuminated, illumination, luminous, radiant, ambient, silhouette, contrast, exposure",
)
_SETTING = _words(
    "background, backdrop, foreground, surroundings, surrounded, setting, scene, scenery, outdoor",
    "outdoors, landscape, horizon, sky, street, road, highway, lane, alley, avenue, crossing",
    "intersection, bridge, pier, harbor, harbour, port, dock, beach, coast, shore, sea, ocean",
    "lake, river, waterfall, mountain, hill, valley, canyon, desert, forest, wood, woods, jungle",
    "field, meadow, farm, garden, park, city, town, village, suburb, downtown, skyline, building",
    "house, home, plaza, square, market, station, airport, runway, parking, lot, yard, rooftop",
    "countryside, rural, urban, suburban, island, planet, mars, table, desk, shelf, plain, blank",
    "empty, isolated, minimal, minimalist",
)
_MATERIAL = _words(
    "texture, textured, material, surface, grain, grainy, smooth, rough, polished, glossy, matte",
    "shiny, gleaming, reflective, reflection, transparent, translucent, metal, metallic, steel",
    "iron, chrome, copper, brass, gold, silver, aluminum, aluminium, wood, wooden, oak, plank",
    "stone, brick, concrete, asphalt, marble, granite, tile, tiled, glass, plastic, rubber",
    "ceramic, porcelain, leather, fabric, cloth, cotton, silk, wool, velvet, fur, furry, skin",
    "paper, sand, mud, muddy, wet, dusty, rusty, rust, worn, weathered, cracked, paint, painted",
    "ice, icy, clay",
)
_CAMERA = _words(
    "camera, shot, angle, lens, view, viewed, viewpoint, perspective, pov, focus, focused",
    "unfocused, bokeh, blur, blurry, blurred, soft focus, depth of field, close up, closeup, macro",
    "wide, telephoto, fisheye, panorama, panoramic, aerial, drone, overhead, top down, bird's",
    "dashcam, dash cam, cctv, surveillance, handheld, tripod, gimbal, tracking, pan, panning, tilt",
    "zoom, zooming, dolly, crane, steadicam, eye level, framing, framed, frame, composition",
    "centered, isometric, orthographic, first person, third person, selfie, footage, filmed, shaky",
    "static, vhs, grainy, vintage, low resolution, pixelated",
)
_MOTION = _words(
    "motion, motionless, move, moves, moved, moving, movement, still, stillness, static, frozen",
    "freeze, stationary, slow, slowly, fast, quickly, rapid, rapidly, speed, speeding, time lapse",
    "timelapse, hyperlapse, stop motion, flicker, flickering, jitter, jittery, glitch, shaky",
    "walk, walks, walking, run, runs, running, drive, drives, driving, fly, flies, flying, ride",
    "rides, riding, roll, rolls, rolling, flow, flows, flowing, fall, falls, falling, drift",
    "drifts, drifting, sway, sways, swaying, spin, spins, spinning, turn, turns, turning, dance",
    "dances, dancing, jump, jumps, jumping, swim, swims, swimming, pour, pours, pouring, blow",
    "blows, blowing, wave, waves, waving, crash, crashing, rotate, rotates, rotating, pick, picks",
    "picking, place, places, placing, lift, lifts, lifting, grasp, grasps, grasping, push, pushes",
    "pushing, pull, pulls, pulling, sit, sits, sitting, stand, stands, standing, lie, lying",
    "sleep, sleeping, park, parked, parking",
)

ASPECTS: tuple[_Aspect, ...] = (
    _Aspect(
        "setting",
        _SETTING | _INDOOR | _ODD_PLACES,
        (_Phrase("The background is coherent and rich in detail."),),
    ),
    _Aspect(
        "light",
        _LIGHT | _ODD_PLACES,
        (
            _Phrase(
                "The lighting is that of the night, soft, with deep and clean shadows.",
                when=_NIGHT,
                unless=_WEATHER | _INDOOR,
            ),
            _Phrase(
                "The light is soft and diffuse, with faint shadows.",
                when=_WEATHER,
                unless=_INDOOR,
            ),
            _Phrase("The interior lighting is even, with soft shadows.", when=_INDOOR),
            _Phrase("The lighting is natural and even, with soft shadows."),
        ),
    ),
    _Aspect(
        "material",
        _MATERIAL,
        (_Phrase("Surfaces show the fine texture of their materials.", unless=_ODD_PLACES),),
    ),
    _Aspect(
        "camera",
        _CAMERA,
        (_Phrase("The focus is sharp, with a clear sense of depth and steady exposure."),),
    ),
    _Aspect(
        "motion",
        _MOTION,
        (_Phrase("All movement is smooth and physically plausible from frame to frame."),),
    ),
    _Aspect(
        "style",
        _STYLES,
        (_Phrase("The picture is photorealistic, with natural colors.", unless=_ODD_PLACES),),
    ),
)
"""What a full description speaks of, in the order in which it is added."""

_DRAWN = _STYLES - _words(
    "photorealistic, photoreal, photo, photograph, photographic, realistic, realism, lifelike",
    "cinematic, film, movie, documentary, footage",
)
# What holds for photographs does not for drawings: a sketch has no focus.
_PHOTOGRAPHIC = frozenset({"material", "camera"})

_ENGLISH = _words(
    "a, an, the, of, in, on, at, with, and, under, over, by, from, to, into, near, through, is",
    "are, its, his, her, their, while, as, during, above, below, behind, between, along, for",
)
_FOREIGN = _words(
    "der, das, und, ein, eine, einer, einem, mit, im, auf, bei, von, zum, zur, ist, unter, über",
    "le, la, les, un, une, des, du, et, dans, avec, sur, au, aux, est, sous, el, los, las, una",
    "unos, del, y, con, en, por, para, sobre, il, lo, gli, di, della, nel, nella, e, o, os, uma",
    "no centro, com, em, na, da, dos, het, een, van, met, op, och, med, på, jest, na, w, z",
)


class TemplateEnhancer:
    """Adds phrases by rules; no model."""

    name = NAME
    is_free = True

    @property
    def settings(self) -> Mapping[str, Scalar]:
        """The version of the rules."""
        return {"version": VERSION}

    def enhance(self, requests: Sequence[Request]) -> Iterator[tuple[str, Answer]]:
        """Yield each text with its additions, or as it was and why."""
        yield from ((each.id, enhanced(each.text)) for each in requests)


def enhanced(text: str) -> Answer:
    """Return a text with a phrase for each aspect that it leaves out.

    All of the text stays, in front. One that is not English, long (LONG words)
    or lacks nothing is returned as it is, with the reason.
    """
    text = text.rstrip()
    said = [word.lower().replace("’", "'") for word in _WORD.findall(text)]
    if not _is_english(text, said):
        return Answer(text, "it does not look like English, and the rules know no other language")
    if len(said) >= LONG:
        return Answer(text, f"it is detailed already: {len(said)} words")
    added = _additions(said)
    if not added:
        return Answer(text, "it speaks of every aspect already")
    end = "" if _END.search(text) else "."
    return Answer(f"{text.rstrip(',;:')}{end} {' '.join(added)}")


def _additions(said: Sequence[str]) -> list[str]:
    every = range(len(said))
    denied = [place for place in every if _NEGATIONS & set(said[max(0, place - 3) : place])]
    heard = _terms(said)
    # What is said and denied, too, is no ground to build on.
    meant = _terms(said, [each for each in every if each not in denied]) - _terms(said, denied)
    left_out = _PHOTOGRAPHIC if heard & _DRAWN else frozenset()
    return [
        phrase
        for aspect in ASPECTS
        if aspect.name not in left_out and not heard & frozenset(aspect.cues)
        if (phrase := _fitting(aspect, heard, meant))
    ]


def _fitting(aspect: _Aspect, heard: Collection[str], meant: Collection[str]) -> str:
    for phrase in aspect.phrases:
        # A condition that is denied, as in `no rain`, is none; but it is no reason either.
        if phrase.when and not any(each in meant for each in phrase.when):
            continue
        return "" if any(each in heard for each in phrase.unless) else phrase.text
    return ""


def _terms(said: Sequence[str], places: Iterable[int] | None = None) -> frozenset[str]:
    """Return the words and phrases of two and three that begin at `places`, and their singulars."""
    found: set[str] = set()
    for place in range(len(said)) if places is None else places:
        for length in (1, 2, 3):
            term = " ".join(said[place : place + length])
            found |= {
                term,
                term.removesuffix("'s"),
                term.removesuffix("s"),
                term.removesuffix("es"),
            }
    return frozenset(found)


def _is_english(text: str, said: Sequence[str]) -> bool:
    """Say whether a text may be English: Latin letters, and no more small words of others."""
    # The last Latin letters with marks end before U+0250.
    if not said or any(char.isalpha() and ord(char) >= 0x250 for char in text):
        return False
    english = sum(word in _ENGLISH for word in said)
    marked = sum(not word.isascii() and "'" not in word for word in said)
    return sum(word in _FOREIGN for word in said) + marked <= max(english, marked == 1)
