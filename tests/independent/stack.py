"""Section 15: what stands between two products of a stack."""

import numpy as np

from formats import DTYPES, round_to

_LEAST = 2.0 ** -60


def normalised(y):
    """Each column scaled by a power of two so that its largest magnitude lies in [1, 2)."""
    y = y.astype(np.float64)
    largest = np.abs(y).max(axis=0, initial=0.0)
    # largest = f * 2^e with f in [0.5, 1).
    _, e = np.frexp(largest)
    scaled = np.where(largest < _LEAST, 0.0, np.ldexp(y, 1 - e))
    return np.where(np.abs(scaled) < _LEAST, 0.0, scaled).astype(np.float32)


def step(feeds, rows, dtype):
    total = None
    for feed in feeds:
        term = normalised(feed)
        # Row i is made of row i mod m.
        term = np.tile(term, (rows // term.shape[0], 1))
        total = term if total is None else (total + term).astype(np.float32)
    return round_to(normalised(total), DTYPES[dtype])


class Stacks:
    """Outputs of the stack at hand, so that each product is made once."""

    def __init__(self):
        self.cases, self.outputs, self.inputs = None, [], []

    def _select(self, place):
        if self.cases is not place.cases:
            self.cases, self.outputs, self.inputs = place.cases, [], []

    def activations(self, case, first_input, product):
        """V of a case: `first_input()` is the stack's own, `product(case, v)` the Y of another of its cases."""
        place = case.stack
        self._select(place)
        if not self.inputs:
            self.inputs = [first_input(place.cases[0])]
        while len(self.outputs) < place.index:
            before = place.cases[len(self.outputs)]
            self.keep(before, product(before, self._made_of(before)))
        return self._made_of(case)

    def _made_of(self, case):
        place = case.stack
        in_block = self._in_block(place)
        start = place.index - in_block
        return step([self._feed(at, start) for at in place.feeds], case.k, case.dtype)

    def _in_block(self, place):
        count = len({case.layer["name"] for case in place.cases})
        return place.index % count

    def _feed(self, at, start):
        return self.inputs[-1] if at is None else self.outputs[start + at]

    def keep(self, case, y):
        place = case.stack
        self._select(place)
        if len(self.outputs) != place.index:
            return
        self.outputs.append(y)
        count = len({other.layer["name"] for other in place.cases})
        if len(self.outputs) % count == 0:
            start = len(self.outputs) - count
            made = step([self._feed(at, start) for at in place.next], place.width, case.dtype)
            self.inputs.append(made)
