"""Protobuf's text format as Caffe's .prototxt files have it: fields by name, of which none may stay unread."""

from __future__ import annotations

import re

from ..errors import UserError

LONGEST = 16 << 20  # characters
_DEPTH = 16  # messages in messages
_TOKEN = re.compile(
    r"(?P<space>\s+|#[^\n]*)|(?P<word>[A-Za-z_]\w*)|(?P<number>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?f?)"
    r"|(?P<text>\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*')|(?P<mark>[-{}<>:,;\[\]])"
)
_CLOSING = {"{": "}", "<": ">"}


class Message:
    """A message: values of each field in the order of the file; reading a field marks it as understood.

    `where` says in errors whose fields these are.
    """

    def __init__(self, where: str):
        self.where = where
        self.fields: dict[str, list[str | Message]] = {}
        self._read: set[str] = set()
        self._ignored: set[str] = set()

    def has(self, name: str) -> bool:
        return name in self.fields

    def messages(self, name: str) -> list[Message]:
        self._read.add(name)
        found = self.fields.get(name, [])
        return [value if isinstance(value, Message) else self._fail(name, value, "a message") for value in found]

    def message(self, name: str) -> Message:
        """The one message of that name, or an empty one."""
        return self._one(name, self.messages(name), Message(self.where))

    def texts(self, name: str) -> list[str]:
        self._read.add(name)
        return [value if isinstance(value, str) else self._fail(name, "a message", "a value") for value in
                self.fields.get(name, [])]  # fmt: skip

    def text(self, name: str, default: str = "") -> str:
        return self._one(name, self.texts(name), default)

    def integers(self, name: str) -> list[int]:
        found = self.texts(name)
        return [int(v) if re.fullmatch(r"[-+]?\d{1,18}", v) else self._fail(name, v, "an integer") for v in found]

    def integer(self, name: str, default: int) -> int:
        return self._one(name, self.integers(name), default)

    def numbers(self, name: str) -> list[float]:
        found = []
        for value in self.texts(name):
            if not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d{1,3})?f?", value):
                self._fail(name, value, "a number")
            found.append(float(value.rstrip("f")))
        return found

    def number(self, name: str, default: float) -> float:
        return self._one(name, self.numbers(name), default)

    def flag(self, name: str, default: bool) -> bool:
        value = self.text(name, "true" if default else "false")
        return value == "true" if value in ("true", "false") else self._fail(name, value, "true or false")

    def ignore(self, *names: str) -> None:
        """Marks fields that change no result as understood."""
        self._ignored.update(names)

    def check(self) -> None:
        """`UserError` for a field that nobody read, here or in a message that somebody did."""
        for name, values in self.fields.items():
            if name in self._ignored:
                continue
            if name not in self._read:
                raise UserError(f"{self.where}: the field {name:.60} is not supported")
            for value in values:
                if isinstance(value, Message):
                    value.check()

    def _one(self, name: str, values: list, default):
        if len(values) > 1:
            raise UserError(f"{self.where}: {len(values)} values of {name}, expected one")
        return values[0] if values else default

    def _fail(self, name: str, value: object, expected: str):
        raise UserError(f"{self.where}: its {name} is {str(value)[:60]!r}, expected {expected}")


def parse(text: str, where: str) -> Message:
    """The message of a whole file; `UserError`, which says `where` and the line, for a text that is no message."""
    if len(text) > LONGEST:
        raise UserError(f"{where} has {len(text)} characters, expected at most {LONGEST}")
    stack, ends = [Message(where)], [""]
    name, wanted, several = "", "name", False  # what is wanted: a name, what follows one, or a value
    place, line = 0, 1
    while place < len(text):
        found = _TOKEN.match(text, place)
        if not found:
            raise UserError(f"{where}, line {line}: {text[place : place + 20]!r} is no text of protobuf")
        place, token, kind = found.end(), found[0], found.lastgroup
        if kind == "text" and not token.isprintable():  # it may become part of an error's line
            raise UserError(f"{where}, line {line}: {token[:20]!r} holds a control character, expected none")
        line += token.count("\n")
        if kind == "space" or token in ",;" and wanted == "name":
            continue
        if wanted == "name" and kind == "word":
            name, wanted = token, "colon"
        elif wanted == "colon" and token == ":":
            wanted = "value"
        elif wanted in ("colon", "value") and token in _CLOSING and len(stack) < _DEPTH:
            inner = Message(f"{where}, line {line}")
            stack[-1].fields.setdefault(name, []).append(inner)
            stack.append(inner)
            ends.append(_CLOSING[token])
            wanted = "name"
        elif wanted == "value" and kind in ("word", "number", "text"):
            value = re.sub(r"\\(.)", r"\1", token[1:-1]) if kind == "text" else token
            stack[-1].fields.setdefault(name, []).append(value)
            wanted = "separator" if several else "name"
        elif wanted == "value" and token == "[" and not several:
            several = True
        elif wanted == "separator" and token in ",]":
            several = token == ","
            wanted = "value" if several else "name"
        elif wanted == "name" and token == ends[-1] and len(stack) > 1:
            stack.pop()
            ends.pop()
        else:
            raise UserError(f"{where}, line {line}: {token[:20]!r} where a {wanted} should be")
    if len(stack) > 1 or wanted != "name":
        raise UserError(f"{where} ends within a message")
    return stack[0]
