#!/usr/bin/env python3
"""A second reader of Transmigrate streams, written from spec/stream.md, spec/errors.md and spec/cli-json.md alone.

It decodes, checks and prints one stream (one file, or one file a channel), or runs the conformance vectors of a
directory.  Section numbers in comments are those of stream.md; "cli-json" stands for cli-json.md.

Nothing but the standard library of Python 3.9 or later is used; the decoders of zstd, lz4 and lzo1x are below.
"""

import argparse
import array
import hashlib
import json
import math
import os
import re
import struct
import sys
import tempfile
import zlib
from collections import OrderedDict

MIB = 1 << 20
GIB = 1 << 30
U64_MAX = (1 << 64) - 1

# errors.md, section 2.
EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BROKEN, EXIT_UNSUPPORTED, EXIT_STORE = 0, 1, 2, 10, 11, 15
EXIT_OF_CODE = dict.fromkeys(
    ("NOT_AN_IMAGE", "UNSUPPORTED_VERSION", "UNSUPPORTED_FEATURE", "UNSUPPORTED_CODEC", "UNKNOWN_RECORD"),
    EXIT_UNSUPPORTED)
EXIT_OF_CODE["INTERNAL"] = EXIT_FAILED


class StreamError(Exception):
    """The first thing that is wrong in a stream; it ends the reading (18.1)."""

    def __init__(self, code, message, offset=None, sequence=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset
        self.sequence = sequence

    def place(self, offset, sequence):
        self.offset, self.sequence = offset, sequence

    def as_object(self):
        return {"code": self.code, "offset": self.offset, "sequence": self.sequence, "message": self.message}


class DecodeError(Exception):
    """Stored bytes that do not decode to exactly the expected length; becomes CODEC_DATA (7.4)."""


# ---------------------------------------------------------------------------------------------------------------------
# Decoders (7.4).  Every decoder takes the stored bytes and the expected length, and returns exactly that many bytes.
# ---------------------------------------------------------------------------------------------------------------------


def need(condition, message):
    if not condition:
        raise DecodeError(message)


def copy_match(out, distance, length, limit):
    """Appends `length` bytes that begin `distance` back in `out`; the two ranges may overlap."""
    need(0 < distance <= len(out), "a match reaches before the start of the output")
    need(len(out) + length <= limit, "more output than expected")
    start = len(out) - distance
    if distance >= length:
        out += out[start:start + length]
    else:
        pattern = bytes(out[start:])
        out += (pattern * (length // distance + 1))[:length]


def decode_raw(data, expected):
    need(len(data) == expected, "raw bytes of another length")
    return bytes(data)


def decode_deflate(data, expected):
    decoder = zlib.decompressobj(-15)
    try:
        out = decoder.decompress(data, expected + 1)
        # The bound may stop zlib before it has seen the end-of-block code, so it gets one more call.
        if len(out) == expected and not decoder.eof:
            out += decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as problem:
        raise DecodeError("deflate: %s" % problem)
    need(len(out) == expected, "deflate: another length than expected")
    need(decoder.eof, "deflate: the last block does not end")
    need(not decoder.unused_data and not decoder.unconsumed_tail, "deflate: bytes after the end")
    return out


def decode_lz4(data, expected):
    out = bytearray()
    at, end = 0, len(data)

    def extended(length, at):
        """Reads the bytes 255, 255 ... n that continue a length of 15."""
        while True:
            need(at < end, "lz4: ends inside a length")
            more = data[at]
            at += 1
            length += more
            need(length <= expected, "lz4: more output than expected")
            if more != 255:
                return length, at

    while True:
        need(at < end, "lz4: ends without a last run of literals")
        token = data[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            literals, at = extended(literals, at)
        need(at + literals <= end, "lz4: ends inside literals")
        need(len(out) + literals <= expected, "lz4: more output than expected")
        out += data[at:at + literals]
        at += literals
        if at == end:
            # The last sequence has only literals; its match length field is not used.
            break
        need(at + 2 <= end, "lz4: ends inside an offset")
        distance = data[at] | data[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            length, at = extended(length, at)
        copy_match(out, distance, length + 4, expected)
    need(len(out) == expected, "lz4: less output than expected")
    return bytes(out)


def decode_lzo1x(data, expected):
    """LZO1X as in the published description of the bit stream (Linux, Documentation/staging/lzo.rst), version 0.

    `state` is the number of literals that the last instruction copied: 0 to 3, or 4 for a long run.
    """
    out = bytearray()
    end = len(data)
    at = 0

    def literals(count, at):
        need(at + count <= end, "lzo1x: ends inside literals")
        need(len(out) + count <= expected, "lzo1x: more output than expected")
        out.extend(data[at:at + count])
        return at + count

    def length_of(bits, field, at):
        """A zero in the length field means: the field's maximum, 255 for each zero byte, and the next byte."""
        if field:
            return field, at
        total = (1 << bits) - 1
        while True:
            need(at < end, "lzo1x: ends inside a length")
            byte = data[at]
            at += 1
            if byte:
                return total + byte, at
            total += 255
            need(total <= expected + 512, "lzo1x: more output than expected")

    need(end >= 3, "lzo1x: too short")
    state = 0
    if data[0] > 17:
        # The first byte may be a run of literals without an instruction.
        count = data[0] - 17
        at = literals(count, 1)
        state = count if count < 4 else 4
    while True:
        need(at < end, "lzo1x: no end-of-stream marker")
        op = data[at]
        at += 1
        if op < 16 and state == 0:
            count, at = length_of(4, op, at)
            at = literals(count + 3, at)
            state = 4
            continue
        if op < 16 or op >= 64:
            need(at < end, "lzo1x: ends inside a distance")
            high = data[at]
            at += 1
            state_after = op & 3
            if op >= 128:
                length, distance = 5 + (op >> 5 & 3), (high << 3) + (op >> 2 & 7) + 1
            elif op >= 64:
                length, distance = 3 + (op >> 5 & 1), (high << 3) + (op >> 2 & 7) + 1
            elif state == 4:
                length, distance = 3, (high << 2) + (op >> 2) + 2049
            else:
                length, distance = 2, (high << 2) + (op >> 2) + 1
        else:
            if op >= 32:
                length, at = length_of(5, op & 31, at)
                base = 1
            else:
                length, at = length_of(3, op & 7, at)
                base = 16384 + ((op & 8) << 11)
            length += 2
            need(at + 2 <= end, "lzo1x: ends inside a distance")
            word = data[at] | data[at + 1] << 8
            at += 2
            state_after = word & 3
            distance = base + (word >> 2)
            if op < 32 and distance == 16384:
                need(length == 3, "lzo1x: a wrong end-of-stream marker")
                break
        copy_match(out, distance, length, expected)
        state = state_after
        at = literals(state, at)
    need(at == end, "lzo1x: bytes after the end-of-stream marker")
    need(len(out) == expected, "lzo1x: less output than expected")
    return bytes(out)


# zstd, from RFC 8878.  Section numbers in the comments of this part are those of the RFC.

XX1, XX2, XX3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
XX4, XX5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


def rotl64(value, bits):
    return (value << bits | value >> (64 - bits)) & U64_MAX


def xxh64(data):
    """XXH64 with seed 0; its low 32 bits are the checksum of a zstd frame."""

    def round64(acc, lane):
        return rotl64((acc + lane * XX2) & U64_MAX, 31) * XX1 & U64_MAX

    size = len(data)
    at = 0
    if size >= 32:
        lanes = [(XX1 + XX2) & U64_MAX, XX2, 0, -XX1 & U64_MAX]
        while at + 32 <= size:
            words = struct.unpack_from("<4Q", data, at)
            lanes = [round64(acc, word) for acc, word in zip(lanes, words)]
            at += 32
        acc = sum(rotl64(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18))) & U64_MAX
        for lane in lanes:
            acc = ((acc ^ round64(0, lane)) * XX1 + XX4) & U64_MAX
    else:
        acc = XX5
    acc = (acc + size) & U64_MAX
    while at + 8 <= size:
        acc ^= round64(0, struct.unpack_from("<Q", data, at)[0])
        acc = (rotl64(acc, 27) * XX1 + XX4) & U64_MAX
        at += 8
    if at + 4 <= size:
        acc ^= struct.unpack_from("<I", data, at)[0] * XX1 & U64_MAX
        acc = (rotl64(acc, 23) * XX2 + XX3) & U64_MAX
        at += 4
    while at < size:
        acc ^= data[at] * XX5 & U64_MAX
        acc = rotl64(acc, 11) * XX1 & U64_MAX
        at += 1
    acc = (acc ^ acc >> 33) * XX2 & U64_MAX
    acc = (acc ^ acc >> 29) * XX3 & U64_MAX
    return acc ^ acc >> 32


class BackwardBits:
    """A bit stream that is read from its end; the highest set bit of the last byte marks where it begins."""

    def __init__(self, data):
        need(len(data) > 0 and data[-1] != 0, "zstd: a bit stream without its end mark")
        self.data = data
        self.left = len(data) * 8 - 8 + data[-1].bit_length() - 1

    def read(self, count):
        """Takes `count` bits; bits before the start are zero, and `left` is negative then."""
        self.left -= count
        return self.look(self.left, count)

    def look(self, low, count):
        if count == 0:
            return 0
        if low < 0:
            have = low + count
            return self.look(0, have) << -low if have > 0 else 0
        first = low >> 3
        word = int.from_bytes(self.data[first:(low + count + 7) >> 3], "little")
        return word >> (low & 7) & ((1 << count) - 1)


class FseTable:
    """4.1.1: for each state a symbol, a number of bits, and the base of the next state."""

    def __init__(self, accuracy, symbols, bits, bases):
        self.accuracy = accuracy
        self.symbols = symbols
        self.bits = bits
        self.bases = bases

    @classmethod
    def single(cls, symbol):
        return cls(0, [symbol], [0], [0])

    @classmethod
    def from_distribution(cls, accuracy, counts):
        size = 1 << accuracy
        symbols = [0] * size
        next_state = [0] * len(counts)
        high = size - 1
        for symbol, count in enumerate(counts):
            if count == -1:
                symbols[high] = symbol
                high -= 1
                next_state[symbol] = 1
            else:
                next_state[symbol] = count
        step = (size >> 1) + (size >> 3) + 3
        position = 0
        for symbol, count in enumerate(counts):
            for _ in range(max(count, 0)):
                symbols[position] = symbol
                position = (position + step) & (size - 1)
                while position > high:
                    position = (position + step) & (size - 1)
        need(position == 0, "zstd: a wrong FSE distribution")
        bits, bases = [0] * size, [0] * size
        for state in range(size):
            number = next_state[symbols[state]]
            next_state[symbols[state]] += 1
            bits[state] = accuracy - (number.bit_length() - 1)
            bases[state] = (number << bits[state]) - size
        return cls(accuracy, symbols, bits, bases)


def read_fse_distribution(data, max_accuracy, max_symbol):
    """4.1.1: returns the table and how many bytes its description takes."""
    value = int.from_bytes(data[:512], "little")
    total = min(len(data), 512) * 8
    at = 0

    def peek(count):
        return value >> at & ((1 << count) - 1)

    need(total >= 8, "zstd: an FSE table that ends early")
    accuracy = peek(4) + 5
    at = 4
    need(accuracy <= max_accuracy, "zstd: an FSE accuracy above the limit")
    remaining = (1 << accuracy) + 1
    counts = []
    while remaining > 1:
        need(len(counts) <= max_symbol, "zstd: too many FSE symbols")
        width = remaining.bit_length()
        number = peek(width)
        low_mask = (1 << (width - 1)) - 1
        threshold = (1 << width) - 1 - remaining
        if number & low_mask < threshold:
            at += width - 1
            number &= low_mask
        else:
            at += width
            if number > low_mask:
                number -= threshold
        count = number - 1
        remaining -= abs(count)
        need(remaining >= 1 and at <= total, "zstd: a wrong FSE distribution")
        counts.append(count)
        if count == 0:
            while True:
                repeat = peek(2)
                at += 2
                need(at <= total, "zstd: an FSE table that ends early")
                counts.extend([0] * repeat)
                need(len(counts) <= max_symbol + 1, "zstd: too many FSE symbols")
                if repeat != 3:
                    break
    return FseTable.from_distribution(accuracy, counts), (at + 7) // 8


class HuffmanTable:
    """4.2.1: for each look-up of `width` bits a symbol and its length."""

    def __init__(self, weights):
        weights = list(weights)
        need(weights and max(weights) <= 11, "zstd: a Huffman weight above 11")
        total = sum(1 << weight - 1 for weight in weights if weight)
        need(total > 0, "zstd: Huffman weights that are all zero")
        self.width = total.bit_length()
        need(self.width <= 11, "zstd: a Huffman code longer than 11 bits")
        rest = (1 << self.width) - total
        need(rest & (rest - 1) == 0, "zstd: Huffman weights that do not add up")
        weights.append(rest.bit_length())
        self.entries = []
        for weight in range(1, self.width + 1):
            length = self.width + 1 - weight
            for symbol, own in enumerate(weights):
                if own == weight:
                    self.entries.extend([(symbol, length)] * (1 << weight - 1))
        need(len(self.entries) == 1 << self.width, "zstd: Huffman weights that do not add up")

    def decode(self, data, count):
        bits = BackwardBits(data)
        left, width, entries = bits.left, self.width, self.entries
        out = bytearray(count)
        for index in range(count):
            symbol, length = entries[bits.look(left - width, width)]
            left -= length
            need(left >= 0, "zstd: a Huffman stream that ends early")
            out[index] = symbol
        need(left == 0, "zstd: a Huffman stream with bits left over")
        return out


def read_huffman_table(data):
    """4.2.1: returns the table and how many bytes its description takes."""
    need(len(data) > 0, "zstd: a Huffman table that is missing")
    head = data[0]
    if head >= 128:
        count = head - 127
        size = (count + 1) // 2
        need(1 + size <= len(data), "zstd: a Huffman table that ends early")
        weights = [data[1 + i // 2] >> 4 if i % 2 == 0 else data[1 + i // 2] & 15 for i in range(count)]
        return HuffmanTable(weights), 1 + size
    need(1 + head <= len(data), "zstd: a Huffman table that ends early")
    part = data[1:1 + head]
    table, used = read_fse_distribution(part, 6, 255)
    bits = BackwardBits(part[used:])
    states = [bits.read(table.accuracy), bits.read(table.accuracy)]
    need(bits.left >= 0, "zstd: Huffman weights that end early")
    weights = []
    turn = 0
    while True:
        # Two states take turns; when one cannot be renewed, the other one has the last weight.
        need(len(weights) <= 254, "zstd: too many Huffman weights")
        state = states[turn]
        weights.append(table.symbols[state])
        states[turn] = table.bases[state] + bits.read(table.bits[state])
        if bits.left < 0:
            weights.append(table.symbols[states[1 - turn]])
            break
        turn = 1 - turn
    need(len(weights) <= 255, "zstd: too many Huffman weights")
    return HuffmanTable(weights), 1 + head


LITERALS_BASE = list(range(16)) + [16, 18, 20, 22, 24, 28, 32, 40, 48, 64] + [1 << n for n in range(7, 17)]
LITERALS_BITS = [0] * 16 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 6] + list(range(7, 17))
MATCH_BASE = list(range(3, 35)) + [35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99] + [(1 << n) + 3 for n in range(7, 17)]
MATCH_BITS = [0] * 32 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5] + list(range(7, 17))
LITERALS_DEFAULT = FseTable.from_distribution(
    6, [4, 3] + [2] * 11 + [1, 1, 1] + [2] * 9 + [3, 2] + [1] * 5 + [-1] * 4)
MATCH_DEFAULT = FseTable.from_distribution(6, [1, 4, 3] + [2] * 6 + [1] * 37 + [-1] * 7)
OFFSET_DEFAULT = FseTable.from_distribution(5, [1] * 6 + [2, 2, 2] + [1] * 15 + [-1] * 5)


class ZstdDecoder:
    """One frame; what a block may take over from the block before it lives here."""

    WINDOW_LIMIT = 8 * MIB
    BLOCK_LIMIT = 128 << 10

    def __init__(self, data, expected):
        self.data = bytes(data)
        self.expected = expected
        self.out = bytearray()
        self.huffman = None
        self.tables = [None, None, None]
        self.repeats = [1, 4, 8]

    def take(self, at, count):
        need(at + count <= len(self.data), "zstd: the frame ends early")
        return self.data[at:at + count]

    def decode(self):
        """3.1.1: header, blocks, checksum; nothing may follow."""
        need(self.take(0, 4) == b"\x28\xb5\x2f\xfd", "zstd: not a frame")
        flags = self.take(4, 1)[0]
        single = flags >> 5 & 1
        need(not flags & 8, "zstd: a reserved bit is set")
        at = 5
        window = 0
        if not single:
            descriptor = self.take(at, 1)[0]
            at += 1
            base = 1 << 10 + (descriptor >> 3)
            window = base + (base >> 3) * (descriptor & 7)
        size = (0, 1, 2, 4)[flags & 3]
        need(int.from_bytes(self.take(at, size), "little") == 0, "zstd: a dictionary is needed")
        at += size
        size = (single, 2, 4, 8)[flags >> 6]
        content = int.from_bytes(self.take(at, size), "little") + (256 if size == 2 else 0)
        at += size
        need(size == 0 or content == self.expected, "zstd: the content size is another one")
        if single:
            window = content
        need(window <= self.WINDOW_LIMIT, "zstd: a window above 8 MiB")
        block_limit = min(window, self.BLOCK_LIMIT)
        last = False
        while not last:
            head = int.from_bytes(self.take(at, 3), "little")
            at += 3
            last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
            need(size <= block_limit, "zstd: a block above the limit")
            before = len(self.out)
            if kind == 0:
                need(before + size <= self.expected, "zstd: more output than expected")
                self.out += self.take(at, size)
                at += size
            elif kind == 1:
                need(before + size <= self.expected, "zstd: more output than expected")
                self.out += self.take(at, 1) * size
                at += 1
            elif kind == 2:
                self.block(self.take(at, size), min(self.expected, before + block_limit), block_limit)
                at += size
            else:
                raise DecodeError("zstd: a reserved kind of block")
        need(len(self.out) == self.expected, "zstd: less output than expected")
        if flags & 4:
            need(self.take(at, 4) == (xxh64(self.out) & 0xFFFFFFFF).to_bytes(4, "little"), "zstd: a wrong checksum")
            at += 4
        need(at == len(self.data), "zstd: bytes after the frame")
        return bytes(self.out)

    def literals(self, data, block_limit):
        """3.1.1.3.1: returns the literals and how many bytes their section takes."""
        need(len(data) > 0, "zstd: a block without literals")
        kind, size_format = data[0] & 3, data[0] >> 2 & 3
        if kind < 2:
            head = (1, 2, 1, 3)[size_format]
            need(head <= len(data), "zstd: a literals section that ends early")
            size = int.from_bytes(data[:head], "little") >> (3 if head == 1 else 4)
            need(size <= block_limit, "zstd: literals above the limit")
            if kind == 0:
                need(head + size <= len(data), "zstd: a literals section that ends early")
                return data[head:head + size], head + size
            need(head < len(data), "zstd: a literals section that ends early")
            return data[head:head + 1] * size, head + 1
        head, bits = ((3, 10), (3, 10), (4, 14), (5, 18))[size_format]
        need(head <= len(data), "zstd: a literals section that ends early")
        sizes = int.from_bytes(data[:head], "little") >> 4
        size, stored = sizes & (1 << bits) - 1, sizes >> bits
        need(size <= block_limit, "zstd: literals above the limit")
        need(head + stored <= len(data), "zstd: a literals section that ends early")
        part = data[head:head + stored]
        if kind == 2:
            self.huffman, used = read_huffman_table(part)
            part = part[used:]
        need(self.huffman is not None, "zstd: no Huffman table to repeat")
        if size_format == 0:
            return self.huffman.decode(part, size), head + stored
        need(len(part) >= 6, "zstd: a jump table that ends early")
        lengths = struct.unpack_from("<3H", part)
        each = (size + 3) // 4
        need(each * 3 <= size, "zstd: too few literals for four streams")
        out = bytearray()
        at = 6
        for length in lengths:
            need(at + length <= len(part), "zstd: a Huffman stream that ends early")
            out += self.huffman.decode(part[at:at + length], each)
            at += length
        out += self.huffman.decode(part[at:], size - 3 * each)
        return out, head + stored

    def block(self, data, limit, block_limit):
        """3.1.1.3: one compressed block."""
        literals, at = self.literals(data, block_limit)
        need(at < len(data), "zstd: a block without sequences")
        count = data[at]
        at += 1
        if count >= 128:
            need(at + (2 if count == 255 else 1) <= len(data), "zstd: a sequences section that ends early")
            if count == 255:
                count = data[at] + (data[at + 1] << 8) + 0x7F00
                at += 2
            else:
                count = (count - 128 << 8) + data[at]
                at += 1
        if count == 0:
            need(at == len(data), "zstd: bytes after the literals")
            need(len(self.out) + len(literals) <= limit, "zstd: more output than expected")
            self.out += literals
            return
        need(at < len(data), "zstd: a sequences section that ends early")
        modes = data[at]
        at += 1
        need(not modes & 3, "zstd: a reserved bit is set")
        rules = ((LITERALS_DEFAULT, 9, 35), (OFFSET_DEFAULT, 8, 31), (MATCH_DEFAULT, 9, 52))
        for index, (default, max_accuracy, max_symbol) in enumerate(rules):
            mode = modes >> (6 - 2 * index) & 3
            if mode == 0:
                self.tables[index] = default
            elif mode == 1:
                need(at < len(data) and data[at] <= max_symbol, "zstd: a wrong symbol")
                self.tables[index] = FseTable.single(data[at])
                at += 1
            elif mode == 2:
                self.tables[index], used = read_fse_distribution(data[at:], max_accuracy, max_symbol)
                at += used
            else:
                need(self.tables[index] is not None, "zstd: no FSE table to repeat")
        self.sequences(BackwardBits(data[at:]), count, literals, limit)

    def sequences(self, bits, count, literals, limit):
        """3.1.1.3.2 and 3.1.1.4: decodes the sequences and carries them out."""
        out, repeats = self.out, self.repeats
        for_literals, for_offset, for_match = self.tables
        ll_state = bits.read(for_literals.accuracy)
        of_state = bits.read(for_offset.accuracy)
        ml_state = bits.read(for_match.accuracy)
        used = 0
        for index in range(count):
            of_code = for_offset.symbols[of_state]
            value = (1 << of_code) + bits.read(of_code)
            ml_code = for_match.symbols[ml_state]
            match = MATCH_BASE[ml_code] + bits.read(MATCH_BITS[ml_code])
            ll_code = for_literals.symbols[ll_state]
            run = LITERALS_BASE[ll_code] + bits.read(LITERALS_BITS[ll_code])
            if index + 1 < count:
                ll_state = for_literals.bases[ll_state] + bits.read(for_literals.bits[ll_state])
                ml_state = for_match.bases[ml_state] + bits.read(for_match.bits[ml_state])
                of_state = for_offset.bases[of_state] + bits.read(for_offset.bits[of_state])
            need(bits.left >= 0, "zstd: sequences that end early")
            # 3.1.1.5: values 1 to 3 repeat earlier offsets, shifted by one after an empty run of literals.
            if value > 3:
                offset = value - 3
                repeats[:] = [offset, repeats[0], repeats[1]]
            else:
                which = value - 1 + (1 if run == 0 else 0)
                offset = repeats[which] if which < 3 else repeats[0] - 1
                if which == 1:
                    repeats[:] = [offset, repeats[0], repeats[2]]
                elif which > 1:
                    repeats[:] = [offset, repeats[0], repeats[1]]
            need(used + run <= len(literals), "zstd: more literals than there are")
            need(len(out) + run + match <= limit, "zstd: more output than expected")
            out += literals[used:used + run]
            used += run
            copy_match(out, offset, match, limit)
        need(bits.left == 0, "zstd: sequences with bits left over")
        need(len(out) + len(literals) - used <= limit, "zstd: more output than expected")
        out += literals[used:]


def decode_zstd(data, expected):
    return ZstdDecoder(data, expected).decode()


CODEC_NAMES = ("zero", "raw", "zstd", "deflate", "lz4", "lzo1x", "opaque")
ZERO, RAW, OPAQUE = 0, 1, 6
DECODERS = {1: decode_raw, 2: decode_zstd, 3: decode_deflate, 4: decode_lz4, 5: decode_lzo1x}


def decode(codec, data, expected):
    """Decodes stored bytes to exactly `expected` bytes, or raises CODEC_DATA."""
    try:
        return DECODERS[codec](data, expected)
    except DecodeError as problem:
        raise StreamError("CODEC_DATA", str(problem))
    except (IndexError, struct.error) as problem:
        raise StreamError("CODEC_DATA", "%s: %s" % (CODEC_NAMES[codec], problem))


def check_codec(codec, allow=(1, 2, 3, 4, 5)):
    """7.4: an unknown codec is UNSUPPORTED_CODEC, a known one at the wrong place FIELD_VALUE."""
    if codec >= len(CODEC_NAMES):
        raise StreamError("UNSUPPORTED_CODEC", "codec %d" % codec)
    if codec not in allow:
        raise StreamError("FIELD_VALUE", "codec %s is not allowed here" % CODEC_NAMES[codec])


def check_stored_length(codec, stored, original):
    """7.3: raw bytes are stored as they are, and everything else is shorter than the original."""
    good = stored == original if codec == RAW else 1 <= stored <= original - 1
    if not good:
        raise StreamError("LENGTH_MISMATCH", "%d stored bytes do not suit codec %s and an original length of %d"
                          % (stored, CODEC_NAMES[codec], original))


# ---------------------------------------------------------------------------------------------------------------------
# JSON (6.1, 12): RFC 8259 to the letter, with a bound for the depth.
# ---------------------------------------------------------------------------------------------------------------------

JSON_SPACE = re.compile(r"[ \t\n\r]*")
JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")
JSON_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
JSON_HEX = re.compile(r"[0-9A-Fa-f]{4}")
JSON_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
JSON_WORDS = (("true", True), ("false", False), ("null", None))


class JsonParser:
    """Reads from front to back, so whichever comes first, a wrong character or a level too deep, is reported."""

    def __init__(self, text, depth):
        self.text = text
        self.at = 0
        self.depth = depth

    def fail(self, message="not JSON"):
        raise StreamError("JSON_INVALID", "%s at character %d" % (message, self.at))

    def space(self):
        self.at = JSON_SPACE.match(self.text, self.at).end()

    def peek(self):
        return self.text[self.at:self.at + 1]

    def document(self):
        self.space()
        value = self.value(1)
        self.space()
        if self.at != len(self.text):
            self.fail("something after the JSON value")
        return value

    def value(self, level):
        char = self.peek()
        if char in ("{", "["):
            if level > self.depth:
                raise StreamError("LIMIT_EXCEEDED", "JSON nested deeper than %d" % self.depth)
            self.at += 1
            self.space()
            return self.members(level) if char == "{" else self.elements(level)
        if char == '"':
            return self.string()
        for word, value in JSON_WORDS:
            if self.text.startswith(word, self.at):
                self.at += len(word)
                return value
        return self.number()

    def number(self):
        match = JSON_NUMBER.match(self.text, self.at)
        if not match:
            self.fail()
        self.at = match.end()
        if match.group(1) or match.group(2) or len(match.group()) > 25:
            return float(match.group())
        return int(match.group())

    def string(self):
        parts = []
        self.at += 1
        while True:
            match = JSON_PLAIN.match(self.text, self.at)
            parts.append(match.group())
            self.at = match.end()
            char = self.peek()
            if char == '"':
                self.at += 1
                break
            if char != "\\":
                self.fail("a string with a control character or without an end")
            escape = self.text[self.at + 1:self.at + 2]
            self.at += 2
            if escape == "u":
                match = JSON_HEX.match(self.text, self.at)
                if not match:
                    self.fail("a wrong escape")
                self.at += 4
                parts.append(chr(int(match.group(), 16)))
            elif escape in JSON_ESCAPES and escape:
                parts.append(JSON_ESCAPES[escape])
            else:
                self.fail("a wrong escape")
        text = "".join(parts)
        if re.search("[\ud800-\udfff]", text):
            # Escaped pairs of surrogates are one character; what stays single is kept as it is.
            text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        return text

    def elements(self, level):
        found = []
        if self.peek() == "]":
            self.at += 1
            return found
        while True:
            self.space()
            found.append(self.value(level + 1))
            self.space()
            char = self.peek()
            self.at += 1
            if char == "]":
                return found
            if char != ",":
                self.fail()

    def members(self, level):
        found = {}
        if self.peek() == "}":
            self.at += 1
            return found
        while True:
            self.space()
            if self.peek() != '"':
                self.fail("a key must be a string")
            key = self.string()
            self.space()
            if self.peek() != ":":
                self.fail()
            self.at += 1
            self.space()
            found[key] = self.value(level + 1)
            self.space()
            char = self.peek()
            self.at += 1
            if char == "}":
                return found
            if char != ",":
                self.fail()


def parse_json_object(body, depth):
    try:
        text = bytes(body).decode("utf-8")
    except UnicodeDecodeError as problem:
        raise StreamError("JSON_INVALID", "not UTF-8: %s" % problem.reason)
    value = JsonParser(text, depth).document()
    if not isinstance(value, dict):
        raise StreamError("JSON_INVALID", "not an object")
    return value


def printable_json(value):
    """A number beyond the range of a double has no JSON form; it is printed as null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, list):
        return [printable_json(item) for item in value]
    if isinstance(value, dict):
        return {key: printable_json(item) for key, item in value.items()}
    return value


def as_integer(value):
    """The integer that a JSON number is, or None."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)
    return None


# ---------------------------------------------------------------------------------------------------------------------
# Tables of the format.
# ---------------------------------------------------------------------------------------------------------------------

MAGIC = b"\x89TMIGR\r\n\x1a\n\x00\xff"
FOOTER_MAGIC = b"\x89TMIGE\r\n\x1a\n\x00\xff"
OPTIONAL = 0x80000000
BODY_LIMIT = 16 * MIB
SEAL_INTERVAL = 64 * MIB
MACHINE_RECORDS_LIMIT = 65536

ABOUT, DICTIONARY, SEAL, BARRIER, ROUND, CHECKPOINT, END, INDEX, INDEX_ROOT, ACK = range(1, 11)
RAM = 0x10
VCPU_X86, VCPU_STATE, X86_CPUID, X86_MSR = 0x20, 0x21, 0x22, 0x23
DEVICE, DEVICE_DATA, DISK = 0x30, 0x31, 0x32
TMEM_CLIENT, TMEM_POOL, TMEM_PAGES, TMEM_INVALIDATE = 0x40, 0x41, 0x42, 0x43
ORIGIN = 0x50

# 3.5: number: (name, section, body limit, allowed values of bit 31).
MANDATORY_ONLY, OPTIONAL_ONLY, BOTH = (False,), (True,), (False, True)
RECORDS = {
    ABOUT: ("ABOUT", "6.1", MIB, MANDATORY_ONLY),
    DICTIONARY: ("DICTIONARY", "12", 64 << 10, MANDATORY_ONLY),
    SEAL: ("SEAL", "5.3", 48, MANDATORY_ONLY),
    BARRIER: ("BARRIER", "6.2", 528, MANDATORY_ONLY),
    ROUND: ("ROUND", "6.3", 16, MANDATORY_ONLY),
    CHECKPOINT: ("CHECKPOINT", "6.4", 16, MANDATORY_ONLY),
    END: ("END", "6.5", 576, MANDATORY_ONLY),
    INDEX: ("INDEX", "13.1", 196616, OPTIONAL_ONLY),
    INDEX_ROOT: ("INDEX_ROOT", "13.2", BODY_LIMIT, OPTIONAL_ONLY),
    ACK: ("ACK", "6.6", 48, MANDATORY_ONLY),
    RAM: ("RAM", "7", BODY_LIMIT, MANDATORY_ONLY),
    VCPU_X86: ("VCPU_X86", "8.1", 512, MANDATORY_ONLY),
    VCPU_STATE: ("VCPU_STATE", "8.2", BODY_LIMIT, MANDATORY_ONLY),
    X86_CPUID: ("X86_CPUID", "8.3", 98312, MANDATORY_ONLY),
    X86_MSR: ("X86_MSR", "8.4", 65544, MANDATORY_ONLY),
    DEVICE: ("DEVICE", "9.1", 851, MANDATORY_ONLY),
    DEVICE_DATA: ("DEVICE_DATA", "9.2", MIB + 24, MANDATORY_ONLY),
    DISK: ("DISK", "9.3", 4564, MANDATORY_ONLY),
    TMEM_CLIENT: ("TMEM_CLIENT", "10.1", 280, MANDATORY_ONLY),
    TMEM_POOL: ("TMEM_POOL", "10.2", 48, BOTH),
    TMEM_PAGES: ("TMEM_PAGES", "10.3", BODY_LIMIT, BOTH),
    TMEM_INVALIDATE: ("TMEM_INVALIDATE", "10.4", BODY_LIMIT, BOTH),
    ORIGIN: ("ORIGIN", "11", BODY_LIMIT, OPTIONAL_ONLY),
}
TMEM_RECORDS = (TMEM_CLIENT, TMEM_POOL, TMEM_PAGES, TMEM_INVALIDATE)
MACHINE_RECORDS = (VCPU_X86, VCPU_STATE, X86_CPUID, X86_MSR, DEVICE)
# 14.1: records that form a meeting by their type alone; TMEM_INVALIDATE of scope pool joins them by its body.
MEETING_RECORDS = (ROUND, CHECKPOINT, END, TMEM_CLIENT, TMEM_POOL)
# 13.1: what an index does not list.
NOT_INDEXED = (ABOUT, SEAL, BARRIER, END, INDEX, INDEX_ROOT)

KINDS = {1: "save", 2: "migration", 3: "incremental", 4: "core"}
BYTE_ORDERS = {1: "little", 2: "big"}
DOMAIN_TYPES = {0: "unknown", 1: "pv", 2: "hvm", 3: "pvh", 4: "emulated-tmem", 5: "emulated"}
DIRECTIONS = {0: "forward", 1: "back"}
MUST_KNOW = {0: "ENCRYPTED", 1: "PAGE_REFERENCES", 2: "DELTAS", 3: "INCREMENTAL"}
MAY_IGNORE = {0: "INDEXED"}
INCREMENTAL_BIT, INDEXED_BIT = 1 << 3, 1 << 0
CLASSES_WITH_DATA = frozenset((0, 1, 2, 3, 4, 9, 10, 11, 12))
CLASSES_WITHOUT_DATA = frozenset((0x80, 0x81, 0x82, 0x83))
DISK_POLICIES = {1: "inside-device", 2: "digest", 3: "tmem", 4: "shared"}
SCOPES = {1: "pages", 2: "objects", 3: "pool"}
PFN_LIMIT = 1 << 52
UNIT_LIMIT = 256 << 10

VCPU_GROUPS = ("general", "segments", "control", "cr8", "efer", "syscall", "pat", "tsc", "xcr0", "apic", "tables",
               "debug")
# 8.1: registers in the order in which they are printed: offset, group bit, names.
VCPU_REGISTERS = (
    (8, 0, "rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags"),
    (152, 2, "cr0 cr2 cr3 cr4"), (184, 3, "cr8"), (192, 4, "efer"),
    (200, 5, "kernel_gs_base star lstar cstar sfmask sysenter_cs sysenter_esp sysenter_eip"),
    (264, 6, "pat"), (272, 7, "tsc"), (280, 8, "xcr0"), (288, 9, "apic_base"),
    (456, 11, "dr0 dr1 dr2 dr3 dr6 dr7"),
)
SEGMENTS = ("es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr")


def crc(data):
    return zlib.crc32(data) & 0xFFFFFFFF


def uuid_text(data):
    text = bytes(data).hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def feature_names(bits, names):
    return [names.get(bit, "bit %d" % bit) for bit in range(64) if bits >> bit & 1]


def fail_length(message):
    raise StreamError("LENGTH_MISMATCH", message)


def fail_field(message):
    raise StreamError("FIELD_VALUE", message)


def check_count(count, low, high, what):
    """3.2: a count above its limit is LIMIT_EXCEEDED, one below its range FIELD_VALUE."""
    if count > high:
        raise StreamError("LIMIT_EXCEEDED", "%d %s, at most %d are allowed" % (count, what, high))
    if count < low:
        fail_field("%d %s, at least %d are needed" % (count, what, low))


def take_string(body, at, limit, what):
    """1.4: a string and the offset after it."""
    if at + 2 > len(body):
        fail_length("the body ends before the %s" % what)
    size = body[at] | body[at + 1] << 8
    at += 2
    if size > limit:
        raise StreamError("LIMIT_EXCEEDED", "the %s has %d bytes, at most %d are allowed" % (what, size, limit))
    if at + size > len(body):
        fail_length("the body ends inside the %s" % what)
    return string_text(body[at:at + size], what), at + size


def string_text(data, what):
    try:
        text = bytes(data).decode("utf-8")
    except UnicodeDecodeError:
        raise StreamError("STRING_INVALID", "the %s is not UTF-8" % what)
    if "\0" in text:
        raise StreamError("STRING_INVALID", "the %s has a U+0000" % what)
    return text


# ---------------------------------------------------------------------------------------------------------------------
# Dictionary and schemas (12).
# ---------------------------------------------------------------------------------------------------------------------

FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
RECORD_NAME = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)+")
INTEGER_TYPES = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i8": "<b", "i16": "<h", "i32": "<i", "i64": "<q"}
FLOAT_TYPES = {"f32": "<f", "f64": "<d"}
OTHER_TYPES = ("bool", "uuid", "string", "bytes")


class SchemaMisfit(Exception):
    """12.2: a body that does not fit its schema; no error of the stream."""


def check_schema(schema):
    """12.1: returns the list of fields."""

    def refuse(message):
        raise StreamError("SCHEMA_INVALID", message)

    if not isinstance(schema, dict) or not isinstance(schema.get("fields"), list):
        refuse("a schema is an object with a list of fields")
    fields = schema["fields"]
    if len(fields) > 256:
        raise StreamError("LIMIT_EXCEEDED", "%d fields, at most 256 are allowed" % len(fields))
    names = set()
    counters = set()
    for place, field in enumerate(fields):
        if not isinstance(field, dict):
            refuse("a field is an object")
        name, kind = field.get("name"), field.get("type")
        if not isinstance(name, str) or not FIELD_NAME.fullmatch(name) or name in names:
            refuse("field %d: a wrong name, or one that came before" % place)
        if not isinstance(kind, str) or (kind not in INTEGER_TYPES and kind not in FLOAT_TYPES
                                         and kind not in OTHER_TYPES):
            refuse("field %s: a wrong type" % name)
        for key in ("unit", "text"):
            if key in field and not isinstance(field[key], str):
                refuse("field %s: %s is not a string" % (name, key))
        if "show" in field and (field["show"] != "hex" or kind not in INTEGER_TYPES):
            refuse("field %s: a wrong show" % name)
        if "count" in field:
            count = field["count"]
            number = as_integer(count)
            if number is not None:
                if not 0 <= number <= 65535:
                    refuse("field %s: a count outside 0 to 65535" % name)
            elif count == "rest":
                if place != len(fields) - 1:
                    refuse("field %s: count rest belongs to the last field" % name)
            elif not isinstance(count, str) or count not in counters:
                refuse("field %s: a wrong count" % name)
        elif kind in ("u8", "u16", "u32"):
            counters.add(name)
        names.add(name)
    return fields


def check_dictionary(body):
    """12: returns what is printed of a DICTIONARY record, and its fields for printing bodies, or None."""
    about = parse_json_object(body, 8)
    record = as_integer(about.get("record"))
    if record is None or not 1 <= record <= 0x7FFF:
        fail_field("record is missing or wrong")
    name = about.get("name")
    if not isinstance(name, str) or len(name) > 255 or not RECORD_NAME.fullmatch(name):
        fail_field("name is missing or wrong")
    version = as_integer(about.get("version"))
    if version is None or not 1 <= version <= 65535:
        fail_field("version is missing or wrong")
    text = about.get("text")
    if "text" in about and not isinstance(text, str):
        fail_field("text is not a string")
    fields = check_schema(about["schema"]) if "schema" in about else None
    printed = {"record": record, "name": name, "version": version, "text": text,
               "schema": printable_json(about.get("schema"))}
    return printed, fields


def schema_value(kind, show, body, at):
    """12.2: one value, printed as cli-json 3 says, and the offset after it."""

    def chunk(size):
        if at + size > len(body):
            raise SchemaMisfit("the body ends inside a value of type %s" % kind)
        return body[at:at + size]

    if kind in INTEGER_TYPES:
        size = struct.calcsize(INTEGER_TYPES[kind])
        data = chunk(size)
        if show == "hex":
            return data[::-1].hex(), at + size
        value = struct.unpack(INTEGER_TYPES[kind], data)[0]
        return (str(value) if size == 8 else value), at + size
    if kind in FLOAT_TYPES:
        size = struct.calcsize(FLOAT_TYPES[kind])
        value = struct.unpack(FLOAT_TYPES[kind], chunk(size))[0]
        if math.isnan(value):
            return "NaN", at + size
        if math.isinf(value):
            return ("Infinity" if value > 0 else "-Infinity"), at + size
        return value, at + size
    if kind == "bool":
        byte = chunk(1)[0]
        if byte > 1:
            raise SchemaMisfit("a bool of %d" % byte)
        return byte == 1, at + 1
    if kind == "uuid":
        return uuid_text(chunk(16)), at + 16
    width = 2 if kind == "string" else 4
    size = int.from_bytes(chunk(width), "little")
    at += width
    data = chunk(size)
    if kind == "bytes":
        return data.hex(), at + size
    try:
        return string_text(data, "value"), at + size
    except StreamError as problem:
        raise SchemaMisfit(problem.message)


def print_by_schema(fields, body):
    """12.2: the fields of a body by their names, or its first bytes with the reason."""
    printed = {}
    integers = {}
    at = 0
    try:
        for field in fields:
            if at == len(body):
                break
            name, kind, show = field["name"], field["type"], field.get("show")
            if "count" not in field:
                printed[name], following = schema_value(kind, show, body, at)
                if kind in ("u8", "u16", "u32"):
                    integers[name] = int.from_bytes(body[at:following], "little")
                at = following
                continue
            count = field["count"]
            values = []
            if count == "rest":
                while at < len(body):
                    value, at = schema_value(kind, show, body, at)
                    values.append(value)
            else:
                number = as_integer(count)
                for _ in range(integers[count] if number is None else number):
                    value, at = schema_value(kind, show, body, at)
                    values.append(value)
            printed[name] = values
    except SchemaMisfit as problem:
        return {"bytes": body[:64].hex(), "schemaProblem": str(problem)}
    if at < len(body):
        printed["extraBytes"] = len(body) - at
    return printed


# ---------------------------------------------------------------------------------------------------------------------
# What a stream's content adds up to (7.5, 10, 19).
# ---------------------------------------------------------------------------------------------------------------------


class Content:
    """Where the newest version of every page lies in the files, so that the digests of section 19 can be made.

    Pages stay in the files; memory holds 8 bytes a page.  Above HELD_LIMIT places no digest is made.
    """

    HELD_LIMIT = 1 << 20

    def __init__(self):
        self.inputs = {}
        self.page_size = 4096
        self.chunks = {}
        self.unit_offset = array.array("Q")
        self.unit_stored = array.array("L")
        self.unit_codec = array.array("B")
        self.unit_pages = array.array("B")
        self.unit_channel = array.array("B")
        self.pools = {}
        self.has_tmem = False
        self.tmem_held = 0
        self.too_large = False
        self.cache = OrderedDict()

    def set_page(self, pfn, code):
        """A code of 0: not present; 1: zero; else 64 times (unit + 1) plus the page's place in the unit."""
        key = pfn >> 6
        chunk = self.chunks.get(key)
        if chunk is None:
            if code == 0 or self.too_large:
                return
            if len(self.chunks) >= self.HELD_LIMIT:
                self.too_large = True
                self.chunks.clear()
                return
            chunk = self.chunks[key] = array.array("Q", bytes(512))
        chunk[pfn & 63] = code

    def apply_ram(self, channel, extents, zero_bitmap, units):
        """7.2, 7.3: pages take their places in the units in order."""
        unit_at = 0
        in_unit = 0
        data_page = 0
        for first, pages, kind in extents:
            if kind in CLASSES_WITHOUT_DATA:
                for pfn in range(first, first + pages):
                    self.set_page(pfn, 0)
                continue
            for pfn in range(first, first + pages):
                if zero_bitmap[data_page >> 3] >> (data_page & 7) & 1:
                    self.set_page(pfn, 1)
                else:
                    if in_unit == 0:
                        offset, stored, codec, unit_pages = units[unit_at]
                        self.unit_offset.append(offset)
                        self.unit_stored.append(stored)
                        self.unit_codec.append(codec)
                        self.unit_pages.append(unit_pages)
                        self.unit_channel.append(channel)
                    self.set_page(pfn, len(self.unit_offset) << 6 | in_unit)
                    in_unit += 1
                    if in_unit == units[unit_at][3]:
                        unit_at += 1
                        in_unit = 0
                data_page += 1

    def read(self, channel, offset, size):
        return self.inputs[channel].read_at(offset, size)

    def unit(self, number):
        """The decoded bytes of a unit; a few are kept, because pages of one unit are mostly neighbours."""
        found = self.cache.get(number)
        if found is None:
            stored = self.read(self.unit_channel[number], self.unit_offset[number], self.unit_stored[number])
            found = decode(self.unit_codec[number], stored, self.unit_pages[number] * self.page_size)
            self.cache[number] = found
            if len(self.cache) > 64:
                self.cache.popitem(last=False)
        else:
            self.cache.move_to_end(number)
        return found

    def memory_digest(self):
        """19.1: every present page in ascending pfn: the pfn, then its bytes."""
        if self.too_large:
            return None
        total = zeros = 0
        digest = hashlib.sha256()
        blank = bytes(self.page_size)
        for key in sorted(self.chunks):
            for place, code in enumerate(self.chunks[key]):
                if code == 0:
                    continue
                if code == 1:
                    page = blank
                else:
                    start = (code & 63) * self.page_size
                    page = self.unit((code >> 6) - 1)[start:start + self.page_size]
                total += 1
                if page == blank:
                    zeros += 1
                digest.update(struct.pack("<Q", key << 6 | place))
                digest.update(page)
        return {"pages": total, "zeroPages": zeros, "sha256": digest.hexdigest()}

    def add_pool(self, incarnation, pool, persistent, page_size):
        self.has_tmem = True
        if persistent:
            self.pools[incarnation] = (pool, page_size, {})

    def put_tmem(self, incarnation, words, index, place):
        """10.3.3: the newest entry of a handle wins."""
        held = self.pools.get(incarnation)
        if held is None or self.too_large:
            return
        pages = held[2].setdefault(words, {})
        if index not in pages:
            self.tmem_held += 1
            if self.tmem_held > self.HELD_LIMIT * 4:
                self.too_large = True
        pages[index] = place

    def invalidate_tmem(self, incarnation, scope, handles):
        """10.4: handles that are not held are ignored."""
        held = self.pools.get(incarnation)
        if held is None:
            return
        if scope == 3:
            del self.pools[incarnation]
            return
        for words, index in handles:
            if scope == 2:
                held[2].pop(words, None)
            elif words in held[2]:
                held[2][words].pop(index, None)

    def tmem_digest(self):
        """19.2: the pages of persistent pools in ascending pool id, object words, index."""
        if not self.has_tmem or self.too_large:
            return None
        total = 0
        digest = hashlib.sha256()
        for pool, page_size, objects in sorted(self.pools.values(), key=lambda held: held[0]):
            for words in sorted(objects):
                pages = objects[words]
                for index in sorted(pages):
                    channel, offset, stored, codec, original = pages[index]
                    data = self.read(channel, offset, stored)
                    total += 1
                    digest.update(struct.pack("<I3QI", pool, words[0], words[1], words[2], index))
                    digest.update(tmem_content(codec, data, original, page_size))
        return {"pools": len(self.pools), "pages": total, "sha256": digest.hexdigest()}


def tmem_content(codec, data, original, page_size):
    """10.3.1, 10.3.2: the original content: a whole page, or of a PRECOMPRESSED pool the stored bytes."""
    if codec == OPAQUE:
        return data
    if codec == ZERO:
        return bytes(page_size)
    content = decode(codec, data, original)
    return content + bytes(page_size - original)


# ---------------------------------------------------------------------------------------------------------------------
# One channel.
# ---------------------------------------------------------------------------------------------------------------------


class Input:
    """A file that is read forward; the digests come back to it at the end."""

    def __init__(self, path):
        self.path = path
        self.file = open(path, "rb")
        self.position = 0

    def read(self, size):
        data = self.file.read(size)
        self.position += len(data)
        return data

    def read_at(self, offset, size):
        self.file.seek(offset)
        data = self.file.read(size)
        if len(data) != size:
            raise OSError("%s became shorter while it was read" % self.path)
        return data

    def close(self):
        self.file.close()


class Record:
    """One record after its checks."""

    __slots__ = ("number", "optional", "sequence", "offset", "length", "body", "fields", "name", "section", "meeting",
                 "apply", "entry")

    def as_object(self):
        kind = self.number | (OPTIONAL if self.optional else 0)
        return {"sequence": self.sequence, "offset": self.offset, "type": "%08x" % kind, "name": self.name,
                "section": self.section, "optional": self.optional, "length": self.length, "fields": self.fields}


class Preamble:
    """2: the 128 bytes, after magic, length and CRC have been checked."""

    def __init__(self, data):
        (self.major, self.minor, self.kind, self.byte_order, self.word_bits, self.domain_type, self.machine,
         self.page_shift, self.direction, self.must_know, self.may_ignore) = struct.unpack("<HHBBBBHBBQQ", data[12:40])
        self.stream_id = data[40:56]
        self.channels, self.channel = struct.unpack_from("<HH", data, 56)
        self.tag = struct.unpack_from("<I", data, 124)[0]
        self.data = data

    @property
    def indexed(self):
        return bool(self.may_ignore & INDEXED_BIT)

    @property
    def back(self):
        return self.direction == 1

    def check(self):
        """2.1, after ABOUT: version, features, then the other fields."""
        if self.major != 1:
            raise StreamError("UNSUPPORTED_VERSION", "major version %d" % self.major)
        if self.must_know:
            raise StreamError("UNSUPPORTED_FEATURE", ", ".join(feature_names(self.must_know, MUST_KNOW)))
        for what, value, allowed in (
                ("kind", self.kind, KINDS), ("byte order", self.byte_order, BYTE_ORDERS),
                ("word size", self.word_bits, (32, 64)), ("domain type", self.domain_type, DOMAIN_TYPES),
                ("page shift", self.page_shift, range(12, 17)), ("direction", self.direction, DIRECTIONS),
                ("number of channels", self.channels, range(1, 17)),
                ("channel", self.channel, range(self.channels))):
            if value not in allowed:
                fail_field("preamble: %s %d" % (what, value))
        if self.kind == 3:
            fail_field("preamble: kind incremental without feature INCREMENTAL")
        if self.indexed and (self.channels > 1 or self.back):
            fail_field("preamble: INDEXED needs one channel, forward")

    def as_object(self):
        """cli-json 2; a value outside its table is printed as its number."""
        return {
            "major": self.major, "minor": self.minor, "kind": KINDS.get(self.kind, self.kind),
            "byteOrder": BYTE_ORDERS.get(self.byte_order, self.byte_order), "wordBits": self.word_bits,
            "domainType": DOMAIN_TYPES.get(self.domain_type, self.domain_type), "machine": self.machine,
            "pageSize": 1 << self.page_shift if 12 <= self.page_shift <= 16 else None,
            "direction": DIRECTIONS.get(self.direction, self.direction),
            "mustKnow": feature_names(self.must_know, MUST_KNOW),
            "mayIgnore": feature_names(self.may_ignore, MAY_IGNORE),
            "streamId": uuid_text(self.stream_id), "channels": self.channels, "channel": self.channel,
            "checksum": "%08x" % self.tag,
        }


def check_magic(data):
    """2.2: what the first bytes say, before anything else."""
    head = data[:12]
    if head == MAGIC:
        return
    if MAGIC.startswith(head):
        raise StreamError("TRUNCATED", "the input ends inside the magic")
    if head[:6] == b"\x09TMIGR":
        raise StreamError("SEVEN_BIT_DAMAGE", "the eighth bit was lost on the way")
    if head[:6] == b"\x89TMIGR" or head[:7] == b"\xc2\x89TMIGR":
        raise StreamError("TEXT_MODE_DAMAGE", "line ends or characters were converted on the way")
    raise StreamError("NOT_AN_IMAGE", "no magic")


class Channel:
    """Reads one channel record by record.  What concerns several channels is in `read_channels`."""

    def __init__(self, source, container=False):
        self.input = source
        self.container = container
        self.preamble = None
        self.warnings = []
        self.step = self.open
        self.count = 0
        self.previous = None
        self.in_meeting = False
        self.end_offset = None
        self.root_offset = None
        self.end_chain = None
        self.chain = None
        self.hash = None
        self.seals = 0
        self.since_seal = 0
        self.barriers = 0
        self.rounds = 0
        self.checkpoints = 0
        self.disturbed = None
        self.machine_records = 0
        self.once = set()
        self.devices = {}
        self.disks = set()
        self.parts = 0
        self.acks = {}
        self.client = False
        self.pools = {}
        self.slots = set()
        self.highest_incarnation = 0
        self.bindings = {}
        self.local_seen = set()
        self.totals = dict.fromkeys(("ram", "zero", "absent", "tmem", "invalidations", "device"), 0)
        self.pending = []
        self.segments = []
        self.parsers = {
            ABOUT: self.about, DICTIONARY: self.dictionary, SEAL: self.seal, BARRIER: self.barrier, ROUND: self.round,
            CHECKPOINT: self.checkpoint, END: self.end, INDEX: self.index, INDEX_ROOT: self.index_root, ACK: self.ack,
            RAM: self.ram, VCPU_X86: self.vcpu_x86, VCPU_STATE: self.vcpu_state, X86_CPUID: self.cpuid,
            X86_MSR: self.msr, DEVICE: self.device, DEVICE_DATA: self.device_data, DISK: self.disk,
            TMEM_CLIENT: self.tmem_client, TMEM_POOL: self.tmem_pool, TMEM_PAGES: self.tmem_pages,
            TMEM_INVALIDATE: self.tmem_invalidate, ORIGIN: self.origin,
        }

    # The steps of a channel: open (preamble and ABOUT), begin (the other checks of the preamble), records until END,
    # then the index and the footer.

    def next(self):
        """The next record that may be handed on, or None at the end of the channel; raises a placed StreamError."""
        return self.step()

    def open(self):
        """2.1: the preamble up to its CRC, then ABOUT."""
        try:
            data = self.input.read(128)
            check_magic(data)
            if len(data) < 128:
                raise StreamError("TRUNCATED", "the input ends inside the preamble")
            if crc(data[:124]) != struct.unpack_from("<I", data, 124)[0]:
                raise StreamError("PREAMBLE_CHECKSUM", "the preamble's checksum is wrong")
        except StreamError as problem:
            problem.place(self.input.position if problem.code == "TRUNCATED" else 0, None)
            raise
        self.preamble = Preamble(data)
        self.chain = hashlib.sha256(data).digest()
        self.hash = hashlib.sha256(self.chain)
        self.step = self.begin
        return self.record()

    def begin(self):
        try:
            self.preamble.check()
        except StreamError as problem:
            problem.place(0, None)
            raise
        self.step = self.record
        return self.record()

    def finish(self):
        """After END: INDEX_ROOT and the footer when INDEXED is set, else nothing."""
        if not self.preamble.indexed:
            return self.trailing()
        self.step = self.footer
        return self.record()

    def footer(self):
        """13.3: all of it is known, so it is compared as a whole."""
        offset = self.input.position
        data = self.input.read(64)
        if len(data) < 64:
            raise StreamError("TRUNCATED", "the input ends before or inside the footer", offset + len(data))
        magic, tag, end, root, length, chain = struct.unpack_from("<12sIQQQ16s", data)
        problem = None
        if crc(data[:60]) != struct.unpack_from("<I", data, 60)[0]:
            problem = "checksum"
        elif magic != FOOTER_MAGIC:
            problem = "magic"
        elif tag != self.preamble.tag:
            problem = "tag"
        elif (end, root) != (self.end_offset, self.root_offset):
            problem = "offset of END or INDEX_ROOT"
        elif length != offset + 64:
            problem = "length of the stream"
        elif chain != self.end_chain[:16]:
            problem = "chain"
        if problem:
            raise StreamError("FOOTER", "the footer is wrong: %s" % problem, offset)
        return self.trailing()

    def trailing(self):
        """13.4: more bytes are an error, unless the image lies in a container."""
        offset = self.input.position
        self.step = lambda: None
        if self.input.read(1):
            if not self.container:
                raise StreamError("TRAILING_DATA", "bytes after the end of the stream", offset)
            self.warnings.append({"code": "TRAILING_DATA", "offset": offset, "sequence": None,
                                  "message": "bytes after the end of the stream"})
        return None

    def record(self):
        """3.1, 3.2: one record with all its checks.

        errors.md 3: the offset of an error is that of the record's header, of TRUNCATED the number of bytes there.
        """
        offset = self.input.position
        try:
            header = self.input.read(24)
            if len(header) < 24:
                raise StreamError("TRUNCATED", "the input ends inside a header" if header else
                                  "the input ends where a record is expected")
            return self.checked_record(header, offset)
        except StreamError as problem:
            problem.place(self.input.position if problem.code == "TRUNCATED" else offset, self.count)
            raise

    def checked_record(self, header, offset):
        kind, length, sequence, tag, body_crc, header_crc = struct.unpack("<6I", header)
        if crc(header[:20]) != header_crc:
            raise StreamError("HEADER_CHECKSUM", "the header's checksum is wrong")
        if tag != self.preamble.tag:
            raise StreamError("RECORD_FOREIGN", "a record of another stream or channel")
        if sequence != self.count:
            raise StreamError("RECORD_SEQUENCE", "record %d where %d is expected" % (sequence, self.count))
        record = Record()
        record.number, record.optional = kind & 0xFFFF, bool(kind & OPTIONAL)
        record.sequence, record.offset, record.length = sequence, offset, length
        record.meeting, record.apply, record.entry = False, None, None
        number = record.number
        # 3.3: the type.
        known = RECORDS.get(number)
        if kind & 0x7FFF0000 or not 1 <= number <= 0x7FFF or (known and record.optional not in known[3]):
            fail_field("type %08x" % kind)
        limit = known[2] if known else BODY_LIMIT
        if length > limit:
            raise StreamError("LIMIT_EXCEEDED", "a body of %d bytes, at most %d are allowed" % (length, limit))
        self.check_order(record, known)
        padded = length + 7 & ~7
        if number != SEAL and self.since_seal + 24 + padded > SEAL_INTERVAL:
            raise StreamError("SEAL_MISSING", "more than 64 MiB without a SEAL")
        if number in MACHINE_RECORDS and self.machine_records >= MACHINE_RECORDS_LIMIT:
            raise StreamError("LIMIT_EXCEEDED", "more than 65,536 records of processors and devices")
        # 3.4, 12: what this reader does not know has its name from a DICTIONARY.
        binding = None
        if known:
            record.name, record.section = known[0], known[1]
        else:
            binding = self.bindings.get(number)
            record.name = binding[0] if binding else "unknown"
            record.section = "12" if number >= 0x4000 else "3.4"
            # 3.4: this reader restores nothing, so it reads past a record that has a name.
            if not record.optional and not (number >= 0x4000 and binding):
                raise StreamError("UNKNOWN_RECORD", "mandatory record %s"
                                  % (binding[0] if binding else "0x%04x" % number))
        body = self.input.read(padded)
        if len(body) < padded:
            raise StreamError("TRUNCATED", "the input ends inside a body")
        if crc(body) != body_crc:
            raise StreamError("BODY_CHECKSUM", "the body's checksum is wrong")
        record.body = body[:length]
        if known:
            record.fields = self.parsers[number](record, record.body)
        else:
            self.local_seen.add(number)
            fields = binding[1] if binding else None
            record.fields = {"bytes": record.body[:64].hex()} if fields is None else \
                print_by_schema(fields, record.body)
        self.after(record, header, 24 + padded)
        return record

    def after(self, record, header, size):
        """What a record changes for those that follow it."""
        number = record.number
        if number == SEAL:
            self.hash = hashlib.sha256(self.chain)
            self.since_seal = 0
        else:
            self.since_seal += size
        self.hash.update(header)
        if number == END:
            self.step = self.finish
        # 4: between the last CHECKPOINT and END only these are allowed.
        if number == CHECKPOINT:
            self.disturbed = None
        elif number not in (SEAL, BARRIER, DICTIONARY, END) and (not record.optional or number in TMEM_RECORDS):
            self.disturbed = record.name
        if number in MACHINE_RECORDS:
            self.machine_records += 1
        meets = record.meeting or number == BARRIER
        self.in_meeting = meets
        record.meeting = meets and self.preamble.channels > 1
        self.previous = number
        self.count += 1
        if self.preamble.indexed and number not in NOT_INDEXED and len(self.pending) <= 4096:
            kind = number | (OPTIONAL if record.optional else 0)
            self.pending.append(struct.pack("<QIIQQQII", record.offset, kind, *(record.entry or (0, 0, 0, 0, 0, 0))))

    def check_order(self, record, known):
        """4: the rules that the header alone decides."""
        number = record.number

        def refuse(message, code="RECORD_ORDER"):
            raise StreamError(code, message)

        if self.end_offset is not None:
            if number != INDEX_ROOT:
                refuse("%s after END" % (known[0] if known else "a record"))
            return
        if self.count == 0:
            if number != ABOUT:
                refuse("the first record is not ABOUT")
            return
        if number == ABOUT:
            refuse("a second ABOUT")
        if number == INDEX_ROOT:
            refuse("INDEX_ROOT before END")
        if self.preamble.back:
            if number not in (DICTIONARY, ACK, SEAL, END) and number < 0x4000 and (known or not record.optional):
                refuse("this record does not go back")
        elif number == ACK:
            refuse("ACK in direction forward")
        if number in TMEM_RECORDS and self.preamble.domain_type not in (1, 4):
            refuse("tmem in a machine that cannot have it", "TMEM_NOT_ALLOWED")
        if number == INDEX and not self.preamble.indexed:
            refuse("INDEX without the feature INDEXED")
        if number == ROUND and self.preamble.kind not in (1, 2):
            refuse("ROUND in an image of this kind")
        if number == ORIGIN and self.preamble.channel != 0:
            refuse("ORIGIN on another channel than 0")
        if number == BARRIER and self.previous != SEAL:
            refuse("BARRIER without a SEAL directly before it")
        if number in (CHECKPOINT, END) and self.previous not in (SEAL, BARRIER):
            refuse("%s without a SEAL or BARRIER directly before it" % known[0])
        if number == CHECKPOINT and any(device is not None for device in self.devices.values()):
            refuse("CHECKPOINT before a device is complete")
        if number == END and not self.preamble.back:
            if not self.checkpoints:
                refuse("END without a CHECKPOINT", "NO_CHECKPOINT")
            if self.disturbed:
                refuse("%s between the last CHECKPOINT and END" % self.disturbed)
        if number == TMEM_CLIENT and self.client:
            refuse("a second TMEM_CLIENT", "DUPLICATE")
        if number == TMEM_POOL and not self.client:
            refuse("TMEM_POOL before TMEM_CLIENT")
        if number >= 0x4000 and number not in self.bindings:
            refuse("record 0x%04x before its DICTIONARY" % number)
        if number in MEETING_RECORDS:
            record.meeting = True
            self.check_meeting(known[0])

    def check_meeting(self, name):
        """14.1: with several channels a BARRIER, or another record of the same meeting, stands directly before."""
        if self.preamble.channels > 1 and not self.preamble.back and not self.in_meeting:
            raise StreamError("RECORD_ORDER", "%s without a BARRIER directly before it" % name)

    def warn(self, record, message):
        self.warnings.append({"code": "INDEX_MISMATCH", "offset": record.offset, "sequence": record.sequence,
                              "message": message})

    def exact(self, body, size):
        if len(body) != size:
            fail_length("a body of %d bytes, %d are expected" % (len(body), size))

    def at_least(self, body, size):
        if len(body) < size:
            fail_length("a body of %d bytes, at least %d are expected" % (len(body), size))

    def expect_number(self, number, expected, what):
        if number != expected:
            raise StreamError("RECORD_ORDER", "%s %d where %d is expected" % (what, number, expected))

    # 6: control records.

    def about(self, record, body):
        return {"about": printable_json(parse_json_object(body, 32))}

    def dictionary(self, record, body):
        printed, fields = check_dictionary(body)
        number = printed["record"]
        if number in self.bindings:
            raise StreamError("DUPLICATE", "record 0x%04x is bound already" % number)
        if len(self.bindings) >= 256:
            raise StreamError("LIMIT_EXCEEDED", "more than 256 bindings")
        if number in self.local_seen:
            raise StreamError("RECORD_ORDER", "a binding after the first record of its number")
        self.bindings[number] = (printed["name"], fields)
        return printed

    def seal(self, record, body):
        """5.3: the chain takes in all headers since the last SEAL."""
        self.exact(body, 48)
        number, offset = struct.unpack_from("<QQ", body)
        expected = self.hash.digest()
        if number != self.seals + 1 or offset != record.offset or body[16:] != expected:
            raise StreamError("SEAL_MISMATCH", "the SEAL's number, offset or chain is another one")
        self.seals = number
        self.chain = expected
        return {"number": number, "offset": offset, "chain": expected.hex()}

    def chain_vector(self, data):
        """6.2, 6.5: one chain a channel; this channel's own entry is compared here."""
        chains = [data[at:at + 32] for at in range(0, len(data), 32)]
        if chains[self.preamble.channel] != self.chain:
            raise StreamError("CHAIN_VECTOR", "this channel's chain is another one")
        return [chain.hex() for chain in chains]

    def barrier(self, record, body):
        self.at_least(body, 16)
        number, channels = struct.unpack_from("<QI", body)
        if channels != self.preamble.channels:
            fail_field("%d channels, the preamble says %d" % (channels, self.preamble.channels))
        self.exact(body, 16 + 32 * channels)
        self.expect_number(number, self.barriers + 1, "BARRIER")
        chains = self.chain_vector(body[16:])
        self.barriers = number
        return {"number": number, "chains": chains}

    def round(self, record, body):
        self.exact(body, 16)
        number = struct.unpack_from("<Q", body)[0]
        self.expect_number(number, self.rounds, "ROUND")
        self.rounds += 1
        return {"round": number}

    def checkpoint(self, record, body):
        self.exact(body, 16)
        number, time = struct.unpack("<QQ", body)
        self.expect_number(number, self.checkpoints + 1, "CHECKPOINT")
        self.checkpoints = number
        self.once.clear()
        self.devices.clear()
        self.machine_records = 0
        return {"number": number, "guestTimeNs": str(time)}

    def end(self, record, body):
        self.at_least(body, 64)
        values = struct.unpack_from("<7QI", body)
        channels = values[7]
        if channels != self.preamble.channels:
            fail_field("%d channels, the preamble says %d" % (channels, self.preamble.channels))
        self.exact(body, 64 + 32 * channels)
        totals = self.totals
        counted = (self.count, totals["ram"], totals["zero"], totals["absent"], totals["tmem"],
                   totals["invalidations"], totals["device"])
        names = ("records", "ramPages", "ramZeroPages", "ramAbsentPages", "tmemPages", "tmemInvalidations",
                 "deviceBytes")
        for name, value, own in zip(names, values, counted):
            if value != own:
                raise StreamError("END_COUNTS", "%s: END says %d, %d were read" % (name, value, own))
        chains = self.chain_vector(body[64:])
        if self.pending:
            self.warn(record, "records that no INDEX lists")
        self.end_offset = record.offset
        self.end_chain = self.chain
        fields = dict(zip(names, values))
        fields["chains"] = chains
        return fields

    def ack(self, record, body):
        self.exact(body, 48)
        channel, _, number = struct.unpack_from("<IIQ", body)
        if channel >= self.preamble.channels:
            fail_field("channel %d of %d" % (channel, self.preamble.channels))
        if number <= self.acks.get(channel, 0):
            raise StreamError("RECORD_ORDER", "ACKs of a channel must ascend")
        self.acks[channel] = number
        return {"channel": channel, "seal": number, "chain": body[16:].hex()}

    # 13: the index; a difference is a warning, since nothing but looking up depends on it.

    def index(self, record, body):
        self.at_least(body, 8)
        count = struct.unpack_from("<I", body)[0]
        check_count(count, 1, 4096, "entries")
        self.exact(body, 8 + 48 * count)
        kinds, low, high = 0, None, None
        entries = []
        for at in range(8, len(body), 48):
            entries.append(body[at:at + 48])
            _, kind, _, _, first, last = struct.unpack_from("<QIIQQQ", body, at)
            if kind == RAM:
                kinds |= 1
                low = first if low is None else min(low, first)
                high = last if high is None else max(high, last)
            else:
                kinds |= 2 if kind & ~OPTIONAL in (TMEM_PAGES, TMEM_INVALIDATE) else 4
        if entries != self.pending:
            self.warn(record, "the entries do not agree with the records")
        self.pending = []
        if len(self.segments) <= BODY_LIMIT // 32:
            self.segments.append(struct.pack("<QIIQQ", record.offset, count, kinds, low or 0, high or 0))
        return {"entries": count}

    def index_root(self, record, body):
        self.at_least(body, 8)
        count = struct.unpack_from("<I", body)[0]
        self.exact(body, 8 + 32 * count)
        if body[8:] != b"".join(self.segments):
            self.warn(record, "the segments do not agree with the INDEX records")
        self.root_offset = record.offset
        return {"segments": count}

    # 7: guest memory.

    def ram(self, record, body):
        self.at_least(body, 16)
        extent_count, unit_count, pages, head = struct.unpack_from("<4I", body)
        if head % 8 or head < 24 or head > len(body):
            fail_length("a head of %d bytes" % head)
        if crc(body[:16] + bytes(4) + body[20:head]) != struct.unpack_from("<I", body, 16)[0]:
            raise StreamError("HEAD_CHECKSUM", "the head's checksum is wrong")
        check_count(extent_count, 1, 16384, "extents")
        check_count(unit_count, 0, 65536, "units")
        check_count(pages, 1, 65536, "pages")
        if 24 + 16 * extent_count + 16 * unit_count > head:
            fail_length("the head is too short for its extents and units")
        extents, data_pages = self.ram_extents(body, extent_count, pages)
        at = 24 + 16 * extent_count
        bitmap_size = (data_pages + 63) // 64 * 8
        if head != at + bitmap_size + 16 * unit_count:
            fail_length("the head's length does not suit its fields")
        bitmap = body[at:at + bitmap_size]
        at += bitmap_size
        # 7.2: bits beyond the last data page are ignored.
        bits = int.from_bytes(bitmap, "little") & ((1 << data_pages) - 1)
        zero_pages = bin(bits).count("1")
        units, printed, digest = self.ram_units(record, body, at, unit_count, head, data_pages - zero_pages)
        self.totals["ram"] += data_pages
        self.totals["zero"] += zero_pages
        self.totals["absent"] += pages - data_pages
        channel = self.preamble.channel
        record.apply = lambda content: content.apply_ram(channel, extents, bitmap, units)
        record.entry = (pages, 0, extents[0][0], extents[-1][0] + extents[-1][1] - 1, 0, 0)
        return {"pages": pages,
                "extents": [{"first": first, "pages": size, "class": kind} for first, size, kind in extents],
                "zeroPages": zero_pages, "units": printed, "content": digest}

    def ram_extents(self, body, count, pages):
        """7.1: returns (first pfn, pages, class) of each extent, and how many pages have data."""
        extents = []
        data_pages = total = after = 0
        for at in range(24, 24 + 16 * count, 16):
            first, size, kind = struct.unpack_from("<QIB", body, at)
            if size < 1:
                fail_field("an extent without pages")
            if first < after:
                fail_field("extents that do not ascend, or overlap")
            after = first + size
            if after > PFN_LIMIT:
                fail_field("a page at or above pfn 2^52")
            if kind in CLASSES_WITH_DATA:
                data_pages += size
            elif kind not in CLASSES_WITHOUT_DATA:
                fail_field("class %d" % kind)
            total += size
            extents.append((first, size, kind))
        if total != pages:
            fail_length("the extents have %d pages, not %d" % (total, pages))
        return extents, data_pages

    def ram_units(self, record, body, at, count, head, stored_pages):
        """7.3: fields of all units, then their checksums, then their content."""
        page_size = 1 << self.preamble.page_shift
        units = []
        checksums = []
        total_pages = 0
        place = head
        for start in range(at, at + 16 * count, 16):
            stored, checksum, pages, codec = struct.unpack_from("<IIHB", body, start)
            if pages < 1:
                fail_field("a unit without pages")
            if pages * page_size > UNIT_LIMIT:
                raise StreamError("LIMIT_EXCEEDED", "a unit of %d pages" % pages)
            check_codec(codec)
            check_stored_length(codec, stored, pages * page_size)
            units.append((place, stored, codec, pages))
            checksums.append(checksum)
            total_pages += pages
            place += stored
        if total_pages != stored_pages:
            fail_length("the units have %d pages, not %d" % (total_pages, stored_pages))
        if place != len(body):
            fail_length("the units' stored bytes do not end where the body ends")
        for (start, stored, _, _), checksum in zip(units, checksums):
            if crc(body[start:start + stored]) != checksum:
                raise StreamError("UNIT_CHECKSUM", "a unit's checksum is wrong")
        digest = hashlib.sha256()
        for start, stored, codec, pages in units:
            digest.update(decode(codec, body[start:start + stored], pages * page_size))
        printed = [{"codec": CODEC_NAMES[codec], "pages": pages, "stored": stored, "checksum": "%08x" % checksum}
                   for (_, stored, codec, pages), checksum in zip(units, checksums)]
        base = record.offset + 24
        placed = [(base + start, stored, codec, pages) for start, stored, codec, pages in units]
        return placed, printed, digest.hexdigest()

    # 8: processors.

    def check_vcpu(self, vcpu):
        if vcpu > 4095:
            fail_field("vCPU %d" % vcpu)

    def check_once(self, *key):
        """4: each (vCPU, kind) and each device number once between two checkpoints."""
        if key in self.once:
            raise StreamError("DUPLICATE", "%s %s came already since the last checkpoint"
                              % (RECORDS[key[0]][0], " ".join(str(part) for part in key[1:])))
        self.once.add(key)

    def vcpu_x86(self, record, body):
        self.exact(body, 512)
        if self.preamble.machine not in (3, 62):
            fail_field("VCPU_X86 for machine type %d" % self.preamble.machine)
        vcpu, flags = struct.unpack_from("<II", body)
        self.check_vcpu(vcpu)
        self.check_once(VCPU_X86, vcpu)
        known = struct.unpack_from("<Q", body, 504)[0]
        registers = {}
        for at, group, names in VCPU_REGISTERS:
            if known >> group & 1:
                for place, name in enumerate(names.split()):
                    registers[name] = "%016x" % struct.unpack_from("<Q", body, at + 8 * place)[0]
        segments = None
        if known & 2:
            segments = {}
            for place, name in enumerate(SEGMENTS):
                selector, attributes, limit, base = struct.unpack_from("<HHIQ", body, 296 + 16 * place)
                segments[name] = {"selector": "%04x" % selector, "attributes": "%04x" % attributes,
                                  "limit": "%08x" % limit, "base": "%016x" % base}
        tables = [None, None]
        if known >> 10 & 1:
            for place in range(2):
                base, limit = struct.unpack_from("<QI", body, 424 + 16 * place)
                tables[place] = {"base": "%016x" % base, "limit": "%08x" % limit}
        return {"vcpu": vcpu, "online": bool(flags & 1), "halted": bool(flags & 2),
                "known": [name for bit, name in enumerate(VCPU_GROUPS) if known >> bit & 1],
                "registers": registers, "segments": segments, "gdtr": tables[0], "idtr": tables[1]}

    def vcpu_state(self, record, body):
        self.at_least(body, 8)
        vcpu, kind = struct.unpack_from("<IH", body)
        state = body[8:]
        self.check_vcpu(vcpu)
        if kind == 0:
            fail_field("kind 0")
        if (kind == 1 and len(state) != 512) or (kind == 2 and len(state) < 576) or (kind == 3 and len(state) % 16):
            fail_length("%d bytes do not suit kind %d" % (len(state), kind))
        self.check_once(VCPU_STATE, vcpu, kind)
        return {"vcpu": vcpu, "kind": kind, "bytes": len(state), "sha256": hashlib.sha256(state).hexdigest()}

    def cpuid(self, record, body):
        self.at_least(body, 8)
        count = struct.unpack_from("<I", body)[0]
        check_count(count, 1, 4096, "leaves")
        self.exact(body, 8 + 24 * count)
        self.check_once(X86_CPUID)
        names = ("leaf", "subleaf", "eax", "ebx", "ecx", "edx")
        return {"leaves": [dict(zip(names, ("%08x" % word for word in words)))
                           for words in struct.iter_unpack("<6I", body[8:])]}

    def msr(self, record, body):
        self.at_least(body, 8)
        count = struct.unpack_from("<I", body)[0]
        check_count(count, 1, 4096, "MSRs")
        self.exact(body, 8 + 16 * count)
        self.check_once(X86_MSR)
        return {"msrs": [{"index": "%08x" % index, "flags": "%08x" % flags, "value": "%016x" % value}
                         for index, flags, value in struct.iter_unpack("<IIQ", body[8:])]}

    # 9: devices and disks.

    def device(self, record, body):
        self.at_least(body, 80)
        number, _, size = struct.unpack_from("<IIQ", body)
        if number > 255:
            fail_field("device %d" % number)
        if size > GIB:
            raise StreamError("LIMIT_EXCEEDED", "a blob of %d bytes" % size)
        at = 80
        strings = []
        for what in ("name", "format", "version"):
            text, at = take_string(body, at, 255, what)
            strings.append(text)
        self.exact(body, at)
        self.check_once(DEVICE, number)
        digest = body[48:80]
        # Devices that are not complete have what is needed to go on; complete ones have None.
        self.devices[number] = [0, size, hashlib.sha256(), digest]
        self.complete_device(number)
        return {"device": number, "name": strings[0], "format": strings[1], "version": strings[2], "bytes": size,
                "fingerprint": body[16:48].hex(), "sha256": digest.hex()}

    def complete_device(self, number):
        done, size, running, digest = self.devices[number]
        if done == size:
            if running.digest() != digest:
                raise StreamError("DEVICE_DIGEST", "the blob of device %d has another SHA-256" % number)
            self.devices[number] = None

    def device_data(self, record, body):
        self.at_least(body, 24)
        number, codec, offset, original, stored = struct.unpack("<IB3xQII", body[:24])
        check_count(original, 1, MIB, "original bytes")
        check_codec(codec)
        check_stored_length(codec, stored, original)
        self.exact(body, 24 + stored)
        device = self.devices.get(number)
        if device is None:
            raise StreamError("RECORD_ORDER", "device %d is not begun, or complete" % number)
        if offset != device[0]:
            raise StreamError("RECORD_ORDER", "offset %d where %d is expected" % (offset, device[0]))
        if offset + original > device[1]:
            fail_length("the chunk goes beyond the blob")
        device[2].update(decode(codec, body[24:], original))
        device[0] += original
        self.complete_device(number)
        self.totals["device"] += original
        return {"device": number, "codec": CODEC_NAMES[codec], "offset": offset, "bytes": original, "stored": stored}

    def disk(self, record, body):
        self.at_least(body, 48)
        number, policy, flags, _, size = struct.unpack_from("<IBBHQ", body)
        digest = body[16:48]
        if number > 255:
            fail_field("disk %d" % number)
        if policy not in DISK_POLICIES:
            fail_field("policy %d" % policy)
        if policy == 2 and not any(digest):
            fail_field("a disk found by digest without its SHA-256")
        name, at = take_string(body, 48, 255, "name")
        form, at = take_string(body, at, 255, "format")
        locator, at = take_string(body, at, 4000, "locator")
        self.exact(body, at)
        if number in self.disks:
            raise StreamError("DUPLICATE", "disk %d came already" % number)
        self.disks.add(number)
        return {"disk": number, "name": name, "policy": DISK_POLICIES[policy], "readOnly": bool(flags & 1),
                "bytes": str(size), "sha256": digest.hex() if any(digest) else None, "format": form,
                "locator": locator}

    # 10: transcendent memory.

    def tmem_client(self, record, body):
        self.at_least(body, 24)
        flags, weight, cap, count, allowance = struct.unpack_from("<IIIIQ", body)
        check_count(count, 0, 16, "authorised uuids")
        self.exact(body, 24 + 16 * count)
        self.client = True
        record.apply = lambda content: setattr(content, "has_tmem", True)
        return {"compress": bool(flags & 1), "frozen": bool(flags & 2), "weight": weight, "cap": cap,
                "allowancePages": str(allowance),
                "authorised": [uuid_text(body[at:at + 16]) for at in range(24, len(body), 16)]}

    def tmem_pool(self, record, body):
        self.exact(body, 48)
        incarnation, pool, flags, width = struct.unpack_from("<QIIB", body)
        if incarnation < 1:
            fail_field("incarnation 0")
        if pool > 15:
            fail_field("pool %d" % pool)
        size = flags >> 4 & 15
        if flags & 0x00FFFF08 or flags >> 24 != 1 or size > 4:
            fail_field("pool flags %08x" % flags)
        persistent = bool(flags & 1)
        if persistent == record.optional:
            fail_field("flag persistent does not suit the record's type")
        if width not in (64, 192):
            fail_field("object ids of %d bits" % width)
        if pool in self.slots:
            raise StreamError("DUPLICATE", "slot %d is not free" % pool)
        if incarnation <= self.highest_incarnation:
            raise StreamError("DUPLICATE", "incarnation %d is not above the earlier ones" % incarnation)
        self.highest_incarnation = incarnation
        self.slots.add(pool)
        page_size = 4096 << size
        self.pools[incarnation] = (pool, persistent, bool(flags & 4), page_size, width)
        record.apply = lambda content: content.add_pool(incarnation, pool, persistent, page_size)
        record.entry = (0, incarnation, 0, 0, 0, 0)
        return {"incarnation": str(incarnation), "pool": pool, "flags": "%08x" % flags,
                "kind": "persistent" if persistent else "ephemeral", "shared": bool(flags & 2),
                "precompressed": bool(flags & 4), "pageSize": page_size, "objectIdBits": width,
                "uuid": uuid_text(body[24:40]), "pages": str(struct.unpack_from("<Q", body, 40)[0])}

    def living_pool(self, record, incarnation):
        pool = self.pools.get(incarnation)
        if pool is None:
            raise StreamError("TMEM_UNKNOWN_POOL", "incarnation %d does not live" % incarnation)
        if pool[1] == record.optional:
            fail_field("the record's type does not suit the kind of its pool")
        return pool

    def tmem_pages(self, record, body):
        self.at_least(body, 16)
        incarnation, count = struct.unpack_from("<QI", body)
        check_count(count, 1, 16384, "entries")
        self.at_least(body, 16 + 40 * count)
        _, persistent, precompressed, page_size, width = self.living_pool(record, incarnation)
        entries = []
        place = 16 + 40 * count
        for at in range(16, place, 40):
            first, second, third, index, original, stored, codec = struct.unpack_from("<QQQIIIB", body, at)
            if width == 64 and (second or third):
                fail_field("a wide object id in a pool of 64-bit ids")
            self.check_tmem_lengths(codec, stored, original, page_size, precompressed)
            entries.append(((first, second, third), index, place, stored, codec, original))
            place += stored
        if place != len(body):
            fail_length("the stored bytes do not end where the body ends")
        printed = []
        places = []
        base = record.offset + 24
        for words, index, start, stored, codec, original in entries:
            content = tmem_content(codec, body[start:start + stored], original, page_size)
            printed.append({"object": [str(word) for word in words], "index": index, "codec": CODEC_NAMES[codec],
                            "bytes": original, "stored": stored, "content": hashlib.sha256(content).hexdigest()})
            places.append((words, index, (self.preamble.channel, base + start, stored, codec, original)))
        if not record.optional:
            self.totals["tmem"] += count

        def apply(content):
            for words, index, where in places:
                content.put_tmem(incarnation, words, index, where)

        record.apply = apply if persistent else None
        record.entry = self.tmem_entry(incarnation, [entry[:2] for entry in entries], True)
        return {"incarnation": str(incarnation), "pages": printed}

    def check_tmem_lengths(self, codec, stored, original, page_size, precompressed):
        """10.3.1, 10.3.2."""
        check_codec(codec, (OPAQUE,) if precompressed else (0, 1, 2, 3, 4, 5))
        if codec == ZERO:
            good = original == 0 and stored == 0
        elif codec in (RAW, OPAQUE):
            good = stored == original and 1 <= original <= page_size
        else:
            good = original <= page_size and 1 <= stored <= original - 1
        if not good:
            fail_length("%d stored and %d original bytes with codec %s" % (stored, original, CODEC_NAMES[codec]))

    def tmem_entry(self, incarnation, handles, with_indexes):
        """13.1: an index entry's fields after the type."""
        words = [handle[0][0] for handle in handles]
        indexes = [handle[1] for handle in handles] if with_indexes else [0]
        return len(handles), incarnation, min(words), max(words), min(indexes), max(indexes)

    def tmem_invalidate(self, record, body):
        self.at_least(body, 16)
        incarnation, scope, count = struct.unpack_from("<QII", body)
        if scope not in SCOPES:
            fail_field("scope %d" % scope)
        if scope == 3 and count:
            fail_field("scope pool has no entries")
        if scope != 3:
            check_count(count, 1, 65536, "entries")
        self.exact(body, 16 + 32 * count)
        pool = self.living_pool(record, incarnation)
        handles = []
        for first, second, third, index, _ in struct.iter_unpack("<QQQII", body[16:]):
            if pool[4] == 64 and (second or third):
                fail_field("a wide object id in a pool of 64-bit ids")
            if scope == 2 and index:
                fail_field("an index in scope objects")
            handles.append(((first, second, third), index))
        if scope == 3:
            record.meeting = True
            self.check_meeting("TMEM_INVALIDATE of a pool")
            del self.pools[incarnation]
            self.slots.discard(pool[0])
            record.entry = (0, incarnation, 0, U64_MAX, 0, 0xFFFFFFFF)
        else:
            record.entry = self.tmem_entry(incarnation, handles, scope == 1)
        if not record.optional:
            self.totals["invalidations"] += 1 if scope == 3 else count
        record.apply = lambda content: content.invalidate_tmem(incarnation, scope, handles)
        return {"incarnation": str(incarnation), "scope": SCOPES[scope],
                "handles": [{"object": [str(word) for word in words], "index": index} for words, index in handles]}

    # 11: origin.

    def origin(self, record, body):
        self.at_least(body, 16)
        part, codec, original, stored = struct.unpack("<IB3xII", body[:16])
        check_count(original, 1, MIB, "original bytes")
        check_codec(codec)
        check_stored_length(codec, stored, original)
        form, at = take_string(body, 16, 255, "format")
        self.exact(body, at + stored)
        self.expect_number(part, self.parts, "part")
        decode(codec, body[at:], original)
        self.parts += 1
        return {"part": part, "codec": CODEC_NAMES[codec], "bytes": original, "stored": stored, "format": form}


# ---------------------------------------------------------------------------------------------------------------------
# A whole stream.
# ---------------------------------------------------------------------------------------------------------------------


class RecordList:
    """Printed records; they are kept as JSON text in a temporary file, so that memory does not grow with the image."""

    def __init__(self):
        self.file = tempfile.SpooledTemporaryFile(max_size=8 * MIB, mode="w+", encoding="ascii", newline="\n")

    def add(self, record):
        self.file.write(json.dumps(record.as_object(), separators=(",", ":")) + "\n")

    def lines(self):
        self.file.seek(0)
        for line in self.file:
            yield line.rstrip("\n")

    def close(self):
        self.file.close()


class Result:
    """What was read of one channel."""

    def __init__(self, path, container):
        self.path = path
        self.input = Input(path)
        self.channel = Channel(self.input, container)
        self.records = RecordList()
        self.error = None
        self.partial = False
        self.memory = None
        self.tmem = None

    @property
    def preamble(self):
        return self.channel.preamble

    @property
    def warnings(self):
        return self.channel.warnings

    def release(self, record, content):
        """18.1: a record is handed on after its own checks; what it changes is taken over."""
        self.records.add(record)
        if content is not None and record.apply is not None:
            record.apply(content)

    def close(self):
        self.input.close()
        self.records.close()

    def heads(self):
        return {"ok": self.error is None, "verdict": verdict_of(self.error, self.warnings),
                "preamble": self.preamble.as_object() if self.preamble else None}

    def tails(self):
        found = {"error": self.error, "warnings": self.warnings, "memory": self.memory, "tmem": self.tmem}
        if self.partial:
            found["partial"] = True
        return found


def verdict_of(error, warnings):
    return "broken" if error else "findings" if warnings else "sound"


class Stream:
    """A stream of one channel, one channel of several, or all of them."""

    def __init__(self, paths, container=False):
        self.results = []
        self.content = Content()
        self.error = None
        self.memory = None
        self.tmem = None
        self.joined = len(paths) > 1
        try:
            for path in paths:
                self.results.append(Result(path, container))
            self.read()
        except BaseException:
            self.close()
            raise

    def close(self):
        for result in self.results:
            result.close()

    @property
    def verdict(self):
        return verdict_of(self.error, [warning for result in self.results for warning in result.warnings])

    def blame(self, result, problem):
        """The first error ends the reading of all channels."""
        result.error = problem.as_object()
        self.error = dict(result.error)
        if self.joined:
            self.error["channel"] = result.preamble.channel if result.preamble else None
            self.error["file"] = os.path.basename(result.path)

    def read(self):
        if self.joined:
            self.read_channels()
        else:
            self.read_one(self.results[0])
        if self.error is None:
            self.content.inputs = {result.preamble.channel: result.input for result in self.results}
            self.content.page_size = 1 << self.results[0].preamble.page_shift
            self.memory = self.content.memory_digest()
            self.tmem = self.content.tmem_digest()
            if not self.joined:
                self.results[0].memory, self.results[0].tmem = self.memory, self.tmem

    def next_of(self, result):
        """The next record of a channel; whatever goes wrong is an error of the stream, never of this program."""
        try:
            return result.channel.next()
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError, MemoryError,
                struct.error) as problem:
            raise StreamError("INTERNAL", "%s: %s" % (type(problem).__name__, problem), result.input.position)

    def read_one(self, result):
        try:
            record = self.next_of(result)
            while record is not None:
                result.release(record, self.content)
                record = self.next_of(result)
        except StreamError as problem:
            self.blame(result, problem)
        if result.preamble is not None:
            result.partial = result.preamble.channels > 1

    def read_channels(self):
        """14.1: every channel is read up to its next meeting, in ascending order; then all go past it together."""
        waiting = list(self.results)
        result = None
        try:
            for result in self.results:
                # Preamble and ABOUT come first, since they say which channel a file is.
                record = self.next_of(result)
                result.release(record, self.content)
            result = None
            for place in self.check_set():
                result = place
                raise StreamError("CHAIN_VECTOR", "the files are not the channels of one stream", 0)
            waiting.sort(key=lambda found: found.preamble.channel)
            self.results = waiting
            while True:
                meeting = []
                for result in waiting:
                    record = self.next_of(result)
                    while record is not None and not record.meeting:
                        result.release(record, self.content)
                        record = self.next_of(result)
                    meeting.append(record)
                if all(record is None for record in meeting):
                    break
                for result, record in zip(waiting, meeting):
                    self.check_meeting(meeting[0], record)
                for place, (result, record) in enumerate(zip(waiting, meeting)):
                    result.release(record, self.content if place == 0 else None)
        except StreamError as problem:
            self.blame(result, problem)

    def check_set(self):
        """14: one file for each channel of one stream; yields a file that does not belong."""
        first = self.results[0].preamble
        seen = set()
        for result in self.results:
            own = result.preamble
            # All of a preamble but the channel's number and the checksum says what the stream is.
            same = own.data[12:58] == first.data[12:58]
            if not same or own.channel in seen:
                yield result
            seen.add(own.channel)
        if first.channels != len(self.results):
            yield self.results[0]

    def check_meeting(self, first, record):
        """14.2: the records of a meeting are of one type and, except END, have one body."""
        if record is None or first is None:
            raise StreamError("CHAIN_VECTOR", "a channel ends before the others", 0)
        same = (record.number, record.optional) == (first.number, first.optional)
        if record.number == END:
            # The counts of END are each channel's own; the vectors are the same.
            same = same and record.body[56:60] == first.body[56:60] and record.body[64:] == first.body[64:]
        else:
            same = same and record.body == first.body
        if not same:
            raise StreamError("CHAIN_VECTOR", "%s differs from that of the first channel" % record.name,
                              record.offset, record.sequence)

    # Output.

    def write_json(self, out):
        def dump(value):
            return json.dumps(value, separators=(",", ":"))

        def write_result(result):
            parts = [dump(key) + ":" + dump(value) for key, value in result.heads().items()]
            out.write("{" + ",".join(parts) + ',"records":[')
            for place, line in enumerate(result.records.lines()):
                out.write((",\n" if place else "\n") + line)
            parts = [dump(key) + ":" + dump(value) for key, value in result.tails().items()]
            out.write("\n]," + ",".join(parts) + "}")

        if not self.joined:
            write_result(self.results[0])
        else:
            out.write('{"ok":%s,"verdict":%s,"channels":[' % (dump(self.error is None), dump(self.verdict)))
            for place, result in enumerate(self.results):
                out.write(",\n" if place else "\n")
                write_result(result)
            out.write("\n]" + "".join(",%s:%s" % (dump(key), dump(value)) for key, value in (
                ("error", self.error), ("memory", self.memory), ("tmem", self.tmem))) + "}")
        out.write("\n")

    def write_text(self, out):
        for result in self.results:
            out.write("%s\n" % shown(result.path))
            if result.preamble:
                for key, value in result.preamble.as_object().items():
                    out.write("  %-12s %s\n" % (key, shown(value)))
            for line in result.records.lines():
                record = json.loads(line)
                out.write("%6d  at %-10d %s%s, section %s, %d bytes\n" % (
                    record["sequence"], record["offset"], record["name"], " (optional)" if record["optional"] else "",
                    record["section"], record["length"]))
                for key, value in record["fields"].items():
                    out.write("          %-14s %s\n" % (key, shown(value)))
            for warning in result.warnings:
                out.write("  warning %s at %s: %s\n" % (warning["code"], warning["offset"], warning["message"]))
            if result.partial:
                out.write("  one channel of several: what concerns the others is not checked\n")
        if self.error:
            out.write("error %s at %s (record %s): %s\n" % (
                self.error["code"], self.error["offset"], self.error["sequence"], shown(self.error["message"])))
        for name, digest in (("memory", self.memory), ("tmem", self.tmem)):
            if digest:
                out.write("%s  %s\n" % (name, shown(digest)))
        out.write("%s\n" % self.verdict)


def shown(value, limit=400):
    """1.4: text from a stream is not trusted: everything but printable ASCII is escaped, and it is cut."""
    text = json.dumps(value) if not isinstance(value, str) else json.dumps(value)[1:-1]
    text = text.replace("\x7f", "\\u007f")
    return text if len(text) <= limit else text[:limit] + " ..."


# ---------------------------------------------------------------------------------------------------------------------
# Vectors.
# ---------------------------------------------------------------------------------------------------------------------


def differences(expected, found, where, out, limit=12):
    """Compares JSON values exactly, except that the text of a schemaProblem is free; collects what differs."""
    if len(out) >= limit:
        return
    number = (int, float)
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in expected:
            if key not in found:
                out.append("%s.%s: expected %s, found nothing" % (where, key, shown(expected[key], 120)))
            elif key == "schemaProblem" and isinstance(expected[key], str) and isinstance(found[key], str):
                continue
            else:
                differences(expected[key], found[key], "%s.%s" % (where, key), out)
        for key in found:
            if key not in expected:
                out.append("%s.%s: expected nothing, found %s" % (where, key, shown(found[key], 120)))
    elif isinstance(expected, list) and isinstance(found, list):
        for place in range(min(len(expected), len(found))):
            differences(expected[place], found[place], "%s[%d]" % (where, place), out)
        if len(expected) != len(found):
            extra = (expected if len(expected) > len(found) else found)[min(len(expected), len(found))]
            out.append("%s: %d expected, %d found; the first without partner: %s"
                       % (where, len(expected), len(found), shown(extra, 200)))
    else:
        same = type(expected) is type(found) and expected == found
        if isinstance(expected, number) and isinstance(found, number) and not isinstance(expected, bool) \
                and not isinstance(found, bool):
            same = expected == found or float(expected) == float(found)
        if not same:
            out.append("%s: expected %s, found %s" % (where, shown(expected, 160), shown(found, 160)))


def run_vector(path):
    """Returns what differs between a vector and this reader."""
    with open(path, encoding="utf-8") as file:
        vector = json.load(file)
    folder = os.path.dirname(path)
    expect = vector["expect"]
    files = [os.path.join(folder, name) for name in vector["files"]]
    stream = Stream(files, bool(vector.get("container")))
    try:
        by_path = {result.path: result for result in stream.results}
        found = {"verdict": stream.verdict,
                 "records": [[json.loads(line) for line in by_path[name].records.lines()] for name in files]}
        if stream.error:
            found["error"] = {key: stream.error[key] for key in ("code", "offset", "sequence")}
            if len(files) > 1:
                found["error"]["file"] = vector["files"].index(os.path.basename(stream.error["file"]))
            message = "  (%s)" % shown(stream.error["message"])
        else:
            message = ""
            found["memory"], found["tmem"] = stream.memory, stream.tmem
        if "preambles" in expect:
            found["preambles"] = [by_path[name].heads()["preamble"] for name in files]
        if "warnings" in expect:
            found["warnings"] = [warning["code"] for name in files for warning in by_path[name].warnings]
        missing = []
        if "error" in expect and expect["error"] and stream.error:
            # A vector may say more about the error, for example its channel, than every reader has to know.
            expect = dict(expect, error=dict(expect["error"]))
            missing = [word for word in expect["error"].pop("mentions", []) if word not in stream.error["message"]]
            extra = {key: stream.error.get(key) for key in expect["error"] if key not in found["error"]}
            found["error"].update({key: value for key, value in extra.items() if key in ("channel",)})
        out = ["the error's message does not name %s" % word for word in missing]
        differences(expect, found, "expect", out)
        if out and message:
            out.append("this reader's error: %s at %s%s" % (stream.error["code"], stream.error["offset"], message))
        return out
    finally:
        stream.close()


def run_vectors(folder):
    names = sorted(name for name in os.listdir(folder) if name.endswith(".json"))
    bad = 0
    for name in names:
        try:
            out = run_vector(os.path.join(folder, name))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
            out = ["the vector cannot be run: %s: %s" % (type(problem).__name__, problem)]
        if out:
            bad += 1
            print("DIFFERS  %s" % name)
            for line in out:
                print("    %s" % line)
    print("%d vectors, %d agree, %d differ" % (len(names), len(names) - bad, bad))
    return 1 if bad or not names else EXIT_OK


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="tmig_reader.py",
                                     description="Reads, checks and prints Transmigrate streams.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="a stream, or the channels of one stream in any order")
    parser.add_argument("--text", action="store_true", help="print for people instead of JSON")
    parser.add_argument("--container", action="store_true", help="accept bytes after the footer (13.4)")
    parser.add_argument("--vectors", metavar="DIR", help="run the conformance vectors of this directory")
    options = parser.parse_args(arguments)
    if bool(options.files) == bool(options.vectors):
        parser.print_usage(sys.stderr)
        return EXIT_USAGE
    try:
        if options.vectors:
            return run_vectors(options.vectors)
        stream = Stream(options.files, options.container)
        try:
            (stream.write_text if options.text else stream.write_json)(sys.stdout)
            sys.stdout.flush()
        finally:
            stream.close()
    except BrokenPipeError:
        # Whoever reads the output has enough; Python must not complain about that at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_OK
    except OSError as problem:
        print("tmig_reader.py: READ_FAILED: %s" % problem, file=sys.stderr)
        return EXIT_STORE
    if stream.error is None:
        return EXIT_OK
    return EXIT_OF_CODE.get(stream.error["code"], EXIT_BROKEN)


if __name__ == "__main__":
    sys.exit(main())
