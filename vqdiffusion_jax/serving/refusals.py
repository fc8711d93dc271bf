"""Errors of the API, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import LONGEST_REFUSAL, ApiError, SettingError, brief

INVALID, SERVER, BUSY = "invalid_request_error", "server_error", "rate_limit_error"
_CODES = {  # status: type and code
    401: (INVALID, "invalid_api_key"),
    403: (INVALID, "forbidden"),
    404: (INVALID, "not_found"),
    405: (INVALID, "method_not_allowed"),
    413: (INVALID, "request_too_large"),
    429: (BUSY, "rate_limit_exceeded"),
    500: (SERVER, "server_error"),
    503: (SERVER, "unavailable"),
}


def of_setting(error: SettingError, spell: Callable[[str], str] = str) -> ApiError:
    """Return the refusal of a setting, with names as ``spell`` writes them."""
    param = None if error.field is None else spell(error.field)
    return ApiError(error.told(spell), param=param, code="invalid_value")


def as_table(status: int, message: str, param: str | None = None, code: str = "") -> dict[str, Any]:
    """Return the body of an answer with an HTTP status."""
    kind, usual = _CODES.get(status, (INVALID if status < 500 else SERVER, "invalid_request"))
    return {"error": {"message": brief(message, LONGEST_REFUSAL), "type": kind, "param": param, "code": code or usual}}
