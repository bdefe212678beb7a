"""When a schedule starts a run: a cron expression or an interval, checked here, because the server checks them late.

KFP reads cron expressions with a leading field of seconds. The usual five fields would be taken for seconds to months,
so that "0 3 * * 1" (Mondays at three) would mean every hour of January; they get their field of seconds here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from components.errors import InputError

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("second", 0, 59, ()),
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 6, DAYS),
)
WORDS = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
UNITS = {"m": 60, "h": 3600, "d": 86400}
SHORTEST_SECONDS = 60
TERM = re.compile(r"(?:[*?]|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\d+))?")


@dataclass(frozen=True)
class Trigger:
    """A cron expression as KFP reads it, with seconds first; or a number of seconds."""

    cron: str = ""
    seconds: int = 0

    def __str__(self) -> str:
        """What a person reads."""
        return f"cron {self.cron}" if self.cron else f"every {_spoken(self.seconds)}"

    def message(self) -> Any:
        """Return the API's form."""
        import kfp_server_api  # type: ignore[import-untyped]

        if self.cron:
            return kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron=self.cron))
        periodic = kfp_server_api.V2beta1PeriodicSchedule(interval_second=str(self.seconds))
        return kfp_server_api.V2beta1Trigger(periodic_schedule=periodic)

    @classmethod
    def of(cls, message: Any) -> Trigger:
        """Return the trigger of the API's form."""
        if message is not None and message.cron_schedule is not None:
            return cls(cron=message.cron_schedule.cron or "")
        if message is not None and message.periodic_schedule is not None:
            return cls(seconds=int(message.periodic_schedule.interval_second or 0))
        return cls()


def cron(text: str) -> Trigger:
    """Return the trigger of a cron expression: five fields, six with seconds first, or a word such as @daily.

    Raises:
        InputError: It is none of them.
    """
    if text in WORDS:
        return Trigger(cron=text)
    fields = text.lower().split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != len(FIELDS):
        raise InputError(
            f"cron expression {text!r} has {len(fields)} fields: expected minute, hour, day of month, month and day of "
            "week, such as '0 3 * * 1' (Mondays at three), or @daily"
        )
    for value, (name, low, high, words) in zip(fields, FIELDS, strict=True):
        for term in value.split(","):
            if not _is_term(term, low, high, words):
                raise InputError(f"cron expression {text!r}: {name} {value!r} is not between {low} and {high}")
    return Trigger(cron=" ".join(fields))


def every(text: str) -> Trigger:
    """Return the trigger of an interval such as 30m, 6h or 1d.

    Raises:
        InputError: It is none, or shorter than a minute.
    """
    found = re.fullmatch(r"(\d{1,6})([mhd])", text.strip())
    if not found or int(found[1]) * UNITS[found[2]] < SHORTEST_SECONDS:
        raise InputError(f"interval {text!r}: expected a number of minutes, hours or days, such as 30m, 6h or 1d")
    return Trigger(seconds=int(found[1]) * UNITS[found[2]])


def _is_term(term: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    found = TERM.fullmatch(term)
    if not found or found["step"] == "0":
        return False
    bounds = [_number(text, low, words) for text in (found["first"], found["last"]) if text]
    return all(low <= bound <= high for bound in bounds) and bounds == sorted(bounds)


def _number(text: str, low: int, words: tuple[str, ...]) -> int:
    return words.index(text) + low if text in words else int(text) if text.isdecimal() else -1


def _spoken(seconds: int) -> str:
    for unit in ("d", "h", "m"):
        if seconds and seconds % UNITS[unit] == 0:
            return f"{seconds // UNITS[unit]}{unit}"
    return f"{seconds} s"
