import type { JsonObject } from '../../bytes/bounded-json.ts';
import type { FindingLevel, ImageFinding } from '../model/reader.ts';

/** Most findings of one code that are kept; the others are counted. */
const FINDINGS_KEPT = 32;

/** Collects what is wrong with an image that can be read on, with bounded memory. */
export class FoundFindings {
  readonly #kept: ImageFinding[] = [];
  readonly #counts = new Map<string, number>();

  report(
    level: FindingLevel,
    code: string,
    message: string,
    place: { readonly offset: number | null; readonly path: string; readonly section: string },
    data: JsonObject = {},
  ): void {
    const count = (this.#counts.get(code) ?? 0) + 1;
    this.#counts.set(code, count);
    if (count <= FINDINGS_KEPT) this.#kept.push({ code, level, message, ...place, data });
  }

  /** The first of each code, in the order in which they were found. */
  get kept(): readonly ImageFinding[] {
    return this.#kept;
  }

  /** How often each code was found. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }
}
