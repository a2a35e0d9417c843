/** What the tests of the command line hand in for the world around it. */
import { PassThrough, Writable } from 'node:stream';
import type { Context } from '../../../src/cli/context.ts';
import { library, type Library } from '../../../src/cli/library.ts';
import { Output } from '../../../src/cli/output.ts';
import type { Inspection } from '../../../src/image/inspection.ts';
import type { Verification } from '../../../src/image/verify.ts';
import type { ByteSource } from '../../../src/io/source.ts';

/** A stream that keeps what is written to it, and may be a terminal. */
export class Kept extends Writable {
  text = '';
  readonly isTTY: boolean;
  readonly columns: number;
  /** The error that every write ends with. */
  readonly failure: Error | undefined;

  constructor(options: { isTTY?: boolean; columns?: number; failure?: Error } = {}) {
    super({ decodeStrings: false });
    this.isTTY = options.isTTY ?? false;
    this.columns = options.columns ?? 80;
    this.failure = options.failure;
  }

  override _write(chunk: string, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.failure === undefined) this.text += chunk;
    done(this.failure);
  }
}

/** A source without bytes, which tells whether it was closed. */
export class FakeSource implements ByteSource {
  readonly name: string;
  readonly size = 0;
  readonly container = false;
  readonly random: ByteSource['random'];
  closed = false;

  constructor(name: string) {
    this.name = name;
    this.random = { name, size: 0, readAt: () => Promise.resolve(0) };
  }

  async *pieces(): AsyncGenerator<Uint8Array> {}

  close(): Promise<void> {
    this.closed = true;
    return Promise.resolve();
  }
}

export interface FakeWorld {
  readonly context: Context;
  readonly out: Kept;
  readonly err: Kept;
  readonly sources: FakeSource[];
  readonly cancel: AbortController;
}

export interface FakeOptions {
  readonly library?: Partial<Library>;
  readonly out?: Kept;
  readonly err?: Kept;
  readonly stdinIsTerminal?: boolean;
  readonly env?: Record<string, string>;
  readonly files?: readonly string[];
  readonly now?: () => number;
}

/** A world in which every file is the sample. */
export function fakeWorld(options: FakeOptions = {}): FakeWorld {
  const out = options.out ?? new Kept();
  const err = options.err ?? new Kept();
  const sources: FakeSource[] = [];
  const cancel = new AbortController();
  const open = (name: string): Promise<ByteSource> => {
    const source = new FakeSource(name);
    sources.push(source);
    return Promise.resolve(source);
  };
  const context: Context = {
    stdin: Object.assign(new PassThrough(), { isTTY: options.stdinIsTerminal === true }),
    stdout: new Output(out),
    stderr: new Output(err),
    env: options.env ?? {},
    now: options.now ?? (() => 0),
    signal: cancel.signal,
    library: {
      openFileSource: open,
      openPipeSource: (_stream, name) => open(name),
      spool: (source) => Promise.resolve(source),
      createFile: library.createFile,
      inspectImage: () => Promise.resolve(sampleInspection()),
      verifyImage: () => Promise.resolve(sampleVerification()),
      convertImage: () => Promise.reject(new Error('no test asks for a conversion')),
      openImage: () => Promise.reject(new Error('no test asks for an open image')),
      memoryTools: () => import('../../../src/image/memory/tools.ts'),
      debugImage: library.debugImage,
      diffImages: () => Promise.reject(new Error('no test compares images')),
      readHostDescription: () => Promise.reject(new Error('no test reads a description')),
      checkImage: () => Promise.reject(new Error('no test checks an image')),
      describeHost: () => Promise.reject(new Error('no test describes a host')),
      repairFile: () => Promise.reject(new Error('no test repairs an image')),
      connectHost: () => Promise.reject(new Error('no test asks for a host')),
      runHost: () => Promise.reject(new Error('no test asks for a host')),
      replayTmem: () => Promise.reject(new Error('no test asks for a replay')),
      makeKeyFiles: () => Promise.reject(new Error('no test asks for keys')),
      demonstrate: () => Promise.reject(new Error('no test asks for a demonstration')),
      ...options.library,
    },
    fileExists: (path) => options.files?.includes(path) === true,
    exitCode: 0,
  };
  return { context, out, err, sources, cancel };
}

const preamble: NonNullable<Inspection['preamble']> = {
  major: 1,
  minor: 0,
  kind: 'migration',
  byteOrder: 'little',
  wordBits: 64,
  domainType: 'pv',
  machine: 62,
  pageSize: 4096,
  direction: 'forward',
  mustKnow: [],
  mayIgnore: ['INDEXED', 'bit 9'],
  streamId: '6f1c0a52-8f3f-4f0e-9a67-2c6f0de6a001',
  channels: 1,
  channel: 0,
  checksum: '0a1b2c3d',
};

