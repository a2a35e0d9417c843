/** A source that has one page to offer, waits for the answer, and then says nothing more. */
import { createHash } from 'node:crypto';
import { toHex } from '../../../src/bytes/hex.ts';
import type { Connection } from '../../../src/io/connection.ts';
import { connectTcp } from '../../../src/io/tcp.ts';
import { listen, Speaker } from '../../../src/migrate/runner/conversation.ts';
import type { Message } from '../../../src/migrate/protocol/messages.ts';
import { helloOf, OFFER } from '../migration.ts';
import { random } from '../random.ts';
import { FAKE_PAGE } from './fake-machine.ts';

/** Of a fake machine with one page. */
const FINGERPRINT = createHash('sha256').update('1.0 1').digest('hex');

/** @param seed of its identity, its migration and its machine. @returns what it was answered, and its connection */
export async function waitingSource(
  port: number,
  seed: string,
): Promise<{ readonly answer: Message['kind']; readonly connection: Connection }> {
  const bytes = (what: string): Uint8Array => random(`${what} ${seed}`).scramble(new Uint8Array(16));
  const hex = (what: string): string => toHex(bytes(what));
  const connection = await connectTcp({ host: '127.0.0.1', port });
  const speaker = await Speaker.open(
    connection,
    {
      kind: 'migration',
      byteOrder: 'little',
      wordBits: 32,
      domainType: 'emulated',
      machine: 3,
      pageSize: FAKE_PAGE,
      streamId: bytes('stream'),
    },
    { tool: { name: 'waiting', version: '0' } },
  );
  await speaker.say({ kind: 'HELLO', id: hex('id'), purpose: 'migrate', leg: 1, ...helloOf(hex('identity')) });
  const uuid = hex('machine').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  // Who leaves such a loop ends the connection.
  const said = listen(connection.pieces());
  for (let step = await said.next(); step.done !== true; step = await said.next()) {
    const heard = step.value;
    if (heard.kind === 'message') return { answer: heard.message.kind, connection };
    if (heard.kind !== 'hello') continue;
    await speaker.say({
      ...OFFER,
      machine: { uuid, name: `waiting-${seed}` },
      driver: { ...OFFER.driver, name: 'fake', version: '1.0', fingerprint: FINGERPRINT },
      memory: { bytes: FAKE_PAGE, pageBytes: FAKE_PAGE, carriedBytes: 0 },
      deviceBytes: 8,
      tmem: null,
      codec: 'raw',
      disks: [],
      records: [],
    });
  }
  throw new Error('it was not answered');
}
