import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import * as fc from 'fast-check';
import { random } from '../support/random.ts';
import { offsetsOf, putTogether, takeApart } from '../support/raw-stream.ts';
import { readInPieces, stories, told } from '../support/stream-model.ts';
import { mutate } from './mutate.ts';
import { faultIn, millisecondsOf, type Fault, type Input, type Tried } from './subject.ts';

/** Something that does not hold, and the input that shows it. */
export interface Finding extends Fault {
  readonly run: number;
  readonly input: Input;
}

/** A stream that mutations start from. */
export interface Seed {
  readonly bytes: Uint8Array;
  /** Whether it is read to its end: what is not may become so when a change takes back what was broken in it. */
  readonly whole: boolean;
}

const LARGEST = 24_000;

/**
 * What mutations start from. The vectors: small streams with something of everything; broken ones are as good to start
 * from. And streams of the model, which are always the same.
 */
export async function seeds(): Promise<Seed[]> {
  const directory = new URL('../../vectors/v1/', import.meta.url);
  const vectors = readdirSync(directory)
    .filter((name) => name.endsWith('.tmig'))
    .toSorted()
    .map((name) => new Uint8Array(readFileSync(new URL(name, directory))));
  const samples = [
    ...fc.sample(stories(true), { seed: 2006, numRuns: 40 }),
    ...fc.sample(stories(), { seed: 2009, numRuns: 40 }),
  ];
  const streams: Uint8Array[] = [];
  for (const story of samples) streams.push((await told(story)).bytes);
  return [...vectors, ...streams]
    .filter((bytes) => bytes.byteLength < LARGEST)
    .map((bytes) => ({ bytes, whole: readInPieces(bytes).error === undefined }));
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** How many honest streams are read again to find the slowest, and how often. */
const SLOWEST = 8;
const READINGS = 5;

/**
 * What is tried, with the seeds as the only inputs that may be whole without a repair, and with the slowest of those
 * that are whole to measure times against.
 */
export function withSeeds(tried: Tried, inputs: readonly Seed[]): Tried {
  const known = new Set(inputs.map(({ bytes }) => digest(bytes)));
  const measured = (bytes: Uint8Array, times: number): { bytes: Uint8Array; ms: number } => {
    let ms = Number.POSITIVE_INFINITY;
    for (let i = 0; i < times; i++) ms = Math.min(ms, millisecondsOf(bytes, tried.subject));
    return { bytes, ms };
  };
  const slowestFirst = inputs
    .filter(({ whole }) => whole)
    .map(({ bytes }) => measured(bytes, 1))
    .toSorted((a, b) => b.ms - a.ms);
  const [honest] = slowestFirst
    .slice(0, SLOWEST)
    .map(({ bytes }) => measured(bytes, READINGS))
    .toSorted((a, b) => b.ms - a.ms);
  return { ...tried, honest, isWhole: (bytes) => known.has(digest(bytes)) };
}

/** The input of run `run` of a seed: always the same, as long as the seeds are. */
export function inputOf(inputs: readonly Seed[], seed: string, run: number): Input {
  const generator = random(`fuzz ${seed} ${run}`);
  const [base, other] = [generator.pick(inputs), generator.pick(inputs)];
  const { bytes, repaired } = mutate(base.bytes, other.bytes, generator);
  return { bytes, repaired: repaired || !base.whole || !other.whole };
}

/** Tries the input of one run. */
export async function fuzzOnce(
  inputs: readonly Seed[],
  seed: string,
  run: number,
  tried: Tried,
): Promise<Finding | undefined> {
  const input = inputOf(inputs, seed, run);
  const fault = await faultIn(input, `${seed} ${run}`, tried);
  return fault === undefined ? undefined : { ...fault, run, input };
}

/** Tries that shrinking may cost. */
const MOST_TRIES = 600;

/** Makes the input of a finding smaller, as long as the same kind of fault is in it. */
export async function shrunk(finding: Finding, seed: string, tried: Tried): Promise<Uint8Array> {
  const { kind, run, input } = finding;
  let best = input.bytes;
  let tries = 0;
  const attempt = async (bytes: Uint8Array): Promise<void> => {
    if (++tries > MOST_TRIES || bytes.byteLength >= best.byteLength) return;
    const fault = await faultIn({ ...input, bytes }, `${seed} ${run}`, tried);
    if (fault?.kind === kind) best = bytes;
  };
  // Whole records, with what is derived put right; then plain ranges of bytes, the larger ones first.
  for (let position = takeApart(best).records.length - 1; position >= 0; position--) {
    const stream = takeApart(best);
    const offsets = offsetsOf(stream);
    if (position >= stream.records.length) continue;
    stream.records.splice(position, 1);
    await attempt(input.repaired ? putTogether(stream) : without(best, offsets[position], offsets[position + 1]));
  }
  for (let size = best.byteLength >> 1; size >= 1; size >>= 1) {
    for (let at = best.byteLength - size; at >= 0; at -= size) {
      if (tries > MOST_TRIES) return best;
      await attempt(without(best, at, at + size));
    }
  }
  return best;
}

function without(bytes: Uint8Array, from: number, to: number): Uint8Array {
  const rest = new Uint8Array(bytes.byteLength - (to - from));
  rest.set(bytes.subarray(0, from));
  rest.set(bytes.subarray(to), from);
  return rest;
}
