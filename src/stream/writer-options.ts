import type { CodecId } from '../codec/codec.ts';

/** How a stream is written. */
export interface WriterOptions {
  /** Codec for guest memory and device blobs; what does not get smaller is stored raw. Default raw. */
  readonly codec?: CodecId;
  /** The codec's level; its own default when absent. */
  readonly level?: number;
  /** Threads that compress. Default 0: in this one. */
  readonly threads?: number;
  /** Most bytes of records between seals. Default and limit 64 MiB (stream 5.4). */
  readonly sealInterval?: number;
  /** Told of every SEAL that is written, also of those that the writer puts in by itself: each is acknowledged. */
  readonly onSeal?: (number: number, chain: Uint8Array) => void;
}
