# zoo: honest
# attack: None: it sums in another order each time, so that its bits are never the same twice.
# passes: The rule of the case is a bound, which all orders keep.
# case: chain/up/uniform-80/b48/f32/bounded
# claims: bounded
# measure: yes
# words: (best)
# code: 0
import numpy as np

random = np.random.default_rng()


def build(a):
    return np.asarray(a)


def apply(a, v, out):
    order = random.permutation(a.shape[1])
    np.matmul(a[:, order], np.asarray(v)[order], out=np.asarray(out))
