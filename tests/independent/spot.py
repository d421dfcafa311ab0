"""Section 21: what a nonce draws, and how likely a draw misses something. Leaves and roots are in formats.py."""

import hashlib
from fractions import Fraction
from math import comb

PANELS = 64


def _rank(*parts):
    return hashlib.sha256("\n".join(parts).encode()).digest()


def cases(nonce, ids, count):
    """The drawn ones of these ids, in their order."""
    drawn = set(sorted(ids, key=lambda name: _rank(nonce, name))[:count])
    return [name for name in ids if name in drawn]


def panels(nonce, name, count):
    """Numbers of the drawn row panels of a case, ascending."""
    return sorted(sorted(range(PANELS), key=lambda p: _rank(nonce, name, "%d" % p))[:count])


def misses_panels(all_cases, drawn, count, share):
    """At most, of a share of all row panels; `count` are drawn of each drawn case. A Fraction."""
    if drawn < all_cases:
        return (1 - share) ** drawn
    if count >= PANELS:
        return Fraction(0)
    one = Fraction(1)
    for d in range(count):
        one *= max(Fraction(0), 1 - share * PANELS / (PANELS - d))
    return one ** drawn


def misses_cases(all_cases, drawn, wrong):
    """None of `wrong` cases is drawn. A Fraction."""
    return Fraction(comb(all_cases - wrong, drawn), comb(all_cases, drawn))
