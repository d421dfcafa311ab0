#!/usr/bin/env python3
"""Lays committed records out with one case a line, so that a change to a case is a changed line.

    python3 tests/records/case_a_line.py FILE...           rewrites the files
    python3 tests/records/case_a_line.py --check FILE...   says which are laid out otherwise, and exits with 1

Each field of the record has a line of its own, and so has each element of a field that is an array of objects. Nothing
but white space between tokens is changed: keys keep their order, and numbers and strings their text.
"""

import json
import re
import sys

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def lay_out(text):
    lines, line, depth, of_objects = [], "", 0, False
    tokens = TOKEN.findall(text)
    for token, following in zip(tokens, tokens[1:] + [""]):
        if token in "}]":
            depth -= 1
            if depth == 0 or (depth == 1 and of_objects):
                lines.append(line)
                line = " " * depth
                of_objects = False
        line += token
        if token in "{[":
            depth += 1
            of_objects |= depth == 2 and token == "[" and following == "{"
        if (depth == 1 and token in "{,") or (depth == 2 and of_objects and token in "[,"):
            lines.append(line)
            line = " " * depth
    return "\n".join(lines + [line]) + "\n"


def main():
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    files = arguments[check:]
    if not files:
        sys.exit(__doc__)
    others = 0
    for name in files:
        with open(name, encoding="utf-8", newline="") as file:
            old = file.read()
        new = lay_out(old)
        # Numbers are compared as they are written, not by what they round to.
        texts = {"parse_float": str, "parse_int": str}
        if json.loads(old, **texts) != json.loads(new, **texts) or TOKEN.findall(old) != TOKEN.findall(new):
            sys.exit(f"{name}: would have been changed")
        if old == new:
            continue
        others += 1
        if check:
            print(f"{name}: not one case a line; `python3 {sys.argv[0]} {name}` lays it out")
        else:
            with open(name, "w", encoding="utf-8", newline="") as file:
                file.write(new)
    sys.exit(1 if check and others else 0)


main()
