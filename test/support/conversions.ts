/** The page docs/conversions.md, from the same data as the code: what each format holds. */
import { HOLDS } from '../../src/image/writers/formats.ts';
import type { FormatHolds } from '../../src/image/writers/holds.ts';
import { VCPU_STATE } from '../../src/image/model/event.ts';

const STATE_NAMES = new Map<number, string>(Object.entries(VCPU_STATE).map(([name, kind]) => [kind, name]));

const yes = (held: boolean): string => (held ? 'yes' : '');

/** What a format holds, a line a kind of thing. */
const ROWS: readonly (readonly [what: string, text: (holds: FormatHolds) => string])[] = [
  ['domains', ({ domains }) => (domains === null ? 'any' : domains.join(', '))],
  ['registers of vCPUs', ({ vcpus }) => yes(vcpus)],
  [
    'other state of vCPUs',
    ({ vcpuStates }) => (vcpuStates === null ? 'any' : vcpuStates.map((kind) => STATE_NAMES.get(kind)).join(', ')),
  ],
  ['CPUID policy', ({ cpuid }) => yes(cpuid)],
  ['MSR policy', ({ msrs }) => yes(msrs)],
  ['disks', ({ disks }) => yes(disks)],
  ['tmem', ({ tmem }) => yes(tmem)],
  ['records of your own', ({ ownRecords }) => yes(ownRecords)],
  ['classes of pages', ({ pageClasses }) => pageClasses],
  ['several checkpoints', ({ checkpoints }) => yes(checkpoints)],
  ['name, uuid, configuration', ({ about }) => about.join(', ')],
];

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

/** The blobs of a format, by its own names, and those that take another form in it. */
function deviceLines({ devices }: FormatHolds): string {
  if (devices === null) return 'any';
  return devices
    .map(({ format, names, becomes }) => {
      const text = names === undefined ? format : `${format} (${names.join(', ')})`;
      return becomes === undefined ? text : `${text}, which becomes ${becomes}`;
    })
    .join('; ');
}

/** Blobs that images of one format have, and another has no place for. */
function lostDevices(from: FormatHolds, to: FormatHolds): string[] {
  if (to.devices === null) return [];
  if (from.devices === null) return ['devices that are not its own'];
  return from.devices.flatMap(({ format, names, becomes }) => {
    const places = to.devices!.filter((place) => place.format === format);
    if (becomes !== undefined || places.some((place) => place.names === undefined)) return [];
    const there = places.flatMap((place) => place.names ?? []);
    const left = (names ?? []).filter((name) => !there.includes(name));
    if (names !== undefined && left.length === 0) return [];
    const inPart = there.length > 0 && left.some((name) => name.endsWith('*'));
    return [`${format} ${inPart ? `other than ${there.join(', ')}` : `(${left.join(', ')})`}`.replace(' ()', '')];
  });
}

/** What an image of one format can have that the other has no place for. */
export function lostBetween(from: FormatHolds, to: FormatHolds): string[] {
  const lost: string[] = [];
  const has = (what: string, here: boolean, there: boolean): void => {
    if (here && !there) lost.push(what);
  };
  has('vCPUs', from.vcpus, to.vcpus);
  const states = from.vcpuStates ?? Object.values(VCPU_STATE);
  const missing = states.filter((kind) => to.vcpuStates !== null && !to.vcpuStates.includes(kind));
  if (missing.length > 0) lost.push(`vCPU states ${missing.map((kind) => STATE_NAMES.get(kind)).join(', ')}`);
  has('CPUID policy', from.cpuid, to.cpuid);
  has('MSR policy', from.msrs, to.msrs);
  lost.push(...lostDevices(from, to));
  has('disks', from.disks, to.disks);
  has('tmem', from.tmem, to.tmem);
  has('records of your own', from.ownRecords, to.ownRecords);
  const order = ['none', 'presence', 'all'];
  has('classes of pages', order.indexOf(from.pageClasses) > order.indexOf(to.pageClasses), false);
  has('earlier checkpoints', from.checkpoints, to.checkpoints);
  const about = from.about.filter((key) => !to.about.includes(key));
  if (about.length > 0) lost.push(about.join(', '));
  return lost;
}

/** The whole page. */
export function conversionsPage(): string {
  const names = HOLDS.map(({ format }) => format);
  const matrix = HOLDS.map((from) => [
    `**${from.format}**`,
    ...HOLDS.map((to) => {
      if (to === from) return 'nothing';
      const lost = lostBetween(from, to);
      return lost.length === 0 ? 'nothing' : lost.join('; ');
    }),
  ]);
  const rows = ROWS.map(([what, text]) => [what, ...HOLDS.map((holds) => text(holds))]);
  const devices = HOLDS.map((holds) => `- **${holds.format}**: ${deviceLines(holds)}`).join('\n');
  return `# Conversions

\`transmigrate convert INPUT OUTPUT --to FORMAT\`, and \`convertImage\` in the library. This page is made from the
tables that the code itself uses (\`src/image/writers/holds.ts\`); a test keeps it equal, and
\`UPDATE=1 node_modules/.bin/node --test test/unit/image/conversions.test.ts\` writes it. How conversion works:
[spec/foreign/model.md](../spec/foreign/model.md), section 5.

To ours (\`tmig\`) nothing of a foreign image is lost, and ORIGIN keeps its framing, so that it is given back byte
for byte; \`--no-origin\` leaves that away. An image that lies inside another (a libxl stream in an xl file) is given
out as the bytes that it is.

## What is lost

From the format on the left to that above: what an image *can* have that has no place there. A conversion names what
*this* image has, and is refused unless there is nothing, or \`--allow-loss\` is given.

${table(['from, to', ...names], matrix)}

What a format needs and the image lacks is refused whatever is allowed: an HVM context, the p2m frames of a PV guest,
for Xen's formats. Of a stream with checkpoints the last is written. TOOLSTACK of libxc and optional records of libxl,
which Xen refuses, are not written anew. An xl file without a configuration is written with \`--allow-loss\` only:
\`xl restore CONFIG FILE\`.

## What each format holds

${table(['', ...names], rows)}

Classes of pages: \`all\` (page tables with their pins, allocated, broken, not there); \`presence\`; \`none\` (zeros
stand where no page is).

## Device blobs

${devices}
`;
}
