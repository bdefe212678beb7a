"""The conditions of `dsl.If`, evaluated as CEL does: typed, without executing text, and with errors that are errors.

kfp.local pastes values into Python source and takes any error for False, so a gate can be skipped in silence. This is
the subset of CEL that KFP's compiler writes; anything else is refused.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

TOKEN = re.compile(
    r"\s*(?:(?P<reference>inputs\.parameter_values\['(?P<name>[^']+)'\])"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<text>'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\")"
    r"|(?P<word>[A-Za-z_]+)"
    r"|(?P<sign>&&|\|\||==|!=|<=|>=|<|>|!|\(|\)))"
)
COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", '"': '"', "`": "`", "?": "?"}


UNKNOWN = object()
"""Stands for any value while only the form of a condition is checked."""


class BadCondition(ValueError):
    """A condition cannot be evaluated; the message quotes it."""


def holds(condition: str, parameters: Mapping[str, Any]) -> bool:
    """Return whether a condition is true for the parameters of its task.

    Raises:
        BadCondition: It does not parse, names an unknown parameter, or compares different types.
    """
    parser = _Parser(condition, _tokens(condition), parameters)
    value = parser.either()
    if parser.position != len(parser.tokens) or not isinstance(value, bool):
        raise BadCondition(f"condition {condition!r} is not a comparison")
    return value


def check(condition: str, names: Collection[str]) -> None:
    """Make sure that a condition parses and names only parameters of its task.

    Raises:
        BadCondition: It does not.
    """
    holds(condition, dict.fromkeys(names, UNKNOWN))


def _tokens(condition: str) -> list[tuple[str, str]]:
    found, position = [], 0
    while position < len(condition.rstrip()):
        match = TOKEN.match(condition, position)
        if match is None:
            raise BadCondition(f"condition {condition!r} does not parse from {condition[position:]!r} on")
        kind = str(match.lastgroup if match.lastgroup != "name" else "reference")
        found.append((kind, match["name"] if kind == "reference" else match[kind]))
        position = match.end()
    return found


class _Parser:
    """Recursive descent: either > both > negation > comparison > operand."""

    def __init__(self, text: str, tokens: list[tuple[str, str]], parameters: Mapping[str, Any]) -> None:
        self.text, self.tokens, self.parameters, self.position = text, tokens, parameters, 0

    def either(self) -> Any:
        value = self.both()
        while self._take("||"):
            value = self._truth(self.both()) or self._truth(value)
        return value

    def both(self) -> Any:
        value = self.negation()
        while self._take("&&"):
            value = self._truth(self.negation()) and self._truth(value)
        return value

    def negation(self) -> Any:
        if self._take("!"):
            return not self._truth(self.negation())
        return self._comparison()

    def _comparison(self) -> Any:
        left = self._operand()
        if self.position < len(self.tokens) and self.tokens[self.position][1] in COMPARE:
            sign = self._next()[1]
            return self._compare(left, sign, self._operand())
        return left

    def _operand(self) -> Any:
        kind, text = self._next()
        if kind == "sign" and text == "(":
            value = self.either()
            self._expect(")")
            return value
        if kind == "reference":
            if self.parameters.get(text) is None:
                raise BadCondition(f"condition {self.text!r} names {text!r}, which has no value")
            return self.parameters[text]
        if kind == "number":
            return float(text)
        if kind == "text":
            return _unescaped(text[1:-1], self.text)
        if text in ("true", "false"):
            return text == "true"
        return self._call(text)

    def _call(self, name: str) -> Any:
        self._expect("(")
        value = self.either()
        self._expect(")")
        if value is UNKNOWN and name in ("int", "double", "string"):
            return value
        if name in ("int", "double") and isinstance(value, int | float) and not isinstance(value, bool):
            return float(int(value)) if name == "int" else float(value)
        if name == "string" and isinstance(value, str):
            return value
        raise BadCondition(f"condition {self.text!r} uses {name}() on {value!r}")

    def _compare(self, left: Any, sign: str, right: Any) -> bool:
        if left is UNKNOWN or right is UNKNOWN:
            return True
        kinds = {_kind(left), _kind(right)}
        if len(kinds) != 1 or kinds - {bool, float, str}:
            raise BadCondition(f"condition {self.text!r} compares {left!r} with {right!r}: they are of different types")
        return COMPARE[sign](left, right)

    def _truth(self, value: Any) -> bool:
        if value is UNKNOWN:
            return True
        if not isinstance(value, bool):
            raise BadCondition(f"condition {self.text!r} uses {value!r} as true or false")
        return value

    def _take(self, sign: str) -> bool:
        if self.position < len(self.tokens) and self.tokens[self.position] == ("sign", sign):
            self.position += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._take(sign):
            raise BadCondition(f"condition {self.text!r} lacks {sign!r}")

    def _next(self) -> tuple[str, str]:
        if self.position == len(self.tokens):
            raise BadCondition(f"condition {self.text!r} ends too early")
        self.position += 1
        return self.tokens[self.position - 1]


def _kind(value: Any) -> type:
    if isinstance(value, bool):
        return bool
    return float if isinstance(value, int | float) else type(value)


def _unescaped(text: str, condition: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        if match[1] not in ESCAPES:
            raise BadCondition(f"condition {condition!r} has the unknown escape {match[0]!r}")
        return ESCAPES[match[1]]

    return re.sub(r"\\(.)", replaced, text)
