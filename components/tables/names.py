"""Names of columns that say that a column identifies its rows, however they are spelled."""

from __future__ import annotations

import re

_LAST = """
id ids uuid guid index idx key pk no nr num number nummer numero ref code serial rownames rowname rownumber rowid rownum
unnamed obs observation record case uid pid
"""
_WORDS = frozenset(_LAST.split())
"""Last words of such names. They count for whole numbers only, and only if no value occurs twice."""
_OWNERS = (
    "user|customer|cust|client|patient|person|people|order|item|product|prod|account|acct|transaction|trans|txn|session|"
    "device|employee|emp|student|member|subject|subj|case|record|row|obs|sample|loan|house|store|shop|event|visit|tweet|"
    "post|doc|document|ticket|passenger|object|obj|node|movie|song|track|player|team|game|match|school|hospital|property|"
    "listing|vehicle|car|trip|ride|booking|invoice|policy|claim|lead|message|msg|unique|uniq|p|u|r|s|t|c"
)
_TOGETHER = re.compile(rf"(?:{_OWNERS})(?:id|no|nr|num|number|key|code)s?")
_PARTS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_]+")


def is_identifier(name: str) -> bool:
    """Return whether a name says that its column identifies rows: `ID`, `CustomerID`, `USERID`, `Unnamed: 0`, none."""
    parts = [part.casefold() for part in _PARTS.findall(name)]
    if not parts:
        return True  # no name at all, `#`, `_`: what programs write for an index
    whole = "".join(parts)
    return parts[-1] in _WORDS or parts[0] == "unnamed" or _TOGETHER.fullmatch(whole) is not None
