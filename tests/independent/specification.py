"""Tables of VERIFY.md, read from the document itself: what is implemented here is what stands there."""

import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "VERIFY.md")


def tables():
    """Every table of the document as rows of cells, in order; the first row is the heading."""
    found, rows = [], []
    with open(PATH, encoding="utf-8") as f:
        for line in list(f) + [""]:
            if line.startswith("|"):
                cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
                if not all(re.fullmatch(r":?-+:?", cell) for cell in cells):
                    rows.append(cells)
            elif rows:
                found.append(rows)
                rows = []
    return found


def table(*heading):
    """Rows below the heading that begins with these cells, of the one table that has it."""
    found = [rows[1:] for rows in tables() if rows[0][:len(heading)] == list(heading)]
    if len(found) != 1:
        raise ValueError("VERIFY.md has %d tables headed %r" % (len(found), heading))
    return found[0]


def tensor_cores():
    """{architecture: F}, {architecture: {dtype: L}}, {architecture: the least E, where there is one}."""
    big_f, length, floor = {}, {}, {}
    for names, f, *lengths, least in table("architecture", "F", "L f16", "L bf16", "L tf32", "least E"):
        for name in names.split(", "):
            big_f[name] = int(f)
            length[name] = {dtype: int(l) for dtype, l in zip(("f16", "bf16", "f32"), lengths) if l}
            if least:
                floor[name] = int(least)
    return big_f, length, floor
