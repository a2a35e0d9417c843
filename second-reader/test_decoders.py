#!/usr/bin/env python3
"""Self tests of the decoders of tmig_reader.py: round trips against `zstd`, `lz4` and liblzo2, and damaged input.

Run: python3 -m unittest -v test_decoders (in this directory).  A tool that is missing is skipped aloud.
"""

import ctypes
import ctypes.util
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
import tmig_reader as reader  # noqa: E402

LIMIT = 256 << 10


def samples():
    """Contents that make compressors use all their means: text, runs, records, noise, long and short distances."""
    rng = random.Random(20)
    words = [bytes(rng.choice(b"abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(2, 9))) for _ in range(300)]
    found = [b"a", b"abc", b"abcd" * 3, bytes(4096), b"\xff" * 65536, bytes(range(256)) * 16]
    for size in (17, 300, 4096, 8192, 40000, 70000, 131072, 200000, LIMIT):
        text = b" ".join(rng.choice(words) for _ in range(size // 3 + 2))[:size]
        noise = rng.getrandbits(8 * size).to_bytes(size, "little")
        table = b"".join(i.to_bytes(4, "little") + b"\0\0\1\0" for i in range(size // 8 + 1))[:size]
        skewed = bytes(min(int(rng.expovariate(0.3)), 255) for _ in range(size))
        half = (noise[:size // 2] + text)[:size]
        far = (noise[:size // 3] + text[:size // 3] + noise)[:size]
        few = bytes(rng.choice(b"\0\0\0\1") for _ in range(size))
        found += [text, noise, table, skewed, half, far, few]
    return found


SAMPLES = samples()


def tool(name):
    return unittest.skipUnless(shutil.which(name), "SKIPPED: the tool %s is not installed" % name)


def run(*command, data):
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stdout


class Decoder(unittest.TestCase):
    def good(self, decoder, stored, content):
        self.assertEqual(decoder(stored, len(content)), content)

    def bad(self, decoder, stored, expected):
        with self.assertRaises(reader.DecodeError):
            decoder(stored, expected)

    def edges(self, decoder, stored, content):
        """Too short or too long a bound, a cut, and something appended are all refused."""
        self.bad(decoder, stored, len(content) + 1)
        if len(content) > 1:
            self.bad(decoder, stored, len(content) - 1)
        self.bad(decoder, stored[:-1], len(content))
        self.bad(decoder, stored + b"\0", len(content))
        self.bad(decoder, b"", len(content))

    def fuzz(self, codec, stored, content, rounds):
        """Damaged bytes give other bytes of the right length, or CODEC_DATA; never another exception."""
        rng = random.Random(len(stored))
        for _ in range(rounds):
            damaged = bytearray(stored)
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            if rng.random() < 0.2:
                damaged = damaged[:rng.randrange(len(damaged) + 1)]
            try:
                self.assertEqual(len(reader.decode(codec, bytes(damaged), len(content))), len(content))
            except reader.StreamError as problem:
                self.assertEqual(problem.code, "CODEC_DATA")


class Deflate(Decoder):
    def test_round_trips(self):
        for content in SAMPLES:
            for level in (0, 1, 6, 9):
                for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY):
                    packer = zlib.compressobj(level, zlib.DEFLATED, -15, 8, strategy)
                    stored = packer.compress(content) + packer.flush()
                    self.good(reader.decode_deflate, stored, content)
            self.edges(reader.decode_deflate, stored, content)

    def test_wrappers_are_refused(self):
        self.bad(reader.decode_deflate, zlib.compress(b"abc" * 100), 300)

    def test_damage(self):
        content = SAMPLES[12][:4096]
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.fuzz(3, packer.compress(content) + packer.flush(), content, 500)


@tool("zstd")
class Zstd(Decoder):
    def pack(self, content, *options):
        return run("zstd", "-q", "-c", *options, data=content)

    def test_round_trips(self):
        strong = ("--ultra", "-22", "--zstd=wlog=23")
        for number, content in enumerate(SAMPLES):
            for options in (("-1",), ("-3", "--no-check"), ("-19",) if number % 8 else strong, ("--fast=5",)):
                self.good(reader.decode_zstd, self.pack(content, *options), content)
            # With the size known beforehand the frame is a single segment and has a content size.
            size = "--stream-size=%d" % len(content)
            stored = self.pack(content, "-9", size)
            self.good(reader.decode_zstd, stored, content)
            self.edges(reader.decode_zstd, stored, content)

    def test_checksum(self):
        stored = self.pack(SAMPLES[3])
        self.bad(reader.decode_zstd, stored[:-1] + bytes([stored[-1] ^ 1]), len(SAMPLES[3]))

    def test_xxh64(self):
        # Known answers of XXH64 with seed 0.
        self.assertEqual(reader.xxh64(b""), 0xEF46DB3751D8E999)
        self.assertEqual(reader.xxh64(b"a"), 0xD24EC4F1A98C6E5B)
        self.assertEqual(reader.xxh64(b"abc"), 0x44BC2CF5AD770999)

    def test_what_a_frame_may_not_be(self):
        stored = self.pack(SAMPLES[12], "--no-check")
        size = len(SAMPLES[12])
        self.bad(reader.decode_zstd, stored + stored, size)
        self.bad(reader.decode_zstd, b"\x50\x2a\x4d\x18\0\0\0\0" + stored, size)
        self.bad(reader.decode_zstd, stored + b"\x50\x2a\x4d\x18\0\0\0\0", size)

    def test_window(self):
        raw_block = (5 << 3 | 1).to_bytes(3, "little") + b"hello"
        for descriptor, good in ((0, True), (13 << 3, True), (13 << 3 | 1, False), (21 << 3, False)):
            stored = b"\x28\xb5\x2f\xfd\0" + bytes([descriptor]) + raw_block
            if good:
                self.good(reader.decode_zstd, stored, b"hello")
            else:
                self.bad(reader.decode_zstd, stored, 5)

    def test_dictionary_and_reserved_bits(self):
        raw_block = (5 << 3 | 1).to_bytes(3, "little") + b"hello"
        self.good(reader.decode_zstd, b"\x28\xb5\x2f\xfd\x01\0\0" + raw_block, b"hello")
        self.bad(reader.decode_zstd, b"\x28\xb5\x2f\xfd\x01\0\x07" + raw_block, 5)
        self.bad(reader.decode_zstd, b"\x28\xb5\x2f\xfd\x08\0" + raw_block, 5)
        self.bad(reader.decode_zstd, b"\x28\xb5\x2f\xfd\0\0" + b"\x2f\0\0hello", 5)

    def test_run_blocks(self):
        blocks = (9 << 3 | 1 << 1).to_bytes(3, "little") + b"x" + (2 << 3 | 1).to_bytes(3, "little") + b"yz"
        self.good(reader.decode_zstd, b"\x28\xb5\x2f\xfd\0\0" + blocks, b"xxxxxxxxxyz")

    def test_damage(self):
        for content in (SAMPLES[12][:4096], SAMPLES[15][:4096]):
            self.fuzz(2, self.pack(content, "-19", "--no-check"), content, 1500)


def lz4_block(frame):
    """The one block of a frame that `lz4` made, or None when it is stored without compression."""
    assert frame[:4] == b"\x04\x22\x4d\x18"
    at = 7 + (8 if frame[4] & 8 else 0)
    size = int.from_bytes(frame[at:at + 4], "little")
    if size >> 31:
        return None
    assert frame[at + 4 + size:at + 8 + size] == bytes(4)
    return frame[at + 4:at + 4 + size]


class Lz4(Decoder):
    @tool("lz4")
    def test_round_trips(self):
        seen = 0
        for content in SAMPLES:
            for level in ("-1", "-9", "-12"):
                stored = lz4_block(run("lz4", "-q", "-c", "-B7", "--no-frame-crc", level, data=content))
                if stored is None:
                    continue
                seen += 1
                self.good(reader.decode_lz4, stored, content)
                self.edges(reader.decode_lz4, stored, content)
        self.assertGreater(seen, 60)
        self.fuzz(4, stored, content, 200)

    def test_by_hand(self):
        self.good(reader.decode_lz4, b"\x10a", b"a")
        self.good(reader.decode_lz4, b"\x14a\x01\x00\x50bcdef", b"a" * 9 + b"bcdef")
        self.bad(reader.decode_lz4, b"\x14a\x00\x00\x50bcdef", 14)
        self.bad(reader.decode_lz4, b"\x14a\x02\x00\x50bcdef", 14)
        self.bad(reader.decode_lz4, b"\x14a\x01\x00", 9)


def load_lzo():
    name = ctypes.util.find_library("lzo2") or "liblzo2.so.2"
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


LZO = load_lzo()


class Lzo(Decoder):
    def pack(self, function, work, content):
        out = ctypes.create_string_buffer(len(content) + len(content) // 16 + 67)
        size = ctypes.c_size_t(len(out))
        memory = ctypes.create_string_buffer(work)
        result = getattr(LZO, function)(content, ctypes.c_size_t(len(content)), out, ctypes.byref(size), memory)
        self.assertEqual(result, 0)
        return out.raw[:size.value]

    @unittest.skipUnless(LZO, "SKIPPED: liblzo2 is not installed")
    def test_round_trips(self):
        for content in SAMPLES:
            for function, work in (("lzo1x_1_compress", 16384 * 8), ("lzo1x_1_15_compress", 32768 * 8),
                                   ("lzo1x_1_11_compress", 2048 * 8), ("lzo1x_999_compress", 14 * 16384 * 2)):
                stored = self.pack(function, work + 65536, content)
                self.good(reader.decode_lzo1x, stored, content)
            self.edges(reader.decode_lzo1x, stored, content)

    @unittest.skipUnless(LZO, "SKIPPED: liblzo2 is not installed")
    def test_damage(self):
        content = SAMPLES[12][:4096]
        self.fuzz(5, self.pack("lzo1x_999_compress", 1 << 19, content), content, 1500)

    def test_by_hand(self):
        self.good(reader.decode_lzo1x, b"\x16hello\x11\0\0", b"hello")
        self.bad(reader.decode_lzo1x, b"\x16hello", 5)
        self.bad(reader.decode_lzo1x, b"\x16hello\x11\0\0\0", 5)
        self.bad(reader.decode_lzo1x, b"\x16hello\x20" + bytes(3000) + b"\x01\0\0\x11\0\0", 4096)


class Truth(unittest.TestCase):
    """Damaged input that this reader takes must decode to what the original decoders make of it, where they take it."""

    @tool("zstd")
    def test_zstd_agrees_on_damage(self):
        rng = random.Random(4)
        content = SAMPLES[12][:1500]
        stored = run("zstd", "-q", "-c", "-19", "--no-check", data=content)
        with tempfile.TemporaryDirectory() as folder:
            both = 0
            for number in range(150):
                damaged = bytearray(stored)
                damaged[rng.randrange(6, len(damaged))] ^= 1 << rng.randrange(8)
                path = os.path.join(folder, "%d.zst" % number)
                with open(path, "wb") as file:
                    file.write(damaged)
                theirs = subprocess.run(["zstd", "-q", "-d", "-c", path], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
                try:
                    ours = reader.decode(2, bytes(damaged), len(content))
                except reader.StreamError:
                    ours = None
                if ours is not None and theirs.returncode == 0:
                    both += 1
                    self.assertEqual(ours, theirs.stdout)
            self.assertGreater(both, 0)


if __name__ == "__main__":
    unittest.main()
