/**
 * How the two halves of the driver speak: frames on a stream of bytes. A frame is a JSON object for what is small, and
 * bytes for what is not. Both ends are of one release, so nothing here has a version.
 */

/**
 * Bytes before the JSON: length of all that follows this field, kind, id, length of the JSON; four little-endian u32.
 */
const HEAD_BYTES = 16;

export const FRAME = { request: 0, reply: 1, failure: 2, event: 3 } as const;
export type FrameKind = (typeof FRAME)[keyof typeof FRAME];

export const FRAME_LIMITS = {
  /** A device blob is the longest, and has at most 1 GiB (stream 9.1). */
  bytes: 1024 * 1024 * 1024 + 1024 * 1024,
  json: 4 * 1024 * 1024,
} as const;

export interface Frame {
  readonly kind: number;
  /** Of a request, and again in its answer; 0 in an event. */
  readonly id: number;
  readonly json: Readonly<Record<string, unknown>>;
  /** In memory that the receiver gave for it, or begins a buffer of its own. Belongs to the receiver. */
  readonly bytes: Uint8Array;
}

/**
 * The pieces of a frame, to be written one after the other. Bytes are not copied: they must not change until written.
 */
export function encodeFrame(
  kind: FrameKind,
  id: number,
  json: object,
  bytes: readonly Uint8Array[] = [],
): Uint8Array[] {
  const text = new TextEncoder().encode(JSON.stringify(json));
  const head = new Uint8Array(HEAD_BYTES + text.byteLength);
  const length = bytes.reduce((sum, piece) => sum + piece.byteLength, head.byteLength - 4);
  if (length > FRAME_LIMITS.bytes || text.byteLength > FRAME_LIMITS.json)
    throw new RangeError(`a frame of ${length} bytes`);
  const view = new DataView(head.buffer);
  view.setUint32(0, length, true);
  view.setUint32(4, kind, true);
  view.setUint32(8, id, true);
  view.setUint32(12, text.byteLength, true);
  head.set(text, HEAD_BYTES);
  return [head, ...bytes.filter((piece) => piece.byteLength > 0)];
}

/** What comes with one read at most: heads, JSON, small frames. */
const STAGING_BYTES = 64 * 1024;
/** From this many missing bytes on they are read to where they belong. */
const DIRECT_BYTES = 16 * 1024;

/**
 * Puts frames together. A socket that reads into memory that it is given reads into {@link room}, and says how much
 * with {@link took}: large contents are then read to where they stay. Pieces that came elsewhere go to {@link feed}.
 */
export class FrameReader {
  readonly #receive: (frame: Frame) => void;
  readonly #roomFor: (id: number, bytes: number) => Uint8Array | null;
  readonly #head = new Uint8Array(HEAD_BYTES);
  readonly #staging = new Uint8Array(STAGING_BYTES);
  /** What is being filled: the head, the JSON, the bytes, in turn. */
  #stage: 'head' | 'json' | 'bytes' = 'head';
  #into: Uint8Array = this.#head;
  #filled = 0;
  #json: Frame['json'] = {};
  #direct = false;

  /** @param roomFor memory for the content of a frame: exactly so many bytes, or null for new memory. */
  constructor(receive: (frame: Frame) => void, roomFor: (id: number, bytes: number) => Uint8Array | null = () => null) {
    this.#receive = receive;
    this.#roomFor = roomFor;
  }

  /** Where the next bytes are to be read to. */
  room(): Uint8Array {
    this.#direct = this.#stage === 'bytes' && this.#into.byteLength - this.#filled >= DIRECT_BYTES;
    return this.#direct ? this.#into.subarray(this.#filled) : this.#staging;
  }

  /** So many bytes were read into the last {@link room}. @throws as {@link feed} does */
  took(length: number): void {
    if (!this.#direct) {
      this.feed(this.#staging.subarray(0, length));
      return;
    }
    this.#filled += length;
    while (this.#filled === this.#into.byteLength) this.#advance();
  }

  /** @throws RangeError or SyntaxError for a frame that no end of ours writes. */
  feed(piece: Uint8Array): void {
    for (let at = 0; at < piece.byteLength;) {
      const taken = Math.min(piece.byteLength - at, this.#into.byteLength - this.#filled);
      this.#into.set(piece.subarray(at, at + taken), this.#filled);
      this.#filled += taken;
      at += taken;
      while (this.#filled === this.#into.byteLength) this.#advance();
    }
  }

  #advance(): void {
    const view = new DataView(this.#head.buffer);
    const id = view.getUint32(8, true);
    const jsonBytes = view.getUint32(12, true);
    const contentBytes = view.getUint32(0, true) - (HEAD_BYTES - 4) - jsonBytes;
    if (this.#stage === 'head') {
      if (jsonBytes === 0 || jsonBytes > FRAME_LIMITS.json || contentBytes < 0 || contentBytes > FRAME_LIMITS.bytes) {
        throw new RangeError(`a frame of ${jsonBytes} bytes of JSON and ${contentBytes} others`);
      }
      this.#begin('json', new Uint8Array(jsonBytes));
    } else if (this.#stage === 'json') {
      this.#json = JSON.parse(new TextDecoder().decode(this.#into)) as Frame['json'];
      // All of it is filled before anybody sees it, so it need not be zero before.
      const room = this.#roomFor(id, contentBytes);
      this.#begin('bytes', room ?? new Uint8Array(Buffer.allocUnsafeSlow(contentBytes).buffer));
    } else {
      const bytes = this.#into;
      this.#begin('head', this.#head);
      this.#receive({ kind: view.getUint32(4, true), id, json: this.#json, bytes });
    }
  }

  #begin(stage: 'head' | 'json' | 'bytes', into: Uint8Array): void {
    this.#stage = stage;
    this.#into = into;
    this.#filled = 0;
  }
}
