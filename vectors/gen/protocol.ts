// Whole conversations of a migration (spec/protocol.md): what each side says, as two streams.
import { cat, hex, sha256, u16, utf8, zeros } from './lib/bytes.ts';
import type { JsonObject } from './lib/bytes.ts';
import { Channel } from './lib/channel.ts';
import { ack, dictionary, own } from './lib/own.ts';
import { ram } from './lib/ram.ts';
import { brokenOf, soundOf } from './lib/vector.ts';
import type { Conversation, Vector } from './lib/vector.ts';

/** Protocol 3.1. */
const numbers: Record<string, number> = {
  HELLO: 0x7f00,
  OFFER: 0x7f01,
  ACCEPT: 0x7f02,
  REFUSE: 0x7f03,
  RESUME: 0x7f04,
  HOLDS: 0x7f05,
  FINAL: 0x7f06,
  FAILED: 0x7f07,
  CONFIRM: 0x7f10,
  GIVEN: 0x7f11,
  KEPT: 0x7f12,
  DONE: 0x7f13,
  RUNNING: 0x7f14,
  TAKEN: 0x7f15,
  ABANDONED: 0x7f16,
  YIELDED: 0x7f17,
  OWNER: 0x7f20,
  OWNERSHIP: 0x7f21,
};

const agreed = new Set(['HELLO', 'OFFER', 'ACCEPT', 'RESUME', 'HOLDS']);
const id = '0123456789abcdef0123456789abcdef';
const epoch = 7;
const secret = '5'.repeat(64);
const hosts = {
  source: { identity: 'a'.repeat(32), name: 'alpha', version: '1.0' },
  destination: { identity: 'b'.repeat(32), name: 'beta', version: '1.0' },
};

const hello = (side: 'source' | 'destination', purpose: string, leg: number): JsonObject => ({
  protocol: { least: 1, most: 1 },
  host: hosts[side],
  purpose,
  id,
  leg,
  features: [],
  codecs: ['raw', 'zstd'],
  records: [],
  limits: { channels: 1, sealBytes: 1048576, unacknowledgedSeals: 4 },
  resumable: true,
});

const offer: JsonObject = {
  epoch,
  machine: { uuid: '00000000-0000-4000-8000-000000000001', name: 'vector' },
  paused: false,
  driver: { name: 'v86', version: '0.5.462', fingerprint: 'f'.repeat(64), format: 'v86' },
  memory: { bytes: 32768, pageBytes: 4096, carriedBytes: 0 },
  vcpus: 1,
  deviceBytes: 0,
  tmem: null,
  disks: [],
  codec: 'raw',
  records: [],
  configuration: {},
};

const accept: JsonObject = {
  epoch,
  codec: 'raw',
  features: [],
  channels: 1,
  secret,
  reserved: { memoryBytes: 32768, tmemBytes: 0, tmemSlots: 0, name: 'vector' },
  measured: { deviceLoadMs: null, fsyncMs: 2.5 },
  notes: [],
};

/** Makes a body wrong; what a reader that knows its schema shows of it. */
type Spoil = (right: Buffer) => { body: Buffer; shown: JsonObject };

/** One connection: two channels, and what was said over them in order. */
class Leg {
  readonly name: string;
  readonly source: Channel;
  readonly destination: Channel;
  readonly order: string[] = [];
  agreement = zeros(32);

  constructor(name: string) {
    this.name = name;
    const fields = { kind: 2, domainType: 5, wordBits: 32, machine: 3 };
    this.source = new Channel(name, fields);
    this.destination = new Channel(name, { ...fields, direction: 1 });
    for (const channel of [this.source, this.destination]) {
      channel.add(channel.about());
      // Each stream binds the numbers that it uses; here all of them, as a host does.
      for (const [message, record] of Object.entries(numbers)) {
        const schema = { fields: [{ name: 'json', type: 'string' }] };
        channel.add(dictionary({ record, name: nameOf(message), version: 1, schema }));
      }
    }
  }

  says(side: 'source' | 'destination', message: string, fields: JsonObject, spoil?: Spoil): this {
    const json = utf8(JSON.stringify(fields));
    const right = cat(u16(json.length), json);
    const { body, shown } = spoil?.(right) ?? { body: right, shown: { json: json.toString('utf8') } };
    this[side].add(own(numbers[message], nameOf(message), body, shown));
    this.order.push(`${side === 'source' ? '>' : '<'} ${message}`);
    if (agreed.has(message)) this.agreement = sha256(this.agreement, u16(numbers[message]), body);
    return this;
  }

  /** A SEAL of the source, and its ACK. */
  seal(acknowledged = true): this {
    this.source.seal();
    if (acknowledged) this.destination.add(ack(0, this.source.sealNumber, this.source.chain));
    return this;
  }

  greet(purpose = 'migrate', leg = 1): this {
    return this.says('source', 'HELLO', hello('source', purpose, leg)).says(
      'destination',
      'HELLO',
      hello('destination', purpose, leg),
    );
  }

  page(first: number, pages: number): this {
    const zero = Array.from({ length: pages }, (_, page) => page);
    this.source.add(ram([{ first, pages }], zero, []));
    return this;
  }

  /** CHECKPOINT, FINAL, CONFIRM, and the handover. */
  finish(): this {
    this.source.round().seal();
    this.source.addCheckpoint();
    this.seal();
    const chain = hex(this.source.chain);
    const agreement = hex(this.agreement);
    this.says('source', 'FINAL', { epoch, channels: [{ seal: this.source.sealNumber, chain }] });
    this.says('destination', 'CONFIRM', { id, epoch, chains: [chain], agreement });
    return this.says('source', 'GIVEN', { id, epoch })
      .says('destination', 'RUNNING', { id, epoch, gone: false })
      .says('source', 'DONE', { id, epoch });
  }

