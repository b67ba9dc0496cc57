"""What a server refuses because it is too much: of one request, of one caller, or of all of them."""

from __future__ import annotations

from qmtl_worlds.contracts.errors import InvalidError, UnavailableError


class BodyTooLargeError(InvalidError):
    """A request body is over its limit."""

    code = "body-too-large"

    def __init__(self, *, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes.", limit=limit)


class RequestTooSlowError(InvalidError):
    """The body of a request did not come in time."""

    code = "request-too-slow"

    def __init__(self, *, seconds: float) -> None:
        super().__init__(f"The body did not come within {seconds:g} seconds.", seconds=seconds)


class OverloadedError(UnavailableError):
    """This process has more to do than it takes on."""

    code = "overloaded"

    def __init__(self, what: str, *, limit: int) -> None:
        super().__init__(f"This process serves at most {limit} {what} at a time; come back soon.", limit=limit)


class RateLimitedError(UnavailableError):
    """This caller asks more often than it may."""

    code = "rate-limited"

    def __init__(self, *, per_second: float) -> None:
        super().__init__(f"This caller may ask {per_second:g} times a second.", per_second=per_second)
