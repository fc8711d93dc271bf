"""Errors of the API, in OpenAI's shape: {"error": {"message", "type", "param", "code"}}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..errors import SettingError, brief, shortened

_LONGEST = 500  # characters of a message
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


class ApiError(ValueError):
    """A request that is refused: an HTTP status, and one line about a field or about the request as a whole.

    param: the field, as the request spelled it.  retry_after: seconds after which to come again.
    """

    def __init__(
        self, message: str, *, status: int = 400, param: str | None = None, code: str = "", retry_after: int = 0
    ):
        super().__init__(shortened(message, _LONGEST))
        self.status, self.param, self.code, self.retry_after = status, param, code, retry_after


def of_setting(error: SettingError, spell: Callable[[str], str] = str) -> ApiError:
    """Return the refusal of a setting, with names as ``spell`` writes them."""
    param = None if error.field is None else spell(error.field)
    return ApiError(error.told(spell), param=param, code="invalid_value")


def as_table(status: int, message: str, param: str | None = None, code: str = "") -> dict[str, Any]:
    """Return the body of an answer with an HTTP status."""
    kind, usual = _CODES.get(status, (INVALID if status < 500 else SERVER, "invalid_request"))
    return {"error": {"message": brief(message, _LONGEST), "type": kind, "param": param, "code": code or usual}}
