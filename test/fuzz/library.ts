/** The library under test, loaded from where it is told: this checkout, or a copy with a planted fault. */
import type { inspectImage } from '../../src/image/inspect.ts';
import type { recordJson } from '../../src/image/record-json.ts';
import type { verifyImage } from '../../src/image/verify.ts';
import type { memorySource } from '../../src/io/memory.ts';
import type { StreamDecoder } from '../../src/stream/decoder.ts';
import type { IndexedImage } from '../../src/stream/indexed-image.ts';

export interface Library {
  readonly StreamDecoder: typeof StreamDecoder;
  readonly IndexedImage: typeof IndexedImage;
  readonly recordJson: typeof recordJson;
  readonly verifyImage: typeof verifyImage;
  readonly inspectImage: typeof inspectImage;
  readonly memorySource: typeof memorySource;
}

const MODULES = [
  'stream/decoder.ts',
  'stream/indexed-image.ts',
  'image/record-json.ts',
  'image/verify.ts',
  'image/inspect.ts',
  'io/memory.ts',
];

/** @param source the folder `src`, as a URL that ends with a slash. */
export async function loadLibrary(source: URL = new URL('../../src/', import.meta.url)): Promise<Library> {
  const modules = await Promise.all(
    MODULES.map(async (name) => (await import(new URL(name, source).href)) as Partial<Library>),
  );
  return Object.assign({}, ...modules) as Library;
}
