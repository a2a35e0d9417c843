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
  /** Belongs to the receiver, and begins a buffer of its own. */
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

/** Puts frames together from pieces of any size. What a frame carries is copied once, into memory of its own. */
export class FrameReader {
  readonly #receive: (frame: Frame) => void;
  readonly #head = new Uint8Array(HEAD_BYTES);
  /** What is being filled: the head, the JSON, the bytes, in turn. */
  #stage: 'head' | 'json' | 'bytes' = 'head';
  #into: Uint8Array = this.#head;
  #filled = 0;
  #json: Frame['json'] = {};

  constructor(receive: (frame: Frame) => void) {
    this.#receive = receive;
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
      this.#begin('bytes', new Uint8Array(Buffer.allocUnsafeSlow(contentBytes).buffer));
    } else {
      const bytes = this.#into;
      this.#begin('head', this.#head);
      this.#receive({ kind: view.getUint32(4, true), id: view.getUint32(8, true), json: this.#json, bytes });
    }
  }

  #begin(stage: 'head' | 'json' | 'bytes', into: Uint8Array): void {
    this.#stage = stage;
    this.#into = into;
    this.#filled = 0;
  }
}
