/**
 * Mutants that change nothing that a test could see, each with its reason. They are tried all the same: one that is
 * killed, and one that is no longer there, is named at the end of a whole run, so that the table stays true.
 */
export interface Equivalent {
  readonly file: string;
  /** As `changeOf` says it. */
  readonly change: string;
  readonly why: string;
}

export const EQUIVALENTS: readonly Equivalent[] = [];
