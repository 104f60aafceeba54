"""Hours of the week in a time zone, as a setting writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, available_timezones

DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
HOURS = re.compile(r"(\w{3})(?:-(\w{3}))? (\d\d:\d\d)-(\d\d:\d\d) (\S+)")


@dataclass(frozen=True)
class Hours:
    text: str
    days: frozenset[int]
    start: time
    end: time
    zone: ZoneInfo

    def until(self, now: datetime) -> datetime | None:
        """When they end, if `now` is inside."""
        local = now.astimezone(self.zone)
        if local.weekday() not in self.days or not self.start <= local.time() < self.end:
            return None
        return datetime.combine(local.date(), self.end, self.zone)


def parse_hours(text: str) -> list[Hours]:
    """`Mon-Fri 08:00-14:00 Europe/Berlin`, several separated by commas. Raises `ValueError`."""
    return [_parse(part.strip()) for part in text.split(",") if part.strip()]


def _parse(text: str) -> Hours:
    found = HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not like 'Mon-Fri 08:00-14:00 Europe/Berlin'")
    first, last, start, end, zone = found.groups()
    for day in (first, last or first):
        if day not in DAYS:
            raise ValueError(f"{day!r} is none of {', '.join(DAYS)}")
    if zone not in available_timezones():
        raise ValueError(f"{zone!r} is no time zone of the IANA list")
    begins, ends = time.fromisoformat(start), time.fromisoformat(end)
    if begins >= ends:
        raise ValueError(f"{start}-{end} must begin before it ends; write a night as two")
    begin, count = DAYS.index(first), (DAYS.index(last or first) - DAYS.index(first)) % 7 + 1
    return Hours(text, frozenset((begin + n) % 7 for n in range(count)), begins, ends, ZoneInfo(zone))
