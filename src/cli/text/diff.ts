import type { Part } from '../../image/diff/parts.ts';
import type {
  BlobDiff,
  ImageDiff,
  KeyDiff,
  KeyList,
  MemoryDiff,
  PageRange,
  RangeList,
  TmemDiff,
  TmemPagesList,
} from '../../image/diff/result.ts';
import { escapeText } from '../escape.ts';
import { showValue } from './fields.ts';
import { formatBytes, formatCount, formatHex, plural } from './format.ts';
import type { Layout } from './style.ts';
import { pairLines, sectionLines } from './table.ts';
import { paragraph } from './wrap.ts';

/** What the parts are called. */
const TITLES: Readonly<Record<Part, string>> = {
  head: 'Machine',
  memory: 'Memory',
  classes: 'Page classes',
  vcpus: 'vCPUs',
  vcpuStates: 'vCPU states',
  cpuid: 'CPUID policy',
  msrs: 'MSR policy',
  devices: 'Devices',
  disks: 'Disks',
  tmem: 'Transcendent memory',
};

type Pair = readonly [name: string, value: string];

/** The text of `diff`: whether they are the same, then each part that differs, then what was not compared. */
export function* diffLines(files: readonly [string, string], diff: ImageDiff, layout: Layout): Generator<string> {
  const { style, width } = layout;
  const [a, b] = files.map((file) => escapeText(file));
  const verdict = diff.same ? style.good('the same') : style.warning('they differ');
  yield* paragraph('', `${style.strong(a)} (a) and ${style.strong(b)} (b): ${verdict}`, 2, width);
  yield* pairLines(sides(diff), layout);
  for (const part of diff.differing) yield* sectionLines(TITLES[part], pairLines(pairsOf(part, diff), layout), layout);
  if (diff.memory !== null && diff.memory.pageTables !== null) {
    yield* sectionLines('Page tables', [...tableNote(diff.memory, layout)], layout);
  }
  const unknown = onlyOneKnows(diff);
  yield* sectionLines('Known to one only', pairLines(unknown, layout), layout);
  const left = diff.notCompared.map(({ part, why }): Pair => [TITLES[part], why]);
  yield* sectionLines('Not compared', pairLines(left, layout), layout);
}

function sides({ a, b, about, memory }: ImageDiff): Pair[] {
  const pairs: Pair[] = [
    ['a', a.nesting.map(escapeText).join(', ')],
    ['b', b.nesting.map(escapeText).join(', ')],
  ];
  if (memory !== null) pairs.push(['memory', `${plural(memory.same, 'page')} the same`]);
  for (const key of about) pairs.push([`${key.path} (does not count)`, keyText(key)]);
  return pairs;
}

function pairsOf(part: Part, diff: ImageDiff): Pair[] {
  switch (part) {
    case 'head':
      return diff.head.map((key) => [key.path, keyText(key)]);
    case 'memory':
      return memoryPairs(diff.memory!);
    case 'classes':
      return diff.memory!.classes!.first.map((range) => [
        rangeText(range),
        `${formatHex(range.a)} in a, ${formatHex(range.b)} in b`,
      ]);
    case 'vcpus':
      return vcpuPairs(diff);
    case 'vcpuStates': {
      const { onlyA, onlyB, both } = diff.vcpuStates!;
      const name = ({ vcpu, kind }: { vcpu: number; kind: number }) => `vCPU ${vcpu}, kind ${formatHex(kind)}`;
      return [
        ...both.filter(({ same }) => !same).map((state): Pair => [name(state), blobText(state)]),
        ...onlyA.map((state): Pair => [name(state), 'only in a']),
        ...onlyB.map((state): Pair => [name(state), 'only in b']),
      ];
    }
    case 'cpuid':
      return cpuidPairs(diff);
    case 'msrs': {
      const { onlyA, onlyB, different } = diff.msrs!;
      return [
        ...different.map((msr): Pair => [
          msr.index + (msr.name === null ? '' : ` ${msr.name}`),
          `${msr.a} in a, ${msr.b} in b`,
        ]),
        ...onlyPairs(onlyA, onlyB),
      ];
    }
    case 'devices':
      return devicePairs(diff);
    case 'disks': {
      const { onlyA, onlyB, both } = diff.disks!;
      return [
        ...both
          .filter(({ facts }) => facts.length > 0)
          .map(({ name, facts }): Pair => [escapeText(name), keysText(facts)]),
        ...onlyPairs(onlyA.map(escapeText), onlyB.map(escapeText)),
      ];
    }
    case 'tmem':
      return tmemPairs(diff.tmem!);
  }
}

