"""Independent verification of sparse-operator performance claims: the program `verify`, in a wheel.

Nothing is done in Python: `python -m sparse_verify` starts the program.
"""
