/** What the writers of all formats have in common. */
import type { ByteSink } from '../../bytes/endpoints.ts';
import type { Work } from '../../io/work.ts';

/** What a writer is told beside the image. */
export interface WriteOptions extends Work {
  /** When it is written, RFC 3339, for formats that say so. */
  readonly time: string;
  /** How a stream of QEMU is stored that stands in the image whole; raw when absent. */
  readonly compression?: 'raw' | 'zstd' | undefined;
}

/** Writes the image that was prepared. The sink is not ended. @returns pages with content that were written. */
export type PreparedWrite = (sink: ByteSink) => Promise<number>;
