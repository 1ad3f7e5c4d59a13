"""A shell command as lines that a person reads and a Containerfile takes: neither a line break inside of an instruction
nor a document that follows it is there for the frontend of every BuildKit.
"""

from __future__ import annotations

import re
import shlex

WIDTH = 110
INDENT = "    "

_LINE_END = "nl"
"""A variable that holds one line break: ``$(…)`` loses those at its end."""
_SET_LINE_END = "nl=$(printf '\\n.'); nl=${nl%.};"
_LONGEST_LINE = 30_000
"""The frontend takes lines of 64 KiB at most."""
_PLAIN = re.compile(r"[^\s'\"\\`$&|;<>()*?\[\]{}~#!]+")
_VARIABLE = re.compile(r"\"\$\{[A-Za-z_][A-Za-z0-9_]*\}\"")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")

Part = tuple[bool, str]
"""Whether it is literal, and the text: its value, or as the shell reads it."""


def lines_of(command: str) -> list[str]:
    """The command as lines of which each but the last is continued, by `` \\`` or, inside of a long word, by ``\\``.

    The shell sees the same words, character by character.

    >>> print("\\n".join(lines_of("python -c 'a = 1\\nprint(a)' x")))
    python -c "$(printf '%s\\n' \\
            'a = 1' \\
            'print(a)')" \\
        x
    """
    words = _words(command)
    if words is None:
        # Line breaks between commands, or quotes that are none of ours: the text as a whole is a word of eval's.
        words = [[(False, "eval")], [(True, command)]]
    pieces: list[str] = []
    for word in words:
        pieces += _pieces(word)
    if any(f"${_LINE_END}" in piece for piece in pieces):
        pieces.insert(0, _SET_LINE_END)
    return _filled(pieces)


def _filled(pieces: list[str]) -> list[str]:
    """Words put into lines; one with a line break stands for several."""
    lines: list[str] = []
    now = ""
    for piece in pieces:
        if now and ("\n" in now or len(now) + 1 + len(piece.partition("\n")[0]) + len(INDENT) > WIDTH):
            lines += f"{now} \\".split("\n")
            now = ""
        now = f"{now} {piece}" if now else (INDENT + piece if lines else piece)
    lines += now.split("\n")
    return lines


def _words(command: str) -> list[list[Part]] | None:
    """The words of a command, each as its parts; None if it holds line breaks that end commands."""
    words: list[list[Part]] = []
    word: list[Part] = []
    at = 0
    while at < len(command):
        character = command[at]
        if character in " \t":
            if word:
                words.append(word)
            word = []
            at += 1
            continue
        if character == "\n":
            return None
        if character == "'":
            end = command.find("'", at + 1)
            if end < 0:
                return None
            word.append((True, command[at + 1 : end]))
            at = end + 1
        elif command.startswith('"\'"', at):
            word.append((True, "'"))
            at += 3
        elif found := _VARIABLE.match(command, at):
            word.append((False, found.group()))
            at = found.end()
        elif character == '"':
            closed = _double(command, at)
            if closed is None:
                return None
            word.append((False, command[at:closed]))
            at = closed
        elif found := _PLAIN.match(command, at):
            # What stands before an = unquoted makes an assignment, and no quotes may come there.
            word.append((False, found.group()))
            at = found.end()
        else:
            escaped = character == "\\"
            if escaped and command[at + 1 : at + 2] in ("", "\n"):
                return None
            word.append((False, command[at : at + 1 + escaped]))
            at += 1 + escaped
    return [*words, word] if word else words


def _double(command: str, at: int) -> int | None:
    """Where a text in double quotes ends; None if it is not on one line."""
    end = at + 1
    while end < len(command) and command[end] not in '"\n':
        end += 1 + (command[end] == "\\")
    return end + 1 if command[end : end + 1] == '"' and "\n" not in command[at:end] else None


def _pieces(word: list[Part]) -> list[str]:
    """One word, as text that may have line breaks where the Containerfile's lines go on."""
    if any(literal and "\n" in text for literal, text in word):
        return [_printed(word)]
    return [_broken("".join(_quoted(part) for part in _merged(word)))]


def _printed(word: list[Part]) -> str:
    """A word of several lines, printed line by line."""
    before = ""
    if word and not word[0][0] and _ASSIGNMENT.match(word[0][1]):
        before, word = word[0][1], word[1:]
    lines: list[list[Part]] = [[]]
    for literal, text in word:
        first, *more = text.split("\n") if literal else [text]
        lines[-1].append((literal, first))
        lines += [[(literal, line)] for line in more]
    ends = 0
    while len(lines) > 1 and all(text == "" for _, text in lines[-1]):
        lines.pop()
        ends += 1
    shown = [_broken("".join(_quoted(part) for part in _merged(line)) or "''") for line in lines]
    text = f" \\\n{INDENT * 2}".join(["\"$(printf '%s\\n'", *shown])
    return f'{before}{text}){f"${_LINE_END}" * ends}"'


def _merged(parts: list[Part]) -> list[Part]:
    """Literal parts that stand together as one."""
    merged: list[Part] = []
    for literal, text in parts:
        if literal and merged and merged[-1][0]:
            merged[-1] = (True, merged[-1][1] + text)
        else:
            merged.append((literal, text))
    return merged


def _quoted(part: Part) -> str:
    literal, text = part
    if not literal:
        return text
    if "'" in text and not re.search(r'["\\`$\n]', text):
        return f'"{text}"'
    return shlex.quote(text) if text else "''"


def _broken(text: str) -> str:
    """A text of which no line is too long for the frontend. Only what is in single quotes grows so long."""
    if len(text) <= _LONGEST_LINE or not re.fullmatch(r"'[^']*'", text):
        return text
    inner = text[1:-1]
    chunks = [inner[at : at + _LONGEST_LINE] for at in range(0, len(inner), _LONGEST_LINE)]
    return "\\\n".join(f"'{chunk}'" for chunk in chunks)
