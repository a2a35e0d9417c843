/** The hash of the negotiation, which the destination confirms (H3): protocol 4.6. */
import { fromHex, toHex } from '../../bytes/hex.ts';
import { Sha256 } from '../../codec/platform.ts';
import { MESSAGES, type MessageKind } from '../protocol/messages.ts';

/** Before the first message. */
export const NO_AGREEMENT: string = '0'.repeat(64);

/** Messages that are part of it, of every connection of the migration in the order in which they were said. */
export const AGREED: ReadonlySet<MessageKind> = new Set(['HELLO', 'OFFER', 'ACCEPT', 'RESUME', 'HOLDS']);

/** Takes in one message. @param body as it was on the wire, so that what nobody understood counts too. */
export function agree(agreement: string, kind: MessageKind, body: Uint8Array): string {
  const number = new Uint8Array(2);
  new DataView(number.buffer).setUint16(0, MESSAGES[kind].number, true);
  const hash = new Sha256();
  hash.update(fromHex(agreement));
  hash.update(number);
  hash.update(body);
  return toHex(hash.digest());
}
