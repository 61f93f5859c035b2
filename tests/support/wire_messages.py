"""Random ModelInferRequests as bytes: right ones in unusual forms, and wrong ones.

All that protobuf lets a writer do is done somewhere: fields in any order, several of one
that is single, unknown ones at every level, groups, numbers and lengths longer than they
need be, packed numbers and single ones mixed, entries of a map in parts or twice.
"""

from collections.abc import Callable, Sequence
from random import Random

Writer = Callable[[], bytes]

NAMES = ("x", "y", "INPUT0", "", "ä", "mask")
DATATYPES = ("FP32", "INT8", "INT32", "UINT16", "BYTES", "BOOL", "FP64", "INT64", "FP16", "X")
KEYS = (
    "sequence_id",
    "sequence_start",
    "priority",
    "timeout",
    "classification",
    "shared_memory_region",
    "triton_x",
    "custom",
    "",
)
NUMBERS = (0, 1, 2, 3, 4, 127, 128, 300, 2**31 - 1, 2**31, 2**32, 2**62, 2**63, 2**64 - 1)


def varint(number: int, *, padding: int = 0) -> bytes:
    """Write a number, with `padding` bytes more than it needs."""
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    if padding:
        encoded[-1] |= 0x80
        encoded += b"\x80" * (padding - 1) + b"\x00"
    return bytes(encoded)


def tag(number: int, wire_type: int) -> bytes:
    return varint(number << 3 | wire_type)


def delimited(number: int, value: bytes) -> bytes:
    return tag(number, 2) + varint(len(value)) + value


