"""Writes the seed corpora: programs of random bytes, long enough that something happens in them.

    tests/fuzz/corpus/make.py

The same bytes each time. Short inputs grow slowly under libFuzzer; these give it a length to start from.
"""

import pathlib
import random

LENGTHS = [64, 200, 400, 700, 1000]
HERE = pathlib.Path(__file__).parent


def operations(source, length):
    """Programs for the harnesses that read an operation byte, then a few parameters."""
    return bytes(source.choice((source.randrange(256), source.randrange(16))) for _ in range(length))


for target in ("open", "reader", "publisher", "protocol", "results"):
    folder = HERE / target
    folder.mkdir(exist_ok=True)
    for number, length in enumerate(LENGTHS):
        source = random.Random(f"{target} {number}")
        (folder / f"seed-{number}").write_bytes(operations(source, length))
