// Writes the vectors, or with --check compares them with what is there.
//
//   node vectors/gen/main.ts [--check]
import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { coverageProblems, coverageTable } from './check-coverage.ts';
import { channelVectors } from './channels.ts';
import { damageVectors } from './damage.ts';
import { deviceVectors } from './devices.ts';
import { dictionaryVectors } from './dictionary.ts';
import { indexVectors } from './index-footer.ts';
import { limitVectors } from './limits.ts';
import { originVectors } from './origin.ts';
import { preambleVectors } from './preamble.ts';
import { protocolVectors } from './protocol.ts';
import { ramVectors } from './ram.ts';
import { recordVectors } from './records.ts';
import { sealVectors } from './seals.ts';
import { tmemVectors } from './tmem.ts';
import { vcpuVectors } from './vcpu.ts';
import { versionVectors } from './versions.ts';
import type { Json } from './lib/bytes.ts';
import type { Vector } from './lib/vector.ts';

const families: Record<string, () => Vector[]> = {
  preamble: preambleVectors,
  records: recordVectors,
  seals: sealVectors,
  ram: ramVectors,
  vcpu: vcpuVectors,
  devices: deviceVectors,
  tmem: tmemVectors,
  origin: originVectors,
  dictionary: dictionaryVectors,
  index: indexVectors,
  channels: channelVectors,
  damage: damageVectors,
  versions: versionVectors,
  limits: limitVectors,
  protocol: protocolVectors,
};

/** JSON with short lists and objects on one line, so that a person can read and compare it. */
function pretty(value: Json, indent = ''): string {
  const flat = JSON.stringify(value);
  if (flat.length + indent.length <= 110 || value === null || typeof value !== 'object') return flat;
  const deeper = `${indent}  `;
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}'];
  const rows = Array.isArray(value)
    ? value.map((item) => deeper + pretty(item, deeper))
    : Object.entries(value).map(([key, item]) => `${deeper}${JSON.stringify(key)}: ${pretty(item, deeper)}`);
  return `${open}\n${rows.join(',\n')}\n${indent}${close}`;
}

function filesOf(vector: Vector): Map<string, Buffer> {
  const { name, files, title, requirements, section, container, expect, conversation } = vector;
  const out = new Map<string, Buffer>();
  const names = files.map((_, channel) => (files.length === 1 ? `${name}.tmig` : `${name}.ch${channel}.tmig`));
  files.forEach((bytes, channel) => out.set(names[channel], bytes));
  const front = { title, requirements, section, files: names, container };
  const json = pretty({ ...front, ...(conversation !== undefined && { conversation }), expect });
  out.set(`${name}.json`, Buffer.from(`${json}\n`));
  return out;
}

function main(): number {
  const check = process.argv.includes('--check');
  const folder = join(import.meta.dirname, '..', 'v1');
  const vectors = Object.values(families).flatMap((family) => family());
  const wanted = new Map<string, Buffer>();
  const problems = coverageProblems(vectors);
  for (const vector of vectors) {
    for (const [name, bytes] of filesOf(vector)) {
      if (wanted.has(name)) problems.push(`${name}: two vectors have this name`);
      wanted.set(name, bytes);
    }
  }
  mkdirSync(folder, { recursive: true });
  const present = readdirSync(folder);
  for (const name of present.filter((entry) => !wanted.has(entry))) {
    if (check) problems.push(`${name}: the generator does not make it`);
    else rmSync(join(folder, name));
  }
  for (const [name, bytes] of wanted) {
    const path = join(folder, name);
    const same = existsSync(path) && readFileSync(path).equals(bytes);
    if (check && !same) problems.push(`${name}: differs from what the generator makes`);
    if (!check && !same) writeFileSync(path, bytes);
  }
  const size = [...wanted.values()].reduce((sum, bytes) => sum + bytes.length, 0);
  if (process.argv.includes('--table')) console.log(coverageTable(vectors));
  console.log(`${vectors.length} vectors, ${wanted.size} files, ${size} bytes in ${basename(folder)}`);
  for (const problem of problems) console.error(problem);
  return problems.length === 0 ? 0 : 1;
}

process.exitCode = main();
