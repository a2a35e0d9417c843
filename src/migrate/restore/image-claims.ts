import type { Json, JsonObject } from '../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../errors.ts';
import type { Preamble } from '../../stream/preamble.ts';

/** What an image says of the machine that it holds, as far as a machine must be made by it. */
export interface ImageClaims {
  readonly name: string | null;
  readonly uuid: string | null;
  readonly driver: string;
  readonly driverVersion: string;
  readonly memoryBytes: number;
  /** Bytes of a page in the image. */
  readonly pageBytes: number;
  /** Byte order, and ELF e_machine. */
  readonly byteOrder: 'little' | 'big';
  readonly architecture: number;
  readonly tmem: boolean;
  /** The driver's own configuration, as it was given to it; not checked here. */
  readonly configuration: JsonObject;
}

/** Most memory of a machine that is believed before a machine with so much was made. */
const MOST_MEMORY = 4 * 2 ** 30;

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Reads from preamble and ABOUT how the machine is to be made. They are claims: what decides is whether the records fit
 * the machine (device fingerprint, memory, disks).
 * @throws IMAGE_UNFIT when this is no image of a machine that can run here.
 */
export function readClaims(preamble: Preamble, about: JsonObject): ImageClaims {
  if (preamble.kind !== 'save' && preamble.kind !== 'migration') {
    throw unfit(`An image of kind ${preamble.kind} holds no machine that can go on`);
  }
  if (preamble.domainType !== 'emulated' && preamble.domainType !== 'emulated-tmem') {
    throw unfit(`No driver here runs a domain of type ${preamble.domainType}`);
  }
  const driver = objectOf(about['driver']);
  const memory = objectOf(about['memory']);
  const name = driver['name'];
  const version = driver['version'];
  const bytes = memory['bytes'];
  if (typeof name !== 'string' || typeof version !== 'string')
    throw unfit('The image does not say which driver ran it');
  if (typeof bytes !== 'number' || !Number.isInteger(bytes) || bytes <= 0 || bytes % preamble.pageSize !== 0) {
    throw unfit('The image does not say how much memory the machine has');
  }
  if (bytes > MOST_MEMORY) throw unfit(`The image says that the machine has ${bytes} bytes of memory`);
  const machineName = about['name'];
  const uuid = about['uuid'];
  return {
    name: typeof machineName === 'string' ? machineName : null,
    uuid: typeof uuid === 'string' && UUID.test(uuid) ? uuid.toLowerCase() : null,
    driver: name,
    driverVersion: version,
    memoryBytes: bytes,
    pageBytes: preamble.pageSize,
    byteOrder: preamble.byteOrder,
    architecture: preamble.machine,
    tmem: preamble.domainType === 'emulated-tmem',
    configuration: objectOf(about['configuration']),
  };
}

function objectOf(value: Json | undefined): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

function unfit(what: string): TransmigrateError {
  return new TransmigrateError('IMAGE_UNFIT', what, { path: 'record 0 (ABOUT)', section: '6.1' });
}