class MessageMaker:
    """Makes one random message after the other from `random`."""

    def __init__(self, random: Random) -> None:
        self.random = random

    def request(self) -> bytes:
        random = self.random
        writers: list[Writer] = [
            lambda: self.delimited(1, random.choice((b"m", b"model", b""))),
            lambda: self.delimited(2, random.choice((b"", b"1", b"x"))),
            lambda: self.delimited(3, self.text()),
            lambda: self.delimited(4, self.entry()),
            lambda: self.delimited(5, self.input()),
            lambda: self.delimited(5, self.input()),
            lambda: self.delimited(5, self.input()),
            lambda: self.delimited(6, self.output()),
            lambda: self.delimited(7, self.data()),
            lambda: self.delimited(7, self.data()),
        ]
        return self.some(writers)

    def input(self) -> bytes:
        random = self.random
        writers: list[Writer] = [
            lambda: self.delimited(1, random.choice(NAMES).encode()),
            lambda: self.delimited(1, random.choice(NAMES).encode()),
            lambda: self.delimited(2, random.choice(DATATYPES).encode()),
            lambda: self.delimited(2, random.choice(DATATYPES).encode()),
            lambda: self.numbers(3, 0),
            lambda: self.numbers(3, 0),
            lambda: self.delimited(4, self.entry()),
            lambda: self.delimited(5, self.contents()),
            lambda: self.delimited(5, self.contents()),
        ]
        return self.some(writers)

    def contents(self) -> bytes:
        random = self.random
        number = random.randint(1, 8)
        others = random.random() < 0.2
        writers: list[Writer] = []
        for _ in range(random.randint(1, 4)):
            chosen = random.randint(1, 8) if others else number
            if chosen == 8:
                writers.append(self.elements)
            else:
                wire_type = {6: 5, 7: 1}.get(chosen, 0)
                writers.append(lambda n=chosen, w=wire_type: self.numbers(n, w))  # type: ignore[misc]
        return self.some(writers)

    def output(self) -> bytes:
        return self.some(
            [
                lambda: self.delimited(1, self.random.choice(NAMES).encode()),
                lambda: self.delimited(2, self.entry()),
            ]
        )

    def entry(self) -> bytes:
        random = self.random
        writers: list[Writer] = [
            lambda: self.delimited(1, random.choice(KEYS).encode()),
            lambda: self.delimited(2, self.parameter()),
        ]
        if random.random() < 0.2:
            writers += writers
        return self.some(writers, quirks=0.05)

    def parameter(self) -> bytes:
        random = self.random
        writers: list[Writer] = [
            lambda: self.tag(1, 0) + self.varint(self.number()),
            lambda: self.tag(2, 0) + self.varint(self.number()),
            lambda: self.delimited(3, self.text()),
            lambda: self.tag(4, 1) + random.randbytes(8),
            lambda: self.tag(5, 0) + self.varint(self.number()),
        ]
        return self.some([random.choice(writers)] if random.random() < 0.8 else writers)

    def elements(self) -> bytes:
        random = self.random
        size = random.randint(0, 6)
        same = random.random() < 0.5
        return b"".join(
            self.delimited(8, random.randbytes(size if same else random.randint(0, 200)))
            for _ in range(self.count())
        )

    def numbers(self, number: int, wire_type: int) -> bytes:
        count = self.count()
        short = self.random.random() < 0.5
        values = [self.value(wire_type, short=short) for _ in range(count)]
        if self.random.random() < 0.5:
            return self.delimited(number, b"".join(values))
        return b"".join(self.tag(number, wire_type) + value for value in values)

    def value(self, wire_type: int, *, short: bool) -> bytes:
        if wire_type == 0:
            return varint(self.random.randint(0, 5)) if short else self.varint(self.number())
        return self.random.randbytes({1: 8, 5: 4}[wire_type])

    def count(self) -> int:
        return self.random.choice((0, 1, 1, 2, 3, 5, 20, 60))

    def number(self) -> int:
        return self.random.choice(NUMBERS)

    def text(self) -> bytes:
        return self.random.choice((b"", b"id", "ü€𝄞".encode(), b"7", b"a" * 130))

    def data(self) -> bytes:
        return self.random.randbytes(self.random.choice((0, 1, 4, 8, 16, 64, 127, 128, 300)))

    def some(self, writers: Sequence[Writer], *, quirks: float = 0.1) -> bytes:
        """Most of the fields, in their order or in any, now and then something unknown."""
        random = self.random
        chosen = [writer for writer in writers if random.random() < 0.75]
        if random.random() < 0.3:
            random.shuffle(chosen)
        if random.random() < quirks:
            chosen.insert(random.randint(0, len(chosen)), self.unknown)
        return b"".join(writer() for writer in chosen)

    def unknown(self) -> bytes:
        """A field that no message has, or one with a wire type that it never has."""
        random = self.random
        number = random.choice((9, 15, 16, 100, 2**29 - 1, random.randint(1, 8)))
        kind = random.choice((0, 1, 2, 3, 5))
        if kind == 0:
            return self.tag(number, 0) + self.varint(self.number())
        if kind == 2:
            return self.delimited(random.choice((9, 100)), self.data())
        if kind == 3:
            return tag(number, 3) + self.unknown() * random.randint(0, 2) + tag(number, 4)
        return self.tag(number, kind) + random.randbytes(8 if kind == 1 else 4)

    def delimited(self, number: int, value: bytes) -> bytes:
        return self.tag(number, 2) + self.varint(len(value)) + value

    def tag(self, number: int, wire_type: int) -> bytes:
        padding = self.random.randint(1, 3) if self.random.random() < 0.01 else 0
        plain = varint(number << 3 | wire_type)
        return varint(number << 3 | wire_type, padding=min(padding, 5 - len(plain)))

    def varint(self, number: int) -> bytes:
        padding = self.random.randint(1, 10) if self.random.random() < 0.01 else 0
        return varint(number, padding=min(padding, 10 - len(varint(number))))

    def mutated(self, message: bytes) -> bytes:  # noqa: C901 - a branch for each way to break it
        """Break a message, or change what it says: bits, bytes, pieces, its end."""
        random = self.random
        data = bytearray(message)
        for _ in range(random.choice((1, 1, 1, 2, 4))):
            place = random.randint(0, len(data))
            kind = random.randint(0, 6)
            if kind == 0:
                del data[place:]
            elif kind == 1:
                data[place : place + 1] = bytes((random.randint(0, 255),))
            elif kind == 2:
                data[place:place] = random.randbytes(random.randint(1, 4))
            elif kind == 3:
                del data[place : place + random.randint(1, 4)]
            elif kind == 4:
                data[place:place] = data[place : place + random.randint(1, 40)]
            elif kind == 5:
                data[place : place + 1] = random.choice(
                    (b"\x80", b"\xff", b"\x00", b"\x0b", b"\x0c")
                )
            elif place < len(data):
                data[place] ^= 1 << random.randint(0, 7)
        return bytes(data)
