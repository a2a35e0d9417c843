/** Whose turn it is: memory, tmem and state of one's own share what may be sent (L1): protocol 5.2. */
/** `own`: all state of one's own (M3). */
export const SECTIONS = ['ram', 'tmem', 'own'] as const;
export type SectionName = (typeof SECTIONS)[number];

/** The least part of the bytes that a section gets while it has any (L1). */
const LEAST_PART = 1 / 4;

/** Bytes of each section. */
export type BySection = Readonly<Record<SectionName, number>>;

export interface Shares {
  /** Bytes that each has sent while another had some. */
  readonly sent: BySection;
}

export const NO_SHARES: Shares = { sent: { ram: 0, tmem: 0, own: 0 } };

/**
 * Who sends next, or undefined when none has anything. Beyond its quarter each gets a part as large as what it has
 * left, so that they come to their end together.
 * @param left bytes, about.
 */
export function turn({ sent }: Shares, left: BySection): SectionName | undefined {
  const waiting = SECTIONS.filter((section) => left[section] > 0);
  const parts = partsOf(waiting, left);
  const total = waiting.reduce((sum, section) => sum + sent[section], 0);
  let next: SectionName | undefined;
  let most = Number.NEGATIVE_INFINITY;
  for (const section of waiting) {
    const owed = parts[section] * total - sent[section];
    if (owed <= most) continue;
    next = section;
    most = owed;
  }
  return next;
}

/** Parts of 1. Those that would have less than the least part have that, and the others share the rest. */
function partsOf(waiting: readonly SectionName[], left: BySection): BySection {
  const parts = { ram: 0, tmem: 0, own: 0 };
  let rest = 1;
  for (let open = [...waiting]; open.length > 0;) {
    const bytes = open.reduce((sum, section) => sum + left[section], 0);
    for (const section of open) parts[section] = (rest * left[section]) / bytes;
    const small = open.filter((section) => parts[section] < LEAST_PART);
    // Of one that is alone, or when all have enough, nothing is to be shared anew.
    if (small.length === 0 || small.length === open.length) break;
    for (const section of small) parts[section] = LEAST_PART;
    rest -= small.length * LEAST_PART;
    open = open.filter((section) => !small.includes(section));
  }
  return parts;
}

/**
 * Counts what was sent. What one sends while the others have nothing is not held against it later.
 * @param shared whether another had something, too.
 */
export function count(shares: Shares, section: SectionName, bytes: number, shared: boolean): Shares {
  if (!shared) return NO_SHARES;
  return { sent: { ...shares.sent, [section]: shares.sent[section] + bytes } };
}
