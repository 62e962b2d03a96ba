"""Ways to damage bytes: each takes a random generator and the bytes, and returns others.

Nothing here knows a file format but gzip; `formats` has what is peculiar to each.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable
from random import Random

EXTREMES = (0, 1, -1, 2, 3, 7, 8, 255, 256, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
WIDE_EXTREMES = (*EXTREMES, 2**40, 2**62, 2**63 - 1, -(2**63), 2**64 - 1)
EXTREME_FLOATS = (0.0, -0.0, -1.0, 1e-30, 1e-45, 0.5, 1e30, 3.4e38, *map(float, ("nan", "inf")))
HEADER_BYTES = 512  # where half of all damage goes: a body is long, and most of it is alike
BOMB_BYTES = 1 << 29  # of zeros, which gzip makes into half a megabyte

Mutator = Callable[[Random, bytes], bytes]


def _place(rng: Random, data: bytes) -> int:
    """An offset, in the header as often as anywhere."""
    end = min(len(data), HEADER_BYTES) if rng.random() < 0.5 else len(data)
    return rng.randrange(max(end, 1))


def _span(rng: Random, data: bytes) -> tuple[int, int]:
    start = _place(rng, data)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 512, 4096)))


def flip_bits(rng: Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16)) if damaged else 0):
        damaged[_place(rng, data)] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def set_bytes(rng: Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4)) if damaged else 0):
        damaged[_place(rng, data)] = rng.choice((0, 1, 0x20, 0x7F, 0x80, 0xFE, 0xFF, 0x0A))
    return bytes(damaged)


def truncate(rng: Random, data: bytes) -> bytes:
    near_end = rng.random() < 0.3
    return data[: len(data) - rng.randint(1, 16)] if near_end else data[: _place(rng, data)]


def cut_out(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def blank(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + rng.choice((b"\0", b"\xff", b" ")) * (end - start) + data[end:]


def insert(rng: Random, data: bytes) -> bytes:
    start, end = _span(rng, data)
    place = _place(rng, data)
    new = data[start:end] if rng.random() < 0.5 else rng.randbytes(end - start)
    return data[:place] + new + data[place:]


def swap_chunks(rng: Random, data: bytes) -> bytes:
    (a, b), (c, d) = sorted((_span(rng, data), _span(rng, data)))
    if b > c:
        return data[c:] + data[:c]
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def extreme_number(rng: Random, data: bytes) -> bytes:
    """An aligned field becomes an extreme integer or floating-point number of its size."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    start = _place(rng, data) // size * size
    if size >= 4 and rng.random() < 0.3:
        field = struct.pack(order + ("f" if size == 4 else "d"), rng.choice(EXTREME_FLOATS))
    else:
        value = rng.choice(WIDE_EXTREMES) % (1 << 8 * size)
        field = value.to_bytes(size, "little" if order == "<" else "big")
    return data[:start] + field + data[start + size :]


def append(rng: Random, data: bytes) -> bytes:
    return data + rng.choice((b"\0" * 512, rng.randbytes(33), data[:100], b"\n", data))


def empty(rng: Random, data: bytes) -> bytes:
    return b""


ANY_BYTES: tuple[Mutator, ...] = (
    flip_bits,
    set_bytes,
    truncate,
    cut_out,
    blank,
    insert,
    swap_chunks,
    extreme_number,
    append,
)


def any_bytes(rng: Random, data: bytes) -> bytes:
    """One damage of any kind, or a few on top of each other."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        data = rng.choice(ANY_BYTES)(rng, data)
    return data if rng.random() < 0.995 else empty(rng, data)


def splice(rng: Random, data: bytes, other: bytes) -> bytes:
    """The head of one file and the tail of another."""
    return data[: _place(rng, data)] + other[_place(rng, other) :]


# ---- text ----


def any_text(rng: Random, text: bytes) -> bytes:
    """Lines of text changed: lost, doubled, exchanged, with other numbers or line ends."""
    lines = text.split(b"\n")
    n, m = rng.randrange(len(lines)), rng.randrange(len(lines))
    deed = rng.randrange(8)
    if deed == 0:
        del lines[n]
    elif deed == 1:
        lines.insert(m, lines[n])
    elif deed == 2:
        lines[n], lines[m] = lines[m], lines[n]
    elif deed == 3:
        return text.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", b" \n")))
    elif deed == 4:
        lines[n] += rng.choice((b" " * 9000, b"x" * 70000, b"\xff\xfe", "é".encode(), b"\0", b";"))
    elif deed == 5:
        lines[n] = any_bytes(rng, lines[n])
    else:
        lines[n] = _other_word(rng, lines[n])
    return b"\n".join(lines)


def _other_word(rng: Random, line: bytes) -> bytes:
    """One word of a line, most often a number, becomes another."""
    words = line.split(b" ")
    numbers = [n for n, word in enumerate(words) if any(48 <= c <= 57 for c in word)]
    new = rng.choice(
        (*map(str, WIDE_EXTREMES), "nan", "-inf", "1e400", "1e-320", "0x10", "1,5", "", "none",
         "99999999999999999999999", "(1,0,0)", "-", "../../etc/passwd", "/dev/zero", "raw", "LOCAL")
    )  # fmt: skip
    words[rng.choice(numbers or range(len(words)))] = new.encode()
    return b" ".join(words)


# ---- gzip ----


def unpacked(data: bytes) -> bytes:
    """What a gzip file holds; the bytes themselves where they are none."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        return data


def packed(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


def gzip_oddity(rng: Random, data: bytes) -> bytes:
    """A gzip file of an unusual form, most of them still valid."""
    plain, whole = unpacked(data), packed(unpacked(data))
    middle = len(plain) // 2
    with_fields = bytes([*whole[:3], 0x1C, *whole[4:10]])  # extra field, name and comment
    return rng.choice(
        (
            lambda: packed(plain[:middle]) + packed(plain[middle:]),
            lambda: packed(b"") + whole + packed(b""),
            lambda: whole + b"\0" * 600,
            lambda: whole + b"no gzip",
            lambda: whole[:-8] + bytes(4) + whole[-4:],  # checksum
            lambda: whole[:-4] + b"\xff\xff\xff\x7f",  # length
            lambda: whole[: -rng.randint(1, 8)],
            lambda: with_fields + b"\x02\x00ab" + b"n\0" + b"c\0" + whole[10:],
            lambda: whole[:3] + bytes([whole[3] | 0xE0]) + whole[4:],  # reserved flags
            lambda: whole[:2] + b"\x07" + whole[3:],  # method
            lambda: packed(whole),
            lambda: plain,
            lambda: whole[:10],
            lambda: packed(plain + bytes(1 << 24)),
            lambda: any_bytes(rng, whole),
        )
    )()


def bomb(data: bytes) -> bytes:
    """A gzip file that unpacks to its content and half a gigabyte of zeros."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = squeeze.compress(unpacked(data))
    zeros = bytes(1 << 20)
    for _ in range(BOMB_BYTES >> 20):
        body += squeeze.compress(zeros)
    return body + squeeze.flush()
