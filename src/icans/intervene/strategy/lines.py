"""Lines of a TOML file on which tables and the entries of their lists stand, so that a refusal can name them."""

from __future__ import annotations

import re

_HEADER = re.compile(r"^\s*\[+\s*([^\]]+?)\s*\]+")
_KEY = re.compile(r"^\s*([A-Za-z0-9_-]+)\s*=")


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Line (from 1) of every table ``(name,)``, key ``(name, key)`` and entry of a list ``(name, key, "1")``.

    Both ways of writing lists are read: ``[[name.rules]]`` and ``rules = [{...}, {...}]``. Only the first level of a
    list is numbered.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        line = lines[number]
        header, key = _HEADER.match(line), _KEY.match(line)
        if header and not key:
            table = _named(found, header.group(1), line.lstrip().startswith("[["), number + 1)
        elif key:
            path = (*table, key.group(1))
            found.setdefault(path, number + 1)
            number = _value(found, path, lines, number, line.index("=") + 1)
        number += 1
    return found


def _named(found: dict[tuple[str, ...], int], name: str, listed: bool, line: int) -> tuple[str, ...]:
    parts = tuple(p.strip().strip("\"'") for p in name.split("."))
    if listed:
        count = 1 + sum(1 for path in found if path[:-1] == parts and path[-1].isdigit())
        parts = (*parts, str(count))
    found.setdefault(parts, line)
    return parts


def _value(found: dict[tuple[str, ...], int], path: tuple[str, ...], lines: list[str], number: int, at: int) -> int:
    """Follow a value to its end, number what opens at the first level of a list; returns the line where it ends."""
    depth, entries, quote = 0, 0, ""
    while True:
        text = lines[number]
        while at < len(text):
            mark = text[at]
            if quote:
                if mark == "\\" and quote == '"':
                    at += 1
                elif mark == quote:
                    quote = ""
            elif mark in "\"'":
                quote = mark
            elif mark == "#":
                break
            elif mark in "[{":
                depth += 1
                if mark == "{" and depth == 2:
                    entries += 1
                    found[(*path, str(entries))] = number + 1
            elif mark in "]}":
                depth -= 1
            at += 1
        if depth <= 0 or number + 1 >= len(lines):
            return number
        number, at, quote = number + 1, 0, ""
