"""Product by PyTorch's semi-structured sparsity on a CUDA device: of A with two non-zeros in four, and of nothing else."""

import torch
from torch.sparse import to_sparse_semi_structured


def build(a):
    a = torch.from_dlpack(a)
    if ((a != 0).view(a.shape[0], -1, 4).sum(2) > 2).any():
        raise ValueError("A has more than two non-zeros in four")
    return to_sparse_semi_structured(a)


def apply(a, v, out):
    torch.from_dlpack(out).copy_(torch.mm(a, torch.from_dlpack(v)))
