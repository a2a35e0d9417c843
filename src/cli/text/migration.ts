import type { CheckAnswer, JobInfo, JobStory, MigrateResult, OwnerAnswer } from '../../host/migration/jobs.ts';
import { escapeText } from '../escape.ts';
import { formatCount, formatSize } from './format.ts';
import type { Layout } from './style.ts';
import { tableLines, type Column } from './table.ts';

/** What a migration did. */
export function migrateLines(result: MigrateResult): string[] {
  const { name, to, rounds, ramPages, ramBytes, tmemPages, tmemBytes, invalidations, downtimeMs, totalMs, id } = result;
  const own = result.ownBytes === 0 ? '' : `; state of one's own ${formatSize(result.ownBytes)}`;
  const still = downtimeMs === 0 ? 'it is paused, as it was' : `it stood still for ${downtimeMs.toFixed(0)} ms`;
  const legs = result.legs === 1 ? '' : `, ${result.legs} connections`;
  return [
    escapeText(`${name}: moved to ${to} in ${(totalMs / 1000).toFixed(1)} s: ${rounds} rounds${legs}`),
    `memory ${formatCount(ramPages)} pages, ${formatSize(ramBytes)}; tmem ${formatCount(tmemPages)} pages, ` +
      `${formatSize(tmemBytes)}, ${formatCount(invalidations)} invalidations${own}`,
    `${still}; migration ${id}`,
  ];
}

/** Reasons of a refusal, a line each. */
export function reasonLines(reasons: unknown): string[] {
  if (!Array.isArray(reasons)) return [];
  return (reasons as CheckAnswer['reasons']).map(({ code, text, needed, found }) => {
    const part = (what: string, value: unknown): string =>
      value === undefined || value === null ? '' : `; ${what} ${JSON.stringify(value)}`;
    return escapeText(`  ${code}: ${text}${part('needed', needed)}${part('found', found)}`);
  });
}

/** What a host answers to the question whether it would take a guest. */
export function checkGuestLines(name: string, to: string, { fits, reasons, accepted }: CheckAnswer): string[] {
  if (!fits || accepted === null) return [escapeText(`${name}: ${to} would not take it`), ...reasonLines(reasons)];
  const { memoryBytes, tmemBytes } = accepted.reserved;
  const held = `${formatSize(memoryBytes)} of memory${tmemBytes === 0 ? '' : ` and ${formatSize(tmemBytes)} of tmem`}`;
  return [escapeText(`${name}: ${to} would take it, and hold back ${held}`)];
}

const COLUMNS: readonly Column[] = [
  { title: 'id' },
  { title: 'guest' },
  { title: 'way', rank: 1 },
  { title: 'phase' },
  { title: 'owner' },
  { title: 'epoch', align: 'right', rank: 2 },
  { title: 'why', rank: 3 },
];

export function jobLines(jobs: readonly JobInfo[], layout: Layout): string[] {
  if (jobs.length === 0) return ['no migrations'];
  const rows = jobs.map((job) => [
    job.id,
    escapeText(job.name ?? job.machine ?? ''),
    job.side === 'source' ? escapeText(`to ${job.to ?? 'another host'}`) : 'to here',
    phaseOf(job),
    `${job.owner}${job.gone ? ', gone' : ''}`,
    String(job.epoch ?? ''),
    escapeText(job.failure?.message ?? ''),
  ]);
  return tableLines(COLUMNS, rows, layout);
}

function phaseOf({ phase, handover }: JobInfo): string {
  return phase === 'ended' || phase === 'asking' ? (handover ?? phase) : phase;
}

export function jobSentence(job: JobInfo): string {
  const failure = job.failure === null ? '' : ` (${job.failure.message})`;
  return escapeText(`${job.id}: ${job.name ?? 'a machine'}, ${phaseOf(job)}, owner ${job.owner}${failure}`);
}

export function storyLines(story: JobStory): string[] {
  const dropped = story.eventsDropped === 0 ? [] : [`${story.eventsDropped} lines in between were not kept`];
  return [
    jobSentence(story),
    ...story.events.map(({ atMs, what, text }) =>
      escapeText(`${atMs.toFixed(1).padStart(10)} ms  ${what.padEnd(10)}  ${text}`),
    ),
    ...dropped,
  ];
}

export function ownerLine({ id, owner, epoch, gone, asked }: OwnerAnswer): string {
  const who = owner === 'unknown' ? 'nobody knows yet who owns it' : `the ${owner} owns it, under epoch ${epoch}`;
  const isGone = gone ? ', and its guest is no more' : '';
  return `${id}: ${who}${isGone}${asked ? '' : ' (the other host was not reached)'}`;
}
