import type { CodecId } from '../../codec/codec.ts';
import type { TmemClient, TmemPool } from '../../stream/records/tmem.ts';

/** A page of tmem. The same object is used for the next one: copy what is to be kept. */
export interface OpenedTmemPage {
  readonly pool: TmemPool;
  /** The 24 bytes of the object id (stream 10.3); lent. */
  readonly object: Uint8Array;
  readonly index: number;
  readonly codec: CodecId;
  readonly storedBytes: number;
  /**
   * Writes the content, as stream 19.2 takes it, into `out`, of at least 64 KiB.
   * @returns its length. @throws CODEC_DATA
   */
  contentInto(out: Uint8Array): number;
}

/**
 * Transcendent memory of an image, as it is at its end. Its records are read when something of it is first asked for:
 * 40 bytes a page are kept of them (stream 19.2), and no content.
 */
export interface OpenedTmem {
  /** null when the image does not say. @throws the errors of damage, READ_FAILED */
  client(): Promise<TmemClient | null>;
  /** The pools that live at the end, by slot; ephemeral ones too. @throws as {@link client} */
  pools(): Promise<readonly TmemPool[]>;
  /** The pages of persistent pools, by slot, object and index (stream 19.2). @throws as {@link client} */
  pages(): AsyncGenerator<OpenedTmemPage>;
}
