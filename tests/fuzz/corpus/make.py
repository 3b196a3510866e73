"""Writes the seed corpora: programs of random bytes, long enough that something happens in them.

    tests/fuzz/corpus/make.py

The same bytes each time. Short inputs grow slowly under libFuzzer; these give it a length to start from.
"""

import pathlib
import random
import struct

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

# Envelopes as include/sluice/envelope.hpp draws them: bare, with extensions, and with a text behind it.
ENVELOPE = "<I4B4B2H16s16s8s4Q2I"


def envelope(kind, header_bytes, rest):
    head = struct.pack(ENVELOPE, 0x564E4553, 1, kind, 3, 0, 1, 1, 1, 0, header_bytes, 0, b"i" * 16, b"t" * 16, b"s" * 8,
                       7, 0, 0, 1, 0, 0)
    return head + rest


folder = HERE / "envelope"
folder.mkdir(exist_ok=True)
extensions = struct.pack("<2H4s", 1, 3, b"a=1") + struct.pack("<2H8s", 2, 8, b"$reply/x")
(folder / "bare").write_bytes(envelope(1, 96, b"{}"))
(folder / "extended").write_bytes(envelope(2, 128, extensions.ljust(32, b"\0") + b"payload"))
(folder / "long").write_bytes(envelope(3, 160, extensions.ljust(64, b"\xff") + b"[[1,2.5,null],{}]"))
(folder / "json").write_bytes(b'{"a": [1, "\\u00e4", {"b": null}]}')

# What fuzz_json reads: a value, a record, a question, a request for state, and levels at the limit of 64.
folder = HERE / "json"
folder.mkdir(exist_ok=True)
(folder / "value").write_bytes(b'{"a": [1, -2.5e3, "\\u00e4\\ud83d\\ude00", {"b": null, "c": true}]}')
(folder / "record").write_bytes(
    b'{"row":1,"time_ns":5,"topic":"a/b","node":"n","source":"000000000000002a","codec":"json","kind":"event",'
    b'"class":"message","durable":true,"id":"00000000-0000-0000-0000-000000000001",'
    b'"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","payload":{"x":[1]}}')
(folder / "question").write_bytes(
    b'{"since":"2026-11-21T09:34:30Z","until":"2026-11-22","topic":"a/#","class":"dead_letter","newest":true,'
    b'"limit":10,"after_row":1,"before_row":9,"durable":false}')
(folder / "state").write_bytes(struct.pack("<2IQ", 2, 3, 7) + b"a/bvalue")
(folder / "deep").write_bytes(b"[" * 64 + b"]" * 64)
(folder / "deeper").write_bytes(b"[" * 65 + b"]" * 65)
