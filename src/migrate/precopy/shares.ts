/** Whose turn it is: memory and tmem share what may be sent (L1): protocol 5.2. */
export const SECTIONS = ['ram', 'tmem'] as const;
export type SectionName = (typeof SECTIONS)[number];

/** The least part of the bytes that a section gets while it has any (L1). */
const LEAST_PART = 1 / 4;

export interface Shares {
  /** Bytes that each has sent while both had some. */
  readonly sent: Readonly<Record<SectionName, number>>;
}

export const NO_SHARES: Shares = { sent: { ram: 0, tmem: 0 } };

/**
 * Who sends next, or undefined when neither has anything. Beyond its quarter each gets a part as large as what it has
 * left, so that both come to their end together.
 * @param left bytes, about.
 */
export function turn({ sent }: Shares, left: Readonly<Record<SectionName, number>>): SectionName | undefined {
  if (left.ram <= 0) return left.tmem <= 0 ? undefined : 'tmem';
  if (left.tmem <= 0) return 'ram';
  const wanted = left.ram / (left.ram + left.tmem);
  const part = Math.min(Math.max(wanted, LEAST_PART), 1 - LEAST_PART);
  const total = sent.ram + sent.tmem;
  return sent.ram <= part * total ? 'ram' : 'tmem';
}

/** Counts what was sent. What one sends while the other has nothing is not held against it later. */
export function count(shares: Shares, section: SectionName, bytes: number, both: boolean): Shares {
  if (!both) return NO_SHARES;
  return { sent: { ...shares.sent, [section]: shares.sent[section] + bytes } };
}