  end(): this {
    this.source.end();
    this.destination.end();
    return this;
  }

  vectors(requirements: string, section: string, title: string, more: Partial<Conversation> = {}): Vector[] {
    return (['source', 'destination'] as const).map((side) => {
      const meta = { name: `${this.name}-${side}`, requirements, section: `protocol ${section}`, title };
      const channel = this[side];
      const vector = channel.failure === null ? soundOf(meta, [channel]) : brokenOf(meta, [channel]);
      if (side === 'destination') return vector;
      const conversation: Conversation = {
        peer: `${this.name}-destination`,
        order: this.order,
        agreement: hex(this.agreement),
        ...more,
      };
      return { ...vector, conversation };
    });
  }

  /** The connection is lost: both streams end where they are. */
  cut(): this {
    for (const channel of [this.source, this.destination]) channel.fail('TRUNCATED', channel.position);
    return this;
  }
}

const nameOf = (message: string): string => `org.transmigrate.protocol.${message.toLowerCase()}`;

function moved(): Vector[] {
  return new Leg('protocol-moved')
    .greet()
    .says('source', 'OFFER', offer)
    .says('destination', 'ACCEPT', accept)
    .page(0, 8)
    .seal()
    .finish()
    .end()
    .vectors('H1 H2 H3', '3.3', 'A machine moves, from HELLO to DONE.');
}

function paused(): Vector[] {
  return new Leg('protocol-paused')
    .greet()
    .says('source', 'OFFER', { ...offer, paused: true })
    .says('destination', 'ACCEPT', accept)
    .page(0, 8)
    .seal()
    .finish()
    .end()
    .vectors('H1', '4.3', 'A machine that stands still is offered as paused.');
}

function refused(): Vector[] {
  const reasons = ['MEMORY', 'NAME', 'CODEC'].map((code) => ({ code, text: 'a reason', needed: 2, found: 1 }));
  const leg = new Leg('protocol-refused')
    .greet()
    .says('source', 'OFFER', offer)
    .says('destination', 'REFUSE', { reasons });
  // Nothing of the machine has moved, so the source's stream has no checkpoint and does not end.
  leg.source.fail('TRUNCATED', leg.source.position);
  leg.destination.end();
  return leg.vectors('N1', '4.5', 'An offer is refused with every reason.');
}

function newer(): Vector[] {
  const leg = new Leg('protocol-newer');
  leg.says('source', 'HELLO', { protocol: { least: 2, most: 3 }, host: hosts.source, wants: 'something else' });
  const found = { least: 1, most: 1 };
  leg.says('destination', 'REFUSE', {
    reasons: [{ code: 'PROTOCOL', text: 'no version in common', needed: { least: 2, most: 3 }, found }],
  });
  leg.source.fail('TRUNCATED', leg.source.position);
  leg.destination.end();
  return leg.vectors('N3', '4.2', 'A source that speaks only later versions: the head of its HELLO is read.', {
    readable: { '> HELLO': 'FIELD_VALUE' },
  });
}

function resumed(): Vector[] {
  const one = new Leg('protocol-cut-1').greet().says('source', 'OFFER', offer).says('destination', 'ACCEPT', accept);
  one.page(0, 4).seal();
  const held = { leg: 1, channels: [{ seal: 1, chain: hex(one.source.chain) }], agreement: hex(one.agreement) };
  one.page(4, 2).cut();
  const two = new Leg('protocol-cut-2').greet('resume', 2);
  two.says('source', 'RESUME', { epoch, secret }).says('destination', 'HOLDS', { epoch, ...held });
  two.page(4, 4).seal().finish().end();
  const title = 'A connection is cut after its first seal';
  return [
    ...one.vectors('T4', '6.5', `${title}: what came before.`),
    ...two.vectors('T4 H3', '6.5', `${title}: it goes on over another, from there.`),
  ];
}

function abandoned(): Vector[] {
  const leg = new Leg('protocol-abandoned').greet('ask', 2);
  leg.says('source', 'GIVEN', { id, epoch }).says('destination', 'ABANDONED', { id, epoch });
  leg.says('source', 'TAKEN', { id, epoch: epoch + 1, gone: false });
  leg.source.fail('TRUNCATED', leg.source.position);
  leg.destination.end();
  return leg.vectors('H2', '7.3', 'A source asks about what it gave, and takes it back.');
}

/** Messages that are wrong inside, in streams that are right. */
function wrong(): Vector[] {
  const spoilt = (name: string, code: string, title: string, spoil: Spoil): Vector[] => {
    const leg = new Leg(`protocol-${name}`).greet();
    leg.says('source', 'GIVEN', { id, epoch }, spoil);
    leg.source.fail('TRUNCATED', leg.source.position);
    leg.destination.end();
    return leg.vectors('S4', '3.1', title, { readable: { '> GIVEN': code } });
  };
  return [
    ...spoilt('length', 'LENGTH_MISMATCH', 'A message whose string is shorter than its body.', (right) => ({
      body: cat(u16(right.length - 3), right.subarray(2)),
      shown: { json: right.subarray(2, -1).toString('utf8'), extraBytes: 1 },
    })),
    ...spoilt('empty', 'LENGTH_MISMATCH', 'A message without a body.', () => ({ body: zeros(0), shown: {} })),
    ...spoilt('json', 'JSON_INVALID', 'A message that is no JSON.', (right) => {
      const body = cat(right.subarray(0, -1), utf8(']'));
      return { body, shown: { json: body.subarray(2).toString('utf8') } };
    }),
  ];
}

export const protocolVectors = (): Vector[] => [
  ...moved(),
  ...paused(),
  ...refused(),
  ...newer(),
  ...resumed(),
  ...abandoned(),
  ...wrong(),
];
