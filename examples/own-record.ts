/**
 * A record of one's own (spec/stream.md 12): a thermometer that must travel with its machine. Nobody has to register
 * it: a DICTIONARY record gives it a name and a layout, so that an `inspect` that never heard of it prints its fields.
 */
import {
  inspectImage,
  MemorySink,
  memorySource,
  StreamDecoder,
  StreamWriter,
  TransmigrateError,
} from '../src/index.ts';

const THERMOMETER = 'org.example.thermometer';
const RECORD = 0x4001;

/** An image with the state of a thermometer. A machine that can't live without it marks the record mandatory. */
export async function thermometerImage(mandatory: boolean): Promise<Uint8Array> {
  const sink = new MemorySink();
  const writer = await StreamWriter.open(
    sink,
    {
      kind: 'save',
      byteOrder: 'little',
      wordBits: 64,
      domainType: 'emulated',
      machine: 62,
      pageSize: 4096,
      streamId: new Uint8Array(16),
    },
    { name: 'greenhouse' },
  );
  await writer.dictionary({
    record: RECORD,
    name: THERMOMETER,
    version: 1,
    text: 'A thermometer and its last readings',
    schema: {
      fields: [
        { name: 'sensor', type: 'string' },
        { name: 'flags', type: 'u16', show: 'hex' },
        { name: 'readings', type: 'i32', count: 'rest', unit: 'mK' },
      ],
    },
  });
  await writer.local(RECORD, !mandatory, encode('roof', 0x8001, [293_150, 293_400, -1]));
  await writer.checkpoint();
  await writer.end();
  return sink.bytes();
}

function encode(sensor: string, flags: number, readings: number[]): Uint8Array {
  const name = new TextEncoder().encode(sensor);
  const body = new Uint8Array(4 + name.byteLength + 4 * readings.length);
  const view = new DataView(body.buffer);
  view.setUint16(0, name.byteLength, true);
  body.set(name, 2);
  view.setUint16(2 + name.byteLength, flags, true);
  for (const [i, reading] of readings.entries()) view.setInt32(4 + name.byteLength + 4 * i, reading, true);
  return body;
}

/** What somebody without the extension sees of the record: its fields, by its schema. */
export async function fieldsByStranger(image: Uint8Array): Promise<unknown> {
  const { records } = await inspectImage(memorySource(image), { records: true });
  return records!.find((record) => record.name === THERMOMETER)!.fields;
}

/** Loads an image as a program that knows the names in `knows`; returns the sensors' records, or the refusal. */
export function load(image: Uint8Array, knows: string[]): number | TransmigrateError {
  const decoder = new StreamDecoder({ knows: new Set(knows) });
  let found = 0;
  try {
    decoder.feed(image);
    for (let next = decoder.read(); next !== undefined; next = decoder.read()) {
      if (next.record.kind === 'LOCAL' && next.record.dictionary.name === THERMOMETER) found++;
    }
    decoder.finish();
    return found;
  } catch (error) {
    if (error instanceof TransmigrateError) return error;
    throw error;
  }
}

if (import.meta.main) {
  console.log('inspect, which never heard of it:', await fieldsByStranger(await thermometerImage(false)));
  console.log('a program that knows it finds', load(await thermometerImage(true), [THERMOMETER]), 'record');
  const refusal = load(await thermometerImage(true), []);
  console.log(
    'one that does not:',
    refusal instanceof TransmigrateError ? `${refusal.code}: ${refusal.message}` : refusal,
  );
}
