"""Requests for pictures: fields of OpenAI's images API, and the settings of ``SamplingSettings`` beside them.

Which settings there are, their types, bounds and help come from the dataclass; OpenAI's own fields stand here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import ApiError, SettingError, brief, did_you_mean, shown
from ..sampling.fields import Setting
from ..sampling.registry import STRATEGIES
from ..sampling.settings import PICTURES, SamplingSettings, all_settings
from ..user_files import parse_json
from .limits import Limits
from .refusals import of_setting

COUNT = "num_images_per_prompt"  # our name of OpenAI's n
FORMATS = ("b64_json", "url")
# OpenAI's fields of which this server has one way: the values that mean it.
FIXED: Mapping[str, tuple[Any, ...]] = {
    "background": ("auto", "opaque"),
    "moderation": ("auto", "low"),
    "output_format": ("png",),
    "quality": ("auto", "standard"),
    "stream": (False,),
}
_NOT_HERE = {
    "image": "it is a file of /v1/images/edits",
    "mask_image": "the mask is a file, mask, of /v1/images/edits",
    "strength": "it goes with an image, at /v1/images/edits",
    "outpaint": "it goes with an image, at /v1/images/edits",
    "return_trajectory": "animations are made by the command line",
}


@dataclass(frozen=True)
class Model:
    """The model that a request has to fit: its name and the side of its pictures in pixels."""

    name: str
    size: int


@dataclass(frozen=True)
class Asked:
    """The pictures that a request asks for.

    fields: of SamplingSettings, flat.  form: one of FORMATS.  names: of settings that the request spelled otherwise.
    warnings: lines about settings that change nothing.
    """

    fields: dict[str, Any]
    form: str = FORMATS[0]
    names: Mapping[str, str] | None = None
    warnings: tuple[str, ...] = ()

    def spell(self, field: str) -> str:
        """Return a setting's name as the request spelled it."""
        return (self.names or {}).get(field, field)

    def settings(self) -> SamplingSettings:
        """Return the settings.  Raises ApiError for a value that is not allowed."""
        try:
            return SamplingSettings.of(**self.fields, output_type="uint8")
        except SettingError as error:
            raise of_setting(error, self.spell) from error


def inputs(limits: Limits, *, edits: bool) -> dict[str, Setting]:
    """Return the settings that a request may give, by name, with their bounds; pictures are files beside them."""
    known = {name: about for name, about in all_settings().items() if about.type is not None}
    left_out = {*PICTURES, "return_trajectory"} | (set() if edits else {"strength", "outpaint"})
    found = {name: _bounded(name, about, limits) for name, about in known.items() if name not in left_out}
    found["strategy"] = Setting(
        type=str, choices=tuple(STRATEGIES), default_help="the model's", help="Order and number of tokens of each call."
    )
    found["seed"] = replace(found["seed"], many=True, repeated=True)  # or one a picture
    sizes = ", ".join(map(str, limits.batch_sizes))
    words = f"Size of the batch in which each picture is drawn, filled up if need be: {sizes}."
    found["batch_size"] = replace(found["batch_size"], help=words, default_help=str(limits.max_batch))
    return found


def table_of(body: bytes) -> dict[str, Any]:
    """Return the fields of a JSON body.  Raises ApiError for any other."""
    try:
        table = parse_json(body.decode("utf-8"), "the body")
    except UnicodeDecodeError as error:
        raise ApiError("the body is no JSON: it is not in UTF-8") from error
    except ValueError as error:
        raise ApiError(str(error)) from error
    if not isinstance(table, dict):
        raise ApiError(f"the body is {shown(table)}; it must be an object, with a field for each setting")
    return table


def table_of_form(form: Mapping[str, str], known: Mapping[str, Setting]) -> dict[str, Any]:
    """Return the fields of a form, whose values are texts, as the values that they mean."""
    return {name: _of_text(known.get(COUNT if name == "n" else name), text) for name, text in form.items()}


