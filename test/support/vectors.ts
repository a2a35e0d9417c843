/** The vectors of the stream, as their files have them. */
import { readdirSync, readFileSync } from 'node:fs';
import type { RecordJson } from '../../src/image/record-json.ts';

export interface Vector {
  title: string;
  requirements: string[];
  section: string;
  files: string[];
  container?: boolean;
  expect: {
    verdict: 'sound' | 'findings' | 'broken';
    error?: { code: string; offset: number; sequence: number | null; file?: number; mentions?: string[] };
    records: RecordJson[][];
    warnings?: string[];
    memory?: unknown;
    tmem?: unknown;
  };
}

const directory = new URL('../../vectors/v1/', import.meta.url);
export const names = readdirSync(directory)
  .filter((name) => name.endsWith('.json'))
  .map((name) => name.slice(0, -5));

export function load(name: string): { vector: Vector; files: Uint8Array[] } {
  const vector = JSON.parse(readFileSync(new URL(`${name}.json`, directory), 'utf8')) as Vector;
  return { vector, files: vector.files.map((file) => new Uint8Array(readFileSync(new URL(file, directory)))) };
}
