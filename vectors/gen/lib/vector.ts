// What a vector is, and short ways to make one.
import { Channel } from './channel.ts';
import type { PreambleFields } from './channel.ts';
import type { Json, JsonObject } from './bytes.ts';
import { Machine } from './machine.ts';

/** Of a conversation, beside the source's stream (protocol). */
export type Conversation = {
  /** The vector with what the other side said. */
  peer: string;
  /** What was said, in order: `>` by the source. */
  order: string[];
  /** The hash of the negotiation, at the end. */
  agreement: string;
  /** Messages that a reader can't read, with the code. */
  readable?: Record<string, string>;
};

export type Vector = {
  name: string;
  title: string;
  requirements: string[];
  section: string;
  container: boolean;
  files: Buffer[];
  expect: JsonObject;
  conversation?: Conversation;
};

export type Meta = { name: string; requirements: string; section: string; title: string };
export type Options = Partial<PreambleFields> & {
  about?: Parameters<Channel['about']>[0];
  /** No ABOUT is put before and no CHECKPOINT and END behind what `build` adds. */
  bare?: boolean;
  container?: boolean;
  warnings?: string[];
};

const front = (meta: Meta, container: boolean, files: Buffer[]): Omit<Vector, 'expect'> => ({
  name: meta.name,
  title: meta.title,
  requirements: meta.requirements.split(' '),
  section: meta.section,
  container,
  files,
});

function built(meta: Meta, options: Options, build: (channel: Channel) => void): Channel {
  const { about, bare, container: _container, warnings: _warnings, ...fields } = options;
  const channel = new Channel(meta.name, fields);
  if (!bare) channel.add(channel.about(about));
  build(channel);
  if (!bare && !channel.ended) channel.finish();
  return channel;
}

export function soundOf(meta: Meta, channels: Channel[], options: Options = {}): Vector {
  if (channels.some((channel) => channel.failure !== null)) throw new Error(`${meta.name}: something is wrong`);
  const warnings = options.warnings ?? [];
  const machine = channels[0].machine;
  const expect = {
    verdict: warnings.length > 0 ? 'findings' : 'sound',
    preambles: channels.map((channel) => channel.preambleJson()),
    records: channels.map((channel) => channel.released()),
    warnings,
    memory: machine.memoryDigest(),
    tmem: machine.tmemDigest(),
  };
  return {
    ...front(
      meta,
      options.container ?? false,
      channels.map((channel) => channel.bytes()),
    ),
    expect,
  };
}

export function brokenOf(meta: Meta, channels: Channel[], options: Options = {}): Vector {
  const file = channels.findIndex((channel) => channel.failure !== null);
  const failing = channels[file];
  if (failing?.failure === undefined || failing.failure === null) throw new Error(`${meta.name}: nothing is wrong`);
  const error: JsonObject = { ...failing.failure };
  if (channels.length > 1) error['file'] = file;
  if (failing.mentions.length > 0) error['mentions'] = failing.mentions;
  const expect = { verdict: 'broken', error, records: channels.map((channel) => channel.released()) };
  return {
    ...front(
      meta,
      options.container ?? false,
      channels.map((channel) => channel.bytes()),
    ),
    expect,
  };
}

/** A stream of one channel that is whole (or has nothing worse than findings). */
export function good(
  name: string,
  requirements: string,
  section: string,
  title: string,
  options: Options,
  build: (channel: Channel) => void,
): Vector {
  const meta = { name, requirements, section, title };
  return soundOf(meta, [built(meta, options, build)], options);
}

/** A stream of one channel in which `build` calls `bad`, `fail` or `refuse` once. */
export function bad(
  name: string,
  requirements: string,
  section: string,
  title: string,
  options: Options,
  build: (channel: Channel) => void,
): Vector {
  const meta = { name, requirements, section, title };
  return brokenOf(meta, [built(meta, options, build)], options);
}

export type Damage = {
  bytes: Buffer;
  code: string;
  offset: number;
  sequence: number | null;
  /** How many records are released before. */
  released: number;
};

/** A good stream whose bytes are damaged afterwards. */
export function damaged(
  name: string,
  requirements: string,
  section: string,
  title: string,
  options: Options,
  build: (channel: Channel) => void,
  damage: (channel: Channel) => Damage,
): Vector {
  const meta = { name, requirements, section, title };
  const channel = built(meta, options, build);
  const { bytes, code, offset, sequence, released } = damage(channel);
  const records: Json = [channel.released().slice(0, released)];
  const expect = { verdict: 'broken', error: { code, offset, sequence }, records };
  return { ...front(meta, options.container ?? false, [bytes]), expect };
}

/** The channels of one stream over one machine, each with its ABOUT. */
export function channelSet(name: string, count: number, fields: Partial<PreambleFields> = {}): Channel[] {
  const machine = new Machine();
  const channels = Array.from(
    { length: count },
    (_, channel) => new Channel(name, { kind: 2, ...fields, channels: count, channel }, machine),
  );
  for (const channel of channels) {
    channel.peers = channels;
    channel.add(channel.about({ name: 'vector', channel: channel.fields.channel }));
  }
  return channels;
}

/** All channels seal, and then write the same BARRIER. */
export function meet(channels: Channel[]): void {
  for (const channel of channels) channel.seal();
  for (const channel of channels) channel.addBarrier();
}

/** CHECKPOINT and END, each after a meeting. */
export function finishSet(channels: Channel[]): void {
  meet(channels);
  for (const channel of channels) channel.addCheckpoint();
  meet(channels);
  for (const channel of channels) channel.addEnd();
}
