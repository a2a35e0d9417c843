import type { GuestInfo, RestoreResult, SaveResult } from '../../host/api.ts';
import { escapeText } from '../escape.ts';
import { formatBytes, formatCount, formatSize } from './format.ts';
import type { Layout } from './style.ts';
import { tableLines, type Column } from './table.ts';

const COLUMNS: readonly Column[] = [
  { title: 'name' },
  { title: 'state' },
  { title: 'memory', align: 'right', rank: 2 },
  { title: 'tmem', align: 'right', rank: 1 },
  { title: 'driver', rank: 4 },
  { title: 'since', rank: 3 },
  { title: 'uuid', rank: 5 },
  { title: 'why', rank: 6 },
];

/** The guests of a host as a table. */
export function guestLines(guests: readonly GuestInfo[], layout: Layout): string[] {
  if (guests.length === 0) return ['no guests'];
  const rows = guests.map((guest) => [
    guest.name,
    `${guest.state}${guest.busy === null ? '' : `, ${guest.busy}`}`,
    formatBytes(guest.memoryBytes),
    guest.tmem === null ? '' : `${formatCount(guest.tmem.pages)} pages`,
    escapeText(`${guest.driver} ${guest.driverVersion}`),
    guest.since,
    guest.uuid,
    escapeText(guest.reason ?? ''),
  ]);
  return tableLines(COLUMNS, rows, layout);
}

/** One guest in a line: `demo: running, 16 MiB, v86 0.5.462`. */
export function guestSentence(guest: GuestInfo): string {
  const { name, driver, driverVersion, memoryBytes } = guest;
  return escapeText(`${name}: ${stateOf(guest)}, ${formatBytes(memoryBytes)}, ${driver} ${driverVersion}`);
}

function stateOf({ state, busy, reason }: GuestInfo): string {
  const why = reason === undefined ? '' : ` (${escapeText(reason)})`;
  return `${state}${why}${busy === null ? '' : `, ${busy}`}`;
}

/** What a save did, and what the guest is now. */
export function saveLines(result: SaveResult): string[] {
  const { name, state, path, bytes, pages, tmemPages, pauseMs } = result;
  const where = path === null ? 'standard output' : path;
  const what = `${formatCount(pages)} pages${tmemPages === 0 ? '' : `, ${formatCount(tmemPages)} pages of tmem`}`;
  return [
    escapeText(`${name}: saved to ${where}: ${formatSize(bytes)}, ${what}`),
    escapeText(`${name} stood still for ${pauseMs.toFixed(0)} ms, and is now ${state}`),
    ...result.warnings.map((warning) => escapeText(`warning: ${warning}`)),
  ];
}

/** What a restore made. */
export function restoreLines({ guest, pages, tmemPages, tmemRequests, warnings }: RestoreResult): string[] {
  const what = `${formatCount(pages)} pages${tmemPages === 0 ? '' : `, ${formatCount(tmemPages)} pages of tmem`}`;
  return [
    `${guestSentence(guest)}, restored with ${what}`,
    escapeText(`uuid ${guest.uuid}`),
    ...tmemRequests.filter(({ verdict }) => verdict !== 'granted').map((each) => escapeText(requestSentence(each))),
    ...warnings.map((warning) => escapeText(`warning: ${warning}`)),
  ];
}

function requestSentence({ what, asked, granted, verdict }: RestoreResult['tmemRequests'][number]): string {
  if (what === 'authorisation') return `tmem: this host does not authorise it for the shared pool ${asked}`;
  const none = (value: number | string | boolean): string =>
    value === 0 && what !== 'weight' ? 'none' : String(value);
  return `tmem: ${what} ${none(asked)} was asked for and ${verdict}: it has ${none(granted)}`;
}
