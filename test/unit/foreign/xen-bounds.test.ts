/** What reading streams of Xen costs in memory: nothing for a page, and nothing for what a length only says. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LibxcReader } from '../../../src/foreign/xen-libxc/reader.ts';
import { XlReader } from '../../../src/foreign/xl/reader.ts';
import { allocationsOf, heapBytesOf } from '../../support/allocations.ts';
import { imageBytes } from '../../support/xen/corpus.ts';
import { thrownBy } from '../../support/xen/pieces.ts';
import { libxcStream, pvSteps } from '../../support/xen/streams.ts';

/** Reads in pieces that are views, so that only what the reader itself makes is counted. */
function read(bytes: Uint8Array, pieceBytes: number): number {
  const reader = new XlReader();
  let entries = 0;
  for (let at = 0; at < bytes.byteLength; at += pieceBytes) {
    reader.feed(bytes.subarray(at, at + pieceBytes));
    for (let event = reader.read(); event !== undefined; event = reader.read()) {
      if (event.kind !== 'PAGE_DATA') continue;
      for (let entry = event.first; entry < event.end; entry++) if (event.pfn(entry) >= 0) entries++;
    }
  }
  reader.finish();
  return entries;
}

describe('reading a stream of a million entries', () => {
  const bytes = imageBytes('xen-4.17-hvm-seabios-16m.xl');
  for (const pieceBytes of [65_536, bytes.byteLength]) {
    it(`makes no object for an entry, in pieces of ${pieceBytes} bytes`, () => {
      assert.equal(read(bytes, pieceBytes), 1_044_480);
      const heap = heapBytesOf(() => read(bytes, pieceBytes));
      // Views and frames of 1,020 records are some two bytes an entry; the smallest object would be twelve.
      assert.ok(heap < 4 * 1_044_480, `${heap} bytes of objects`);
    });

    it(`copies only what was split, in pieces of ${pieceBytes} bytes`, () => {
      const { total, largest } = allocationsOf(() => read(bytes, pieceBytes));
      assert.ok(largest <= 16_384, `a buffer of ${largest} bytes`);
      assert.ok(total <= 65_536, `${total} bytes`);
    });
  }
});

describe('a length that lies', () => {
  /** The stream with its first PAGE_DATA made to say other numbers, and cut behind them. */
  function lying(length: number, count: number): Uint8Array {
    const bytes = libxcStream({}, pvSteps());
    const at = 40 + 16 + 56 + 24 + 8 + 24;
    const view = new DataView(bytes.buffer);
    assert.equal(view.getUint32(at, true), 1);
    view.setUint32(at + 4, length, true);
    view.setUint32(at + 8, count, true);
    return bytes;
  }

  it('reserves nothing', () => {
    for (const [length, count, code] of [
      [0x0800_0000, 0x00ff_ffff, 'TRUNCATED'],
      [0x0800_0000, 1, 'LENGTH_MISMATCH'],
      [0x0800_0000, 0xffff_ffff, 'LENGTH_MISMATCH'],
      [0xffff_fff8, 1, 'LIMIT_EXCEEDED'],
    ] as const) {
      const bytes = lying(length, count);
      let found: string | undefined;
      const { largest } = allocationsOf(() => {
        found = thrownBy(() => {
          const reader = new LibxcReader();
          reader.feed(bytes);
          while (reader.read() !== undefined);
          reader.finish();
        })?.code;
      });
      assert.equal(found, code);
      assert.ok(largest <= 2 * bytes.byteLength, `a buffer of ${largest} bytes for ${bytes.byteLength}`);
    }
  });
});
