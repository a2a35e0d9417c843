/** What operators ask of a host's tmem, and what it answers (spec/tmem.md 9). */
import { z } from 'zod';
import type { ClientStatistics, TmemStatistics } from '../tmem/statistics.ts';

const count = z
  .int()
  .min(0)
  .max(2 ** 32 - 1);

/** Settings of one guest's tmem, or of every guest's. What is absent stays as it is. */
export const tmemSetSchema = z.strictObject({
  /** Absent: all guests that have tmem. */
  guest: z.string().min(1).max(63).optional(),
  weight: count.optional(),
  cap: count.optional(),
  allowance: count.optional(),
  compress: z.boolean().optional(),
  sharing: z.boolean().optional(),
  frozen: z.boolean().optional(),
});

export const tmemAuthoriseSchema = z.strictObject({
  guest: z.string().min(1).max(63),
  uuid: z.guid(),
  authorised: z.boolean(),
});

export const tmemFlushSchema = z.strictObject({ bytes: z.int().min(1) });

export type TmemSetChoice = z.infer<typeof tmemSetSchema>;
export type TmemAuthoriseChoice = z.infer<typeof tmemAuthoriseSchema>;

/** Everything about a host's tmem; clients with the name of their guest. */
export interface HostTmemStatistics extends Omit<TmemStatistics, 'clients'> {
  readonly clients: readonly (ClientStatistics & { readonly guest: string | null })[];
}
