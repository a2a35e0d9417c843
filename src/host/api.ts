/**
 * What the command and the daemon say to each other: HTTP/1.1 over a unix socket, JSON in and out, long work as lines
 * of JSON. It is for this package's own command and for `curl --unix-socket`; both ends are of one version.
 */
import { z } from 'zod';
import { ERRORS, TransmigrateError, type ErrorCode, type ErrorJson } from '../errors.ts';
import type { JobInfo } from './migration/jobs.ts';
import type { TmemDecision } from '../tmem/policy.ts';

/** Most bytes of a request's JSON. */
export const REQUEST_LIMIT = 1024 * 1024;

/** Header with an id that the caller chose, by which it can cancel what it asked for. */
export const WORK_HEADER = 'x-work';

/** What a connection becomes over which a machine comes. */
export const UPGRADE = 'transmigrate';

/** Names of guests: what a shell, a path and a URL take without quoting. */
export const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;

const name = z.string().regex(NAME, 'a name has letters, digits, and _ . - after the first; at most 63');
function numberFrom(least: number, most: number, unit: string): z.ZodInt {
  const message = `${least} to ${most} ${unit} are possible`;
  return z.int(message).min(least, message).max(most, message);
}

const path = z.string().min(1).max(4096);

/** Why machines of other hosts are refused, in words for who sends one; null: they may come. */
export const closedSchema = z.strictObject({ why: z.string().min(1).max(200).nullable() });

/** What a guest boots from. Paths are the daemon's, and absolute. */
export const bootSchema = z.discriminatedUnion('kind', [
  /** The small guest that comes with the package. */
  z.strictObject({
    kind: z.literal('small'),
    /** Pages that it dirties in a round, and timer ticks between rounds. */
    pages: numberFrom(1, 65_536, 'pages').optional(),
    ticks: numberFrom(0, 65_535, 'ticks').optional(),
  }),
  z.strictObject({ kind: z.literal('multiboot'), image: path }),
  z.strictObject({
    kind: z.literal('linux'),
    kernel: path,
    initrd: path.optional(),
    commandLine: z.string().max(2047).default(''),
  }),
]);

export const diskSchema = z.strictObject({
  /** Name that the guest sees. */
  name: z.enum(['hda', 'hdb']),
  policy: z.enum(['inside-device', 'digest', 'tmem', 'shared']),
  /** Of policies other than `tmem`. */
  path: path.optional(),
  /** Of policy `tmem`. */
  bytes: z.int().min(4096).optional(),
});

export const createSchema = z.strictObject({
  name: name.optional(),
  /** v86's version; the newest that the daemon has when absent. */
  driverVersion: z.string().max(64).optional(),
  memoryMiB: numberFrom(4, 2047, 'MiB of memory').default(16),
  boot: bootSchema,
  tmem: z.boolean().default(true),
  disks: z.array(diskSchema).max(2).default([]),
  paused: z.boolean().default(false),
});

export const saveSchema = z.strictObject({
  /** Where to; absent: the image is the answer's body. */
  path: path.optional(),
  /** What becomes of the guest. */
  after: z.enum(['run', 'pause', 'stop']).default('run'),
  codec: z.enum(['raw', 'zstd']).default('zstd'),
  /** In rounds, as a migration sends it, in the place of a copy of its memory. */
  live: z.boolean().default(false),
});

export const restoreSchema = z.strictObject({
  /** Where from; absent: the image is the request's body. */
  path: path.optional(),
  name: name.optional(),
  sameIdentity: z.boolean().default(false),
  /** The guest may write to the files outside that the image names as its disks. */
  sharedDisks: z.boolean().default(false),
  paused: z.boolean().default(false),
});

export type BootChoice = z.infer<typeof bootSchema>;
export type DiskChoice = z.infer<typeof diskSchema>;
export type CreateChoice = z.infer<typeof createSchema>;
export type SaveChoice = z.infer<typeof saveSchema>;
export type RestoreChoice = z.infer<typeof restoreSchema>;

/** Where a guest is in its life. */
export type GuestState = 'starting' | 'running' | 'paused' | 'crashed';

/** What `list` shows of a guest. */
export interface GuestInfo {
  readonly name: string;
  readonly uuid: string;
  readonly state: GuestState;
  /** Why it crashed. */
  readonly reason?: string;
  readonly driver: string;
  readonly driverVersion: string;
  readonly memoryBytes: number;
  readonly tmem: { readonly pools: number; readonly pages: number } | null;
  /** RFC 3339: when it was created or restored here. */
  readonly since: string;
  /** What is being done with it, e.g. `saving`. */
  readonly busy: string | null;
}

/** What `transmigrate host` says of itself. */
export interface HostInfo {
  readonly version: string;
  readonly pid: number;
  readonly guests: number;
  /** null when tmem is off. */
  readonly tmem: { readonly limitBytes: number; readonly usedBytes: number; readonly pages: number } | null;
  /** Why machines of other hosts are refused; null when they may come. */
  readonly closed: string | null;
}

/** A line of long work. */
export type WorkEvent =
  /** `job`: of a migration. */
  | { readonly event: 'progress'; readonly done: number; readonly total: number | null; readonly job?: JobInfo }
  | { readonly event: 'done'; readonly result: unknown }
  | { readonly event: 'failed'; readonly error: ErrorJson };

/** What a save answers at its end. */
export interface SaveResult {
  readonly name: string;
  readonly uuid: string;
  /** What the guest is now. */
  readonly state: GuestState | 'destroyed';
  readonly path: string | null;
  readonly bytes: number;
  readonly pages: number;
  readonly tmemPages: number;
  /** How long the guest stood still for the copy and its device state. */
  readonly pauseMs: number;
  readonly warnings: readonly string[];
}

/** What a restore answers at its end. */
export interface RestoreResult {
  readonly guest: GuestInfo;
  readonly pages: number;
  readonly tmemPages: number;
  /** What the host's policy made of what the image asks for (T6). */
  readonly tmemRequests: readonly TmemDecision[];
  readonly warnings: readonly string[];
}

/** Checks what came from the other side. @throws USAGE, with the place of what is wrong */
export function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const at = issue.path.join('.');
  throw new TransmigrateError('USAGE', at === '' ? issue.message : `${at}: ${issue.message}`, { path: at });
}

/** An error that the daemon sent, as it was thrown there. */
export function errorFromJson(json: ErrorJson): TransmigrateError {
  const code: ErrorCode = Object.hasOwn(ERRORS, json.code) ? json.code : 'INTERNAL';
  const error = new TransmigrateError(code, json.message, {
    ...(json.offset !== undefined && { offset: json.offset }),
    ...(json.path !== undefined && { path: json.path }),
    ...(json.section !== undefined && { section: json.section }),
    ...(json.record !== undefined && { record: json.record }),
    ...(json.guestAt !== undefined && { guestAt: json.guestAt }),
    ...(json.data !== undefined && { data: json.data }),
    ...(json.cause !== undefined && { cause: new Error(json.cause) }),
    next: json.next,
  });
  error.file = json.file;
  return error;
}
