import type { Dictionary } from '../../stream/records/dictionary.ts';
import { MESSAGES, type MessageKind } from './messages.ts';

/** What the names of messages begin with in a DICTIONARY (protocol 3.1). */
export const MESSAGE_PREFIX = 'org.transmigrate.protocol.';

/** The name under which a stream knows a message. */
export function messageName(kind: MessageKind): string {
  return MESSAGE_PREFIX + kind.toLowerCase();
}

/** The message of a name, or undefined. */
export function kindOfName(name: string): MessageKind | undefined {
  return KINDS.find((kind) => messageName(kind) === name);
}

const KINDS = Object.keys(MESSAGES) as MessageKind[];

/** The DICTIONARY records that a stream with messages begins with: `inspect` shows them by these (S4). */
export const MESSAGE_DICTIONARY: readonly Omit<Dictionary, 'kind'>[] = KINDS.map((kind) => ({
  record: MESSAGES[kind].number,
  name: messageName(kind),
  version: 1,
  text: `A message of a migration: ${kind}.`,
  schema: { fields: [{ name: 'json', type: 'string' }] },
}));

/** Names of all messages, for a decoder that is to hand them out. */
export const MESSAGE_NAMES: ReadonlySet<string> = new Set(KINDS.map(messageName));
