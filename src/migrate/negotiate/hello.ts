/** What two hosts have in common: protocol 4.2 (N1, N3). */
import type { MessageOf } from '../protocol/messages.ts';
import { reason, type Reason } from './reasons.ts';

export type Hello = MessageOf<'HELLO'>;

/** What holds between two hosts. */
export interface Common {
  /** The version of the protocol: the highest that both speak. */
  readonly protocol: number;
  readonly features: readonly string[];
  readonly codecs: readonly string[];
  readonly records: readonly string[];
  readonly limits: Hello['limits'];
  readonly resumable: boolean;
}

/** The part of HELLO that is read of every version, before anything else of it (protocol 3.2). */
export type HelloHead = Pick<Hello, 'protocol' | 'host'>;

/** The version that both speak, or the reason why there is none. */
export function commonVersion(mine: HelloHead, theirs: HelloHead): number | Reason {
  const version = Math.min(mine.protocol.most, theirs.protocol.most);
  if (version >= mine.protocol.least && version >= theirs.protocol.least) return version;
  return reason('PROTOCOL', { ...theirs.protocol }, { ...mine.protocol });
}

/** What both can: of limits the smaller holds. */
export function commonOf(mine: Hello, theirs: Hello, protocol: number): Common {
  const both = (one: readonly string[], other: readonly string[]): string[] => one.filter((x) => other.includes(x));
  return {
    protocol,
    features: both(mine.features, theirs.features),
    codecs: both(mine.codecs, theirs.codecs),
    records: both(mine.records, theirs.records),
    limits: {
      channels: Math.min(mine.limits.channels, theirs.limits.channels),
      sealBytes: Math.min(mine.limits.sealBytes, theirs.limits.sealBytes),
      unacknowledgedSeals: Math.min(mine.limits.unacknowledgedSeals, theirs.limits.unacknowledgedSeals),
    },
    resumable: mine.resumable && theirs.resumable,
  };
}