const about = {
  name: 'build \u001b[31mhost\u202e 7',
  uuid: '0f3a1f60-94b6-4d2a-8a30-4f1f5f6f7f80',
  source: { hypervisor: 'xen', versions: { xen: '4.20.0' } },
  memory: { bytes: 268_435_456, pages: 65_536 },
  vcpus: 2,
  configuration: { disks: ['hda'] },
  'x-odd\n': true,
};

const registers = {
  rip: 'ffffffff81000120',
  rsp: 'ffffc90000003ff8',
  rflags: '0000000000000246',
  cr0: '0000000080050033',
  cr3: '0000000001c0a000',
  efer: '0000000000000d01',
};

const counts = { records: 4223, seals: 12, rounds: 3, checkpoints: 1, unknownOptional: 2 };

const HEAD: NonNullable<Inspection['head']> = {
  domainType: 'pv',
  byteOrder: 'little',
  wordBits: 64,
  machine: 62,
  pageSize: 4096,
};

/** An image with something of everything. */
export function sampleInspection(changes: Partial<Inspection> = {}): Inspection {
  return {
    ok: true,
    format: 'tmig',
    nesting: ['tmig'],
    file: { name: 'guest.tmig', bytes: 98_765_432 },
    preamble,
    head: HEAD,
    about,
    complete: true,
    indexed: true,
    bytesRead: 1_234_567,
    memory: {
      pageSize: 4096,
      pages: 80_000,
      distinctPages: 65_000,
      resentPages: 15_000,
      zeroPages: 20_000,
      rawPages: 10_000,
      compressedPages: 50_000,
      absentPages: 536,
      storedBytes: 91_000_000,
      codecs: { zero: 20_000, raw: 10_000, zstd: 49_999, lz4: 1 },
      classes: { ordinary: 79_999, table2: 1, ballooned: 536 },
    },
    tmem: {
      client: { compress: true, frozen: false, weight: 100, cap: 0, allowancePages: '4096', authorised: [] },
      pools: [
        pool({ pages: 1234, zeroPages: null }),
        pool({
          incarnation: '18446744073709551615',
          pool: 3,
          kind: 'ephemeral',
          shared: true,
          precompressed: true,
          uuid: 'aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee',
          objectIdBits: 192,
        }),
      ],
    },
    vcpus: [
      { vcpu: 0, online: true, halted: false, known: ['general'], registers, segments: null },
      { vcpu: 1, online: false, halted: false, known: [], registers: {}, segments: null },
    ],
    devices: [
      {
        device: 0,
        name: 'machine',
        format: 'v86-state',
        version: '0.5.319',
        bytes: 1_048_576,
        fingerprint: '00'.repeat(32),
        sha256: 'ab'.repeat(32),
      },
    ],
    disks: [
      {
        disk: 0,
        name: 'hda',
        policy: 'shared',
        readOnly: false,
        bytes: '9007199254740993',
        sha256: null,
        format: 'raw',
        locator: '/srv/images/a-long-way-down/disk-of-the-build-host.raw',
      },
    ],
    policies: {
      cpuidLeaves: 52,
      msrs: 2,
      vendor: 'GenuineIntel',
      brand: null,
      family: 6,
      model: 85,
      stepping: 7,
    },
    origin: { format: 'xl', parts: 1, bytes: 3000 },
    dictionary: [{ record: 0x4001, name: 'com.example.clock', version: 2, text: 'The clock of it.', schema: null }],
    layers: [],
    counts,
    checkpoint: null,
    permissionGiven: null,
    trailing: { bytes: 0, zero: true },
    error: null,
    ...changes,
  };
}

type Pool = NonNullable<Inspection['tmem']>['pools'][number];

function pool(changes: Partial<Pool>): Pool {
  return {
    incarnation: '1',
    pool: 0,
    flags: '01000001',
    kind: 'persistent',
    shared: false,
    precompressed: false,
    pageSize: 4096,
    objectIdBits: 64,
    uuid: '00000000-0000-0000-0000-000000000000',
    pages: 7,
    zeroPages: 1,
    storedBytes: 20_000,
    invalidated: 5,
    destroyed: false,
    ...changes,
  };
}

/** What verify says of a sound image. */
export function sampleVerification(changes: Partial<Verification> = {}): Verification {
  return {
    ok: true,
    format: 'tmig',
    nesting: ['tmig'],
    verdict: 'sound',
    errors: [],
    warnings: [],
    lettersIgnored: 0,
    preamble,
    head: HEAD,
    about,
    counts,
    bytes: 98_765_432,
    checkpoint: { number: 1, offset: 0x5e30000 },
    toCheckpoint: false,
    trailing: { bytes: 0, zero: true },
    ...changes,
  };
}