function onlyPairs(onlyA: readonly string[], onlyB: readonly string[]): Pair[] {
  const pairs: Pair[] = [];
  if (onlyA.length > 0) pairs.push(['only in a', onlyA.join(', ')]);
  if (onlyB.length > 0) pairs.push(['only in b', onlyB.join(', ')]);
  return pairs;
}

function memoryPairs({ different, onlyA, onlyB, bytes }: MemoryDiff): Pair[] {
  const pairs: Pair[] = [];
  if (different.pages > 0) pairs.push(['differ', rangesText(different)]);
  const zero = (pages: number) => (pages === 0 ? '' : `, ${formatCount(pages)} of them zero`);
  if (onlyA.pages > 0) pairs.push(['only in a', rangesText(onlyA, zero(onlyA.zeroPages))]);
  if (onlyB.pages > 0) pairs.push(['only in b', rangesText(onlyB, zero(onlyB.zeroPages))]);
  for (const { pfn, bytes: count, spans } of bytes ?? []) {
    const places = spans.map(({ offset, bytes: length }) => formatHex(offset) + (length === 1 ? '' : `+${length}`));
    pairs.push([`page ${formatHex(pfn)}`, `${plural(count, 'byte')}: ${places.join(' ')}`]);
  }
  return pairs;
}

function rangesText({ pages, ranges, first }: RangeList, more = ''): string {
  const rest = ranges - first.length;
  const named = first.map(rangeText).join(', ');
  const tail = rest > 0 ? `${named === '' ? '' : ', '}and ${plural(rest, 'range')} more` : '';
  return `${plural(pages, 'page')}${more}: ${named}${tail}`;
}

function rangeText({ firstPfn, pages }: PageRange): string {
  return pages === 1 ? formatHex(firstPfn) : `${formatHex(firstPfn)}-${formatHex(firstPfn + pages - 1)}`;
}

function vcpuPairs({ vcpus }: ImageDiff): Pair[] {
  const { onlyA, onlyB, both } = vcpus!;
  return [
    ...both
      .filter(({ registers }) => registers.length > 0)
      .flatMap(({ vcpu, registers }) =>
        registers.map(({ name, a, b }): Pair => [`${vcpu} ${name}`, `${a} in a, ${b} in b`]),
      ),
    ...onlyPairs(onlyA.map(String), onlyB.map(String)),
  ];
}

function cpuidPairs({ cpuid }: ImageDiff): Pair[] {
  const { onlyA, onlyB, different } = cpuid!;
  return [
    ...different.map(({ leaf, subleaf, register, a, b, bits }): Pair => {
      const place = subleaf === 'ffffffff' ? leaf : `${leaf}:${Number.parseInt(subleaf, 16)}`;
      const names = (side: 'a' | 'b') =>
        bits.flatMap((bit) => (bit.in === side ? [bit.name ?? `bit ${bit.bit}`] : [])).join(' ');
      const [inA, inB] = [names('a'), names('b')];
      const features = [inA === '' ? '' : `only a: ${inA}`, inB === '' ? '' : `only b: ${inB}`].filter(Boolean);
      const values = `${a} in a, ${b} in b`;
      return [`${place} ${register}`, features.length === 0 ? values : `${values} (${features.join('; ')})`];
    }),
    ...onlyPairs(onlyA, onlyB),
  ];
}

