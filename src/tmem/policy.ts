/**
 * What a destination makes of a client's requests (T6, spec/tmem.md 7.5): weight, cap, allowance and authorisations in
 * a stream are granted, clamped or refused, each by a rule that the host states as data.
 */
import { fromUuid, toUuid } from '../bytes/hex.ts';
import { TransmigrateError } from '../errors.ts';
import { TMEM_LIMITS } from './constants.ts';
import type { ClientSettings } from './engine.ts';
import type { ClientImage } from './snapshot.ts';

/** A rule for a number. Of a cap and an allowance 0 is no limit, and so more than any number. */
export interface NumberRule {
  /** Least and most that is granted as it was asked for. */
  readonly least?: number;
  readonly most?: number;
  /** What becomes of the rest: the nearest number that may be, or what new clients of this host get. */
  readonly beyond: 'clamp' | 'refuse';
}

/** What a destination allows. What has no rule is granted. */
export interface TmemPolicy {
  readonly weight?: NumberRule;
  readonly cap?: NumberRule;
  readonly allowance?: NumberRule;
  /** Shared pools that a client may be authorised for: all, none, or those of these uuids. */
  readonly authorisations?: 'all' | 'none' | readonly string[];
}

/** What was made of one request. */
export interface TmemDecision {
  what: 'weight' | 'cap' | 'allowance' | 'authorisation';
  /** The number, or the uuid. */
  asked: number | string;
  /** What it gets: the number; of an authorisation whether it has it. */
  granted: number | boolean;
  verdict: 'granted' | 'clamped' | 'refused';
}

/** What an incoming client gets, and why. */
export interface TmemGrant {
  /** For the engine: what is absent is what new clients get. */
  settings: Partial<ClientSettings>;
  /** Uuids that it is authorised for. */
  authorised: string[];
  /** One for each request, in the order weight, cap, allowance, authorisations. */
  decisions: TmemDecision[];
}

const NUMBERS = ['weight', 'cap', 'allowance'] as const;
const LARGEST = 2 ** 32 - 1;
/** Uuids that a policy may name. */
const UUIDS_OF_POLICY = 4096;

/** Of a cap and an allowance, no limit is the largest of all. */
function rank(what: (typeof NUMBERS)[number], value: number): number {
  return value === 0 && what !== 'weight' ? Number.POSITIVE_INFINITY : value;
}

/**
 * Decides on what a stream asks for. Compression and freezing by an operator are granted always (T6).
 * @param standard what new clients of this host get: for what is refused.
 * @returns the grant, which is the caller's. Nothing is thrown whatever is asked for.
 */
export function decideTmem(
  asked: ClientImage,
  policy: TmemPolicy,
  standard: Pick<ClientSettings, (typeof NUMBERS)[number]>,
): TmemGrant {
  const settings: Partial<ClientSettings> = { compress: asked.compress, frozen: asked.frozen };
  const decisions: TmemDecision[] = [];
  for (const what of NUMBERS) {
    const { granted, verdict } = decideNumber(what, asked[what], policy[what], standard[what]);
    settings[what] = granted;
    decisions.push({ what, asked: asked[what], granted, verdict });
  }
  const authorised: string[] = [];
  const { authorisations = 'all' } = policy;
  for (const uuid of asked.authorised) {
    const name = toUuid(fromUuid(uuid));
    const allowed =
      typeof authorisations === 'string'
        ? authorisations === 'all'
        : authorisations.some((each) => toUuid(fromUuid(each)) === name);
    // A second time it is the same authorisation; a 17th can't be held.
    const granted = allowed && (authorised.includes(name) || authorised.length < TMEM_LIMITS.authorised);
    if (granted && !authorised.includes(name)) authorised.push(name);
    decisions.push({ what: 'authorisation', asked: name, granted, verdict: granted ? 'granted' : 'refused' });
  }
  return { settings, authorised, decisions };
}

function decideNumber(
  what: (typeof NUMBERS)[number],
  asked: number,
  rule: NumberRule | undefined,
  standard: number,
): { granted: number; verdict: TmemDecision['verdict'] } {
  if (!Number.isInteger(asked) || asked < 0) return { granted: standard, verdict: 'refused' };
  const { least = 0, most = Number.POSITIVE_INFINITY, beyond } = rule ?? { beyond: 'clamp' };
  const value = rank(what, asked);
  if (value >= least && value <= most && asked <= LARGEST) return { granted: asked, verdict: 'granted' };
  if (beyond === 'refuse') return { granted: standard, verdict: 'refused' };
  // A stream has room for greater numbers than the engine.
  return { granted: value < least ? least : Math.min(most, LARGEST), verdict: 'clamped' };
}

/**
 * Checks a policy that came from a file or a message.
 * @returns the same as a new object.
 * @throws USAGE that names the field, for anything that is not a policy.
 */
export function checkTmemPolicy(value: unknown): TmemPolicy {
  const fields = objectAt('policy', value, [...NUMBERS, 'authorisations']);
  const rules: { -readonly [K in keyof TmemPolicy]: TmemPolicy[K] } = {};
  for (const what of NUMBERS) if (fields[what] !== undefined) rules[what] = checkRule(what, fields[what]);
  const { authorisations } = fields;
  if (authorisations === undefined) return rules;
  if (authorisations === 'all' || authorisations === 'none') return { ...rules, authorisations };
  if (!Array.isArray(authorisations) || authorisations.length > UUIDS_OF_POLICY) {
    throw wrong('authorisations', `neither all nor none, nor a list of at most ${UUIDS_OF_POLICY} uuids`);
  }
  const uuids = authorisations.map((uuid: unknown, at) => {
    if (typeof uuid === 'string' && UUID.test(uuid)) return uuid.toLowerCase();
    throw wrong(`authorisations[${at}]`, 'no uuid');
  });
  return { ...rules, authorisations: uuids };
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

function checkRule(what: (typeof NUMBERS)[number], value: unknown): NumberRule {
  const { least, most, beyond } = objectAt(what, value, ['least', 'most', 'beyond']);
  const bound = (name: string, given: unknown): number | undefined => {
    if (given === undefined || (Number.isInteger(given) && (given as number) >= 0 && (given as number) <= LARGEST)) {
      return given as number | undefined;
    }
    throw wrong(`${what}.${name}`, `no number from 0 to ${LARGEST}`);
  };
  const [low, high] = [bound('least', least), bound('most', most)];
  // What is clamped to 0 would be without a limit.
  if (high === 0 && what !== 'weight') throw wrong(`${what}.most`, '0, which would be no limit');
  if (low !== undefined && high !== undefined && low > high) throw wrong(what, 'a rule whose least is above its most');
  if (beyond !== 'clamp' && beyond !== 'refuse') throw wrong(`${what}.beyond`, 'neither clamp nor refuse');
  return { ...(low !== undefined && { least: low }), ...(high !== undefined && { most: high }), beyond };
}

function objectAt(path: string, value: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw wrong(path, 'no object');
  const stranger = Object.keys(value).find((name) => !known.includes(name));
  if (stranger !== undefined) throw wrong(`${path}.${stranger}`, `unknown: there are ${known.join(', ')}`);
  return value as Record<string, unknown>;
}

function wrong(path: string, what: string): TransmigrateError {
  return new TransmigrateError('USAGE', `In a tmem policy, ${path} is ${what}.`, { path });
}