def read(table: Mapping[str, Any], model: Model, limits: Limits, *, edits: bool = False) -> Asked:
    """Return what a table of fields asks for.

    Raises ApiError, which names the field as the table does, for one that is unknown, not allowed, or too large.
    """
    known, given = inputs(limits, edits=edits), {name: value for name, value in table.items() if value is not None}
    form = given.pop("response_format", FORMATS[0])
    if form not in FORMATS:
        raise _refused("response_format", form, f"one of {', '.join(FORMATS)}")
    _check_own(given, model)
    names = {}
    if "n" in given:
        if COUNT in given:
            raise ApiError(f"n and {COUNT} are both given; give one", param="n", code="invalid_value")
        given[COUNT], names[COUNT] = given.pop("n"), "n"
    for name in given:
        if name not in known:
            raise _unknown(name, [*known, "n", "model", "size", "response_format", "user", *FIXED])
    asked = Asked({}, form, names)
    try:
        for name, value in given.items():
            asked.fields[name] = _checked(name, known[name], value, limits)
    except SettingError as error:
        raise of_setting(error, asked.spell) from error
    _check_size(asked, limits)
    return asked


def _check_own(given: dict[str, Any], model: Model) -> None:
    """Take OpenAI's fields that change nothing here out of a table.  Raises ApiError for a value that would."""
    named = given.pop("model", model.name)
    if named != model.name:
        told = f"model is {shown(named)}; this server has {model.name} alone"
        raise ApiError(told, status=404, param="model", code="model_not_found")
    size, own = given.pop("size", "auto"), f"{model.size}x{model.size}"
    if size not in ("auto", own):
        raise _refused("size", size, f"{own}, the size of this model's pictures, or auto")
    user = given.pop("user", "")
    if not isinstance(user, str):
        raise _refused("user", user, "a text")
    for name, allowed in FIXED.items():
        value = given.pop(name, allowed[0])
        if not any(value is one or isinstance(one, str) and value == one for one in allowed):
            raise _refused(name, value, f"one of {', '.join(json.dumps(one) for one in allowed)}")


def _checked(name: str, about: Setting, value: Any, limits: Limits) -> Any:
    """Return a value of a setting that is bounded in number and size.  Raises SettingError."""
    several = isinstance(value, list)
    if several and (not about.many or not value):
        raise SettingError(f"{{{name}}} is {{value!r}}; it must be {{allowed}}", value=value, allowed=about.allowed)
    values = value if several else [value]
    if len(values) > limits.items:
        raise SettingError(
            f"{{{name}}} has {{value:,}} values; give at most {{most}}", value=len(values), most=limits.items
        )
    one = replace(about, many=False, count=None, repeated=False, check=None)
    for item in values:
        if isinstance(item, str) and len(item) > limits.length_of(name, about):
            told = f"{{{name}}} has {{value:,}} characters; give at most {{most}}"
            raise SettingError(told, value=len(item), most=limits.length_of(name, about))
        one.checked(name, item)
    if name == "batch_size" and value not in limits.batch_sizes:
        allowed = f"one of {', '.join(map(str, limits.batch_sizes))}"
        raise SettingError("{batch_size} is {value}; it must be {allowed}", value=value, allowed=allowed)
    return value


def _check_size(asked: Asked, limits: Limits) -> None:
    """Raise ApiError for more pictures than a request may ask for."""
    subjects = asked.fields.get("prompt", asked.fields.get("class_labels"))
    prompts = len(subjects) if isinstance(subjects, list) else 1
    if (count := prompts * asked.fields.get(COUNT, 1)) > limits.pictures:
        spelled = asked.spell(COUNT)
        told = f"the request asks for {count} pictures, by {spelled} and prompts; at most {limits.pictures} are drawn"
        raise ApiError(told, param=spelled, code="invalid_value")


def _bounded(name: str, about: Setting, limits: Limits) -> Setting:
    """Return a setting with bounds; it may still be repeated."""
    return replace(limits.narrowed(name, about), many=about.many, count=about.count, repeated=about.repeated)


def _unknown(name: str, known: list[str]) -> ApiError:
    if name in _NOT_HERE:
        return ApiError(f"{name} is not taken here; {_NOT_HERE[name]}", param=name, code="unknown_parameter")
    told = f"there is no field {shown(name)}{did_you_mean(name, known)}"
    return ApiError(told, param=brief(name, 100), code="unknown_parameter")


def _refused(name: str, value: Any, allowed: str) -> ApiError:
    return ApiError(f"{name} is {shown(value)}; it must be {allowed}", param=name, code="invalid_value")


def _of_text(about: Setting | None, text: str) -> Any:
    """Return the value that a text of a form means; the text itself, which is then refused, if it means none."""
    if about is None or about.type is None:
        return {"true": True, "false": False}.get(text, text)
    if about.type is str:
        return text
    if about.type is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    try:
        numbers = [about.type(part) for part in text.split(",")]
    except ValueError:
        return text
    return numbers if len(numbers) > 1 or about.many and not about.repeated else numbers[0]