function blobText({ bytes, offset, sha256 }: BlobDiff): string {
  const sizes =
    bytes.a === bytes.b ? formatBytes(bytes.a) : `${formatBytes(bytes.a)} in a, ${formatBytes(bytes.b)} in b`;
  const digests = `sha256 ${sha256.a.slice(0, 12)} in a, ${sha256.b.slice(0, 12)} in b`;
  return `differs from byte ${formatHex(offset ?? 0)} on; ${sizes}; ${digests}`;
}

function devicePairs({ devices }: ImageDiff): Pair[] {
  const { onlyA, onlyB, both } = devices!;
  const pairs: Pair[] = [];
  for (const device of both) {
    const name = escapeText(device.name);
    if (device.facts.length > 0) pairs.push([name, keysText(device.facts)]);
    if (device.same) continue;
    if (device.keys === null) pairs.push([name, blobText(device)]);
    else pairs.push(...listPairs(name, device.keys));
  }
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => escapeText(name));
  return [...pairs, ...onlyPairs(names(onlyA), names(onlyB))];
}

function listPairs(name: string, { count, first }: KeyList): Pair[] {
  const pairs = first.map((key): Pair => [`${name} ${escapeText(key.path)}`, keyText(key)]);
  if (count > first.length) pairs.push([name, `and ${plural(count - first.length, 'key')} more`]);
  return pairs;
}

function keysText(keys: readonly KeyDiff[]): string {
  return keys.map((key) => `${escapeText(key.path)}: ${keyText(key)}`).join('; ');
}

function keyText({ a, b }: KeyDiff): string {
  if (a === undefined) return `${showValue(b)} only in b`;
  return b === undefined ? `${showValue(a)} only in a` : `${showValue(a)} in a, ${showValue(b)} in b`;
}

function tmemPairs({ client, pools, different, onlyA, onlyB }: TmemDiff): Pair[] {
  const pairs: Pair[] = client.map((key): Pair => [`client ${key.path}`, keyText(key)]);
  for (const { pool, facts } of pools) pairs.push([`pool ${pool}`, keysText(facts)]);
  const lists: readonly (readonly [string, TmemPagesList])[] = [
    ['differ', different],
    ['only in a', onlyA],
    ['only in b', onlyB],
  ];
  for (const [name, { pages, first }] of lists) {
    if (pages === 0) continue;
    const named = first.map(({ pool, object, index }) => `${pool}:${objectText(object)}:${index}`).join(', ');
    pairs.push([name, `${plural(pages, 'page')}: ${named}${pages > first.length ? ' ...' : ''}`]);
  }
  return pairs;
}

function objectText([first, second, third]: readonly [string, string, string]): string {
  const words = second === '0' && third === '0' ? [first] : [first, second, third];
  return words.map((word) => formatHex(BigInt(word))).join('.');
}

function tableNote({ pageTables }: MemoryDiff, { width }: Layout): string[] {
  const { framesIn, pages, mapped, hypervisor } = pageTables!;
  const text =
    `The page tables of ${framesIn} name frames of the machine. In ${plural(pages, 'page')} that the other image ` +
    `calls page tables, ${plural(mapped, 'entry', 'entries')} were compared by the pfn of their frame; ` +
    `${plural(hypervisor, 'entry', 'entries')} in the hypervisor’s own slots were left out.`;
  return paragraph('  ', text, 2, width);
}

/** Groups of registers that only one image knows. */
function onlyOneKnows({ vcpus }: ImageDiff): Pair[] {
  return (vcpus?.both ?? []).flatMap(({ vcpu, onlyA, onlyB }) => {
    const pairs: Pair[] = [];
    if (onlyA.length > 0) pairs.push([`vCPU ${vcpu}`, `${onlyA.join(' ')} (a)`]);
    if (onlyB.length > 0) pairs.push([`vCPU ${vcpu}`, `${onlyB.join(' ')} (b)`]);
    return pairs;
  });
}
