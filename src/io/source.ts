import type { RandomAccess } from '../bytes/endpoints.ts';

/** An input: a file, a block device, or a pipe. */
export interface ByteSource {
  /** For messages: the path, or `standard input`. */
  readonly name: string;
  /** Size in bytes; null when it can't be known, as of a pipe. */
  readonly size: number | null;
  /** It may be larger than the image in it: a block device. */
  readonly container: boolean;
  /** Reading at any place; null for a pipe. */
  readonly random: RandomAccess | null;
  /**
   * The bytes in order, in pieces. A piece is valid until the next is asked for. To be asked for once.
   * @throws READ_FAILED
   */
  pieces(): AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}
