/** A conversation with gdb over any two streams (debug 4.1). */
import { textPacket, PacketReader, type Incoming } from './packet.ts';
import type { GdbSession } from './session.ts';

const ACK = Uint8Array.of(0x2b);
const NAK = Uint8Array.of(0x2d);

/**
 * Answers until gdb ends the session, its bytes end, or nobody reads the answers.
 * @param send writes bytes; @returns whether somebody still reads them
 * @throws what `input` and `send` throw, and READ_FAILED of the image
 */
export async function serveGdb(
  session: GdbSession,
  input: AsyncIterable<Uint8Array>,
  send: (bytes: Uint8Array) => Promise<boolean>,
): Promise<void> {
  const reader = new PacketReader();
  let acks = true;
  /** What a `-` asks for again. */
  let last: readonly Uint8Array[] = [];
  const sendAll = async (packets: readonly Uint8Array[]): Promise<boolean> => {
    for (const bytes of packets) if (!(await send(bytes))) return false;
    return true;
  };
  /** @returns whether the conversation goes on. */
  const take = async (incoming: Incoming): Promise<boolean> => {
    // A machine that stands still can't be interrupted.
    if (incoming.kind === 'ack' || incoming.kind === 'interrupt') return true;
    if (incoming.kind === 'nak') return acks ? sendAll(last) : true;
    if (!incoming.sound) return acks ? send(NAK) : true;
    if (acks && !(await send(ACK))) return false;
    const { packets, noAcks, ends } = await session.answer(incoming.content);
    last = packets.map(textPacket);
    if (!(await sendAll(last))) return false;
    if (noAcks === true) acks = false;
    return ends !== true;
  };
  for await (const bytes of input) {
    for (const incoming of reader.feed(bytes)) if (!(await take(incoming))) return;
  }
}
