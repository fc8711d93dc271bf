"""Upper bounds of what a visitor of the page, or a client of the API, may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from ..pictures import MOST_PIXELS
from ..sampling.fields import Setting

# By name of the setting: values of numbers, characters of texts.
MOST: Mapping[str, float] = MappingProxyType(
    {
        "prompt": 300,  # most text towers read about that many
        "num_images_per_prompt": 8,
        "seed": 2**53 - 1,  # browsers hold no larger whole numbers exactly
        "guidance_scale": 30.0,
        "counts": 1024,
    }
)
FORM_BYTES = 2**16  # of an upload, besides its file


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Upper bounds, each included.

    most: of the settings that it names; number, text: of all others, values and characters.
    """

    most: Mapping[str, float] = field(default_factory=lambda: MOST)
    number: float = 10_000
    text: int = 2_000
    calls: int = 4_096  # network calls of a picture
    upload_bytes: int = 32 * 2**20  # a photograph of a telephone, 48 megapixels, has some 10 to 25 million
    upload_pixels: int = MOST_PIXELS  # width times height, known before a picture is unpacked
    logins_a_minute: int = 10  # of an address
    message_bytes: int = 2**20  # of a request that is no upload, or of a message
    bodies_bytes: int = 2**28  # of all requests on their way
    header_bytes: int = 2**14
    header_seconds: float = 10.0  # until a request's head has come
    body_seconds: float = 30.0  # until its body has, and a second more for each ``body_rate`` bytes
    body_rate: int = 2**18
    connections: int = 1_000  # open at once
    connections_each: int = 64  # of an address of another machine

    @property
    def body_bytes(self) -> int:
        """The size of an upload with all that is sent around its file."""
        return self.upload_bytes + FORM_BYTES

    def length_of(self, name: str, about: Setting) -> int:
        """Return the number of characters that may be typed for a setting."""
        return int(self.most.get(name, self.text)) if about.type is str else self.text

    def narrowed(self, name: str, about: Setting) -> Setting:
        """Return a setting as a stranger may give it: one value of those that may be repeated, and bounded numbers.

        A number without a lower bound is bounded by the same amount below.
        """
        one = replace(about, many=about.many and not about.repeated, repeated=False, check=None)
        if about.type not in (int, float):
            return one
        most = self.most.get(name, self.number)
        most = most if about.most is None else min(most, about.most)
        unbounded = about.least is None and about.above is None
        return replace(one, most=most, least=-most if unbounded else about.least)
