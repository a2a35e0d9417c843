/**
 * What the two byte-oriented LZ codecs (lz4.ts, lzo1x.ts) share: views of the caller's buffers, measuring a match,
 * copying literals and matches.
 *
 * JavaScript reads and writes one byte per access of a Uint8Array, but four with a DataView, which makes the codecs
 * two to three times faster. A view covers a whole buffer, so that one serves all pages in it. Therefore all positions
 * here are positions in the buffer and not in the array, and nothing here may trust the view to stop at the array's
 * end: each function is told that end.
 */

/** Copying in steps of eight may write that many bytes past the last wanted one, where the end is far enough. */
const STEP = 8;

/** From this length on, calling into the engine's `copyWithin` is faster than a loop. */
const BULK_COPY = 128;

/** One view per buffer, for as long as the buffer lives. */
const views = new WeakMap<ArrayBufferLike, DataView>();

/** A view of the whole buffer that `bytes` lies in: `bytes[i]` is at `bytes.byteOffset + i`. */
export function viewOf(bytes: Uint8Array): DataView {
  const buffer = bytes.buffer;
  let view = views.get(buffer);
  // A resizable buffer can have grown since; its old view has grown with it, being made without a length.
  if (view === undefined) {
    view = new DataView(buffer);
    views.set(buffer, view);
  }
  return view;
}

/** How many bytes from `at` on, stopping before `end`, equal those `distance` before them. */
export function matchLength(view: DataView, at: number, distance: number, end: number): number {
  let cursor = at;
  while (cursor + 4 <= end) {
    const difference = view.getInt32(cursor, true) ^ view.getInt32(cursor - distance, true);
    if (difference !== 0) {
      // The number of equal low bytes is an eighth of the number of zero bits below the lowest one.
      return cursor - at + ((31 - Math.clz32(difference & -difference)) >> 3);
    }
    cursor += 4;
  }
  while (cursor < end && view.getUint8(cursor) === view.getUint8(cursor - distance)) cursor++;
  return cursor - at;
}

/**
 * Copies `length` bytes from `from` in `source` to `to` in `target`. Reads nothing at or after `sourceEnd`; writes
 * nothing at or after `targetEnd`, but possibly a few bytes after the last wanted one. The caller has checked that
 * both ranges end there or before.
 */
export function copyLiterals(
  source: DataView,
  from: number,
  sourceEnd: number,
  target: DataView,
  to: number,
  targetEnd: number,
  length: number,
): void {
  const last = from + length;
  let read = from;
  let write = to;
  if (last + STEP <= sourceEnd && to + length + STEP <= targetEnd) {
    while (read < last) {
      target.setInt32(write, source.getInt32(read, true), true);
      target.setInt32(write + 4, source.getInt32(read + 4, true), true);
      read += STEP;
      write += STEP;
    }
    return;
  }
  for (; read + 4 <= last; read += 4, write += 4) target.setInt32(write, source.getInt32(read, true), true);
  while (read < last) target.setUint8(write++, source.getUint8(read++));
}

/**
 * Copies the `length` bytes that lie `distance` bytes back in `out` to its index `at`. As in all LZ formats source
 * and target may overlap, which repeats the last `distance` bytes. `view` is that of `out`. Writes nothing outside
 * `out`, but possibly a few bytes after the last wanted one. The caller has checked 1 <= distance <= at and
 * at + length <= out.length.
 */
export function copyMatch(out: Uint8Array, view: DataView, at: number, distance: number, length: number): void {
  const end = at + length;
  if (length >= BULK_COPY) {
    copyLongMatch(out, at, distance, length);
  } else if (distance >= STEP && end + STEP <= out.length) {
    const last = out.byteOffset + end;
    for (let write = out.byteOffset + at; write < last; write += STEP) {
      view.setInt32(write, view.getInt32(write - distance, true), true);
      view.setInt32(write + 4, view.getInt32(write - distance + 4, true), true);
    }
  } else {
    for (let cursor = at; cursor < end; cursor++) out[cursor] = out[cursor - distance];
  }
}

function copyLongMatch(out: Uint8Array, at: number, distance: number, length: number): void {
  if (distance === 1) {
    out.fill(out[at - 1], at, at + length);
    return;
  }
  // Each turn doubles what is there to copy from, because what was just copied continues the same period.
  const from = at - distance;
  let done = 0;
  while (done < length) {
    const part = Math.min(distance + done, length - done);
    out.copyWithin(at + done, from, from + part);
    done += part;
  }
}
