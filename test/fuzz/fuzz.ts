import { readdirSync, readFileSync } from 'node:fs';
import { random } from '../support/random.ts';
import { mutate } from './mutate.ts';
import { findingOf, type Subject } from './subject.ts';

/** Something that does not hold, and how to see it again. */
export interface Finding {
  readonly run: number;
  readonly what: string;
  readonly input: Uint8Array;
}

/** The vectors: small streams with something of everything. Broken ones are as good to start from. */
export function seeds(): Uint8Array[] {
  const directory = new URL('../../vectors/v1/', import.meta.url);
  return readdirSync(directory)
    .filter((name) => name.endsWith('.tmig'))
    .toSorted()
    .map((name) => new Uint8Array(readFileSync(new URL(name, directory))))
    .filter((bytes) => bytes.byteLength < 20_000);
}

/** Run number `run` of seed `seed`: always the same. */
export async function fuzzOnce(
  inputs: readonly Uint8Array[],
  seed: string,
  run: number,
  subject: Subject,
): Promise<Finding | undefined> {
  const generator = random(`fuzz ${seed} ${run}`);
  const input = mutate(generator.pick(inputs), generator.pick(inputs), generator);
  const what = await findingOf(input, generator, subject);
  return what === undefined ? undefined : { run, what, input };
}
