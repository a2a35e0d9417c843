/** Which places of the stream's sources a test runs through, as V8 counts it. */
import { Session } from 'node:inspector/promises';
import { fileURLToPath } from 'node:url';

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/** Ranges by path, outer ones before those within them. */
export type Coverage = ReadonlyMap<string, readonly Range[]>;

export class CoverageMeter {
  readonly #session = new Session();

  async start(): Promise<void> {
    this.#session.connect();
    await this.#session.post('Profiler.enable');
    await this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** What ran since the last call. */
  async take(): Promise<Coverage> {
    const { result } = await this.#session.post('Profiler.takePreciseCoverage');
    const found = new Map<string, Range[]>();
    for (const { url, functions } of result) {
      if (!url.includes('/src/stream/')) continue;
      const path = fileURLToPath(url);
      const ranges = found.get(path) ?? [];
      for (const each of functions) ranges.push(...each.ranges);
      found.set(path, ranges);
    }
    return found;
  }

  stop(): void {
    this.#session.disconnect();
  }
}

/** Whether a place ran: its innermost range says so. */
export function ran(coverage: Coverage, path: string, at: number): boolean {
  let innermost: Range | undefined;
  for (const range of coverage.get(path) ?? []) {
    if (at < range.startOffset || at >= range.endOffset) continue;
    const size = range.endOffset - range.startOffset;
    const best = innermost === undefined ? Number.POSITIVE_INFINITY : innermost.endOffset - innermost.startOffset;
    // Of two graphs in one process the same range comes twice.
    if (size < best || (size === best && range.count > 0)) innermost = range;
  }
  return innermost !== undefined && innermost.count > 0;
}
