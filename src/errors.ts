/**
 * The one closed table of error codes (spec/errors.md), and the error class that carries them.
 * Nothing matches on message text: callers branch on `code`, and read the rest from `data`.
 */

/** Exit code of the command for each class of failure (spec/errors.md, section 2). */
export const EXIT = {
  ok: 0,
  failed: 1,
  usage: 2,
  format: 10,
  unsupported: 11,
  refused: 12,
  transport: 13,
  guest: 14,
  store: 15,
  ownershipUnknown: 16,
  cancelled: 130,
} as const;

/** A class of failure: a key of {@link EXIT}. */
export type ErrorClass = Exclude<keyof typeof EXIT, 'ok'>;

interface ErrorEntry {
  readonly class: ErrorClass;
  /** What the user can do next; ends the message of every error with this code that brings no advice of its own. */
  readonly next: string;
}

const DAMAGED =
  'The image is damaged: take another copy, or see how far it is whole with `transmigrate inspect --records`.';
const WRITER = 'The program that wrote this did not follow the specification: report it there with this message.';

/** Every code there is. spec/errors.md describes each; a test keeps the two equal. */
export const ERRORS = {
  // Identification.
  NOT_AN_IMAGE: {
    class: 'unsupported',
    next: 'Is this the right file? Its first bytes are those of no format known here.',
  },
  TEXT_MODE_DAMAGE: { class: 'format', next: 'Copy the image again in binary mode.' },
  SEVEN_BIT_DAMAGE: { class: 'format', next: 'Copy the image again over a channel that keeps all eight bits.' },
  // Damage.
  TRUNCATED: { class: 'format', next: 'The rest is missing: copy or save the image again.' },
  PREAMBLE_CHECKSUM: { class: 'format', next: DAMAGED },
  HEADER_CHECKSUM: { class: 'format', next: DAMAGED },
  BODY_CHECKSUM: { class: 'format', next: DAMAGED },
  HEAD_CHECKSUM: { class: 'format', next: DAMAGED },
  UNIT_CHECKSUM: { class: 'format', next: DAMAGED },
  RECORD_SEQUENCE: { class: 'format', next: 'A record was lost, doubled or moved: take another copy.' },
  RECORD_FOREIGN: { class: 'format', next: 'Parts of two streams were joined here: take another copy.' },
  SEAL_MISMATCH: { class: 'format', next: DAMAGED },
  CHAIN_VECTOR: {
    class: 'format',
    next: 'The channels do not belong together, or one was changed: send the stream again.',
  },
  END_COUNTS: { class: 'format', next: DAMAGED },
  CODEC_DATA: { class: 'format', next: DAMAGED },
  DEVICE_DIGEST: { class: 'format', next: DAMAGED },
  FOOTER: {
    class: 'format',
    next: 'The records may still be whole: `transmigrate verify` reads them without the footer.',
  },
  INDEX_MISMATCH: { class: 'format', next: 'The index is only a hint: the records can still be read in order.' },
  TRAILING_DATA: { class: 'format', next: 'Something was appended: cut the file where the image ends.' },
  // Rules broken by a writer.
  FIELD_VALUE: { class: 'format', next: WRITER },
  LENGTH_MISMATCH: { class: 'format', next: WRITER },
  LIMIT_EXCEEDED: { class: 'format', next: WRITER },
  RECORD_ORDER: { class: 'format', next: WRITER },
  SEAL_MISSING: { class: 'format', next: WRITER },
  DUPLICATE: { class: 'format', next: WRITER },
  STRING_INVALID: { class: 'format', next: WRITER },
  JSON_INVALID: { class: 'format', next: WRITER },
  SCHEMA_INVALID: { class: 'format', next: WRITER },
  TMEM_NOT_ALLOWED: {
    class: 'format',
    next: 'Only paravirtual domains have tmem: the preamble or the tmem records are wrong.',
  },
  TMEM_UNKNOWN_POOL: { class: 'format', next: WRITER },
  NO_CHECKPOINT: { class: 'format', next: 'No consistent machine is in this image: save it again.' },
  // Not supported by this build.
  UNSUPPORTED_VERSION: {
    class: 'unsupported',
    next: 'Use a newer transmigrate; `inspect` still shows what the image says of itself.',
  },
  UNSUPPORTED_FEATURE: {
    class: 'unsupported',
    next: 'Use a transmigrate that has the feature, or write the image without it.',
  },
  UNKNOWN_RECORD: { class: 'unsupported', next: 'Use a transmigrate, or load the extension, that knows this record.' },
  UNSUPPORTED_CODEC: {
    class: 'unsupported',
    next: 'Use a transmigrate that has the codec, or write the image with another.',
  },
  NOT_INDEXED: { class: 'unsupported', next: 'Read the image in order, or rebuild its index.' },
  // Starting a guest.
  BOOT_FILE: {
    class: 'unsupported',
    next: 'Give a 32-bit Linux kernel (bzImage or vmlinux) or a multiboot image that states its addresses.',
  },
  GUEST_MEMORY: { class: 'refused', next: 'Give the guest more memory, or a smaller kernel or initrd.' },
  // Machines and their drivers.
  DRIVER_VERSION: {
    class: 'unsupported',
    next: 'Use a transmigrate that carries the version that is named, or one of the versions that are listed.',
  },
  DRIVER_FAILED: { class: 'guest', next: 'The machine could not be made: see the cause, and its configuration.' },
  MACHINE_CONFIG: { class: 'usage', next: 'Change what the message names in the configuration of the machine.' },
  MACHINE_STATE: { class: 'usage', next: 'Bring the machine into the state that is asked for first.' },
  DEVICE_FINGERPRINT: {
    class: 'refused',
    next: 'Make a machine with the configuration that the image names: same version, memory, devices and disks.',
  },
  DEVICE_SHAPE: {
    class: 'refused',
    next: 'This device state was not made by a machine with this configuration; take the image from its source again.',
  },
  DISK_MISMATCH: { class: 'refused', next: 'Give the disk that the image names, unchanged.' },
  NOT_GRANTED: { class: 'refused', next: 'Another place may run this machine: settle who owns it, then grant it.' },
  GUEST_CRASHED: { class: 'guest', next: 'Its memory can still be read and saved as a core; destroy it, or restore.' },
  GUEST_GONE: {
    class: 'guest',
    next: 'The process of this guest is no more: restore the machine from its last image.',
  },
  // A machine of an image.
  IMAGE_UNFIT: { class: 'unsupported', next: 'See with `transmigrate inspect` what the image is.' },
  MEMORY_MISMATCH: { class: 'refused', next: 'Take the image from its source again: memory is missing, or too much.' },
  DEVICE_MISSING: { class: 'refused', next: 'Save the machine again: without its devices it cannot go on.' },
  // Converting images.
  ORIGIN_INVALID: { class: 'format', next: WRITER },
  CONVERSION_LOSS: {
    class: 'refused',
    next: 'Choose a format that can hold all of it, or give --allow-loss to leave it out.',
  },
  // Checking whether an image fits a host.
  HOST_INVALID: {
    class: 'usage',
    next: 'Make it anew with `transmigrate host describe --json`, or see spec/host-description.md.',
  },
  // Connections.
  CONNECT_FAILED: { class: 'transport', next: 'Check the address, and that somebody listens there.' },
  CONNECTION_LOST: { class: 'transport', next: 'Try again when the two hosts reach each other.' },
  LISTEN_FAILED: { class: 'transport', next: 'Name another address, or end what listens there.' },
  PEER_UNTRUSTED: {
    class: 'refused',
    next: 'Give each host the certificate of the other, or of who signed it, as its authority.',
  },
  NOT_LOOPBACK: {
    class: 'refused',
    next: 'Use TLS; or, where nobody else can listen or answer, allow plain connections in words.',
  },
  // Hosts and their guests.
  HOST_UNREACHABLE: { class: 'transport', next: 'Start one with `transmigrate host run`, or name its --socket.' },
  HOST_RUNNING: { class: 'refused', next: 'Use that host, or give this one another --socket.' },
  GUEST_UNKNOWN: { class: 'refused', next: 'See `transmigrate list`.' },
  GUEST_BUSY: { class: 'refused', next: 'Wait until that is done, and try again.' },
  NAME_TAKEN: { class: 'refused', next: 'Give it another name.' },
  IDENTITY_TAKEN: { class: 'refused', next: 'Leave --same-identity away to make a clone, or destroy the other one.' },
  SHARED_DISK: { class: 'refused', next: 'Save it with --stop or --pause, or pause it first.' },
  TMEM_DISABLED: { class: 'refused', next: 'Run the host with --tmem SIZE, or the guest without tmem.' },
  // Migration.
  MIGRATION_UNKNOWN: { class: 'refused', next: '`transmigrate jobs` lists those that this host knows of.' },
  MIGRATION_REFUSED: { class: 'refused', next: 'See the reasons: each says what it needs and what there is.' },
  MIGRATION_LOST: {
    class: 'transport',
    next: 'The guest runs on where it was: try again when the hosts reach each other.',
  },
  NOT_CONVERGING: {
    class: 'refused',
    next: 'The guest runs on as before: allow a longer downtime or more bandwidth, or use --force.',
  },
  PROTOCOL_ORDER: { class: 'format', next: WRITER },
  OWNERSHIP_UNKNOWN: {
    class: 'ownershipUnknown',
    next: 'Ask again with `transmigrate owner`; if the other host will never answer, use `transmigrate settle`.',
  },
  JOURNAL_DAMAGED: {
    class: 'store',
    next: 'Keep the file. See on each host that it ran with who owns its guests, and start with a new journal.',
  },
  // tmem.
  TMEM_NO_CLIENT: { class: 'refused', next: 'See `transmigrate tmem list` for the clients there are.' },
  TMEM_CLIENT_EXISTS: {
    class: 'refused',
    next: 'Restore it under another number, or end the client that has this one.',
  },
  TMEM_READERS: { class: 'refused', next: 'Wait until another save or migration has ended.' },
  TMEM_SHARED_POOL: {
    class: 'refused',
    next: 'Let the other clients leave the pool first, or have this one leave it: its pages belong to all of them.',
  },
  TMEM_POOL_REFUSED: {
    class: 'refused',
    next: 'The destination has no place for such a pool: free a slot or a uuid there.',
  },
  TMEM_NO_MEMORY: { class: 'refused', next: 'Give tmem more memory, or flush ephemeral pages, and try again.' },
  TMEM_SAVE_GIVEN_UP: {
    class: 'refused',
    next: 'The guest changed more while it was saved than there was memory for: save it paused, or raise the limit.',
  },
  // The command and its surroundings.
  USAGE: { class: 'usage', next: 'See `transmigrate --help`.' },
  CANCELLED: { class: 'cancelled', next: 'Nothing was changed.' },
  MEMORY_ABSENT: {
    class: 'failed',
    next: '`transmigrate memory export --map` says which pages there are; --vcpu and --cr3 choose page tables.',
  },
  OUTPUT_DIFFERS: { class: 'failed', next: 'See the steps above for the first difference.' },
  READ_FAILED: { class: 'store', next: 'Check that the file exists and can be read.' },
  WRITE_FAILED: { class: 'store', next: 'Check free space and permissions; nothing that looks whole was left behind.' },
  INTERNAL: { class: 'failed', next: 'This is a defect of transmigrate: please report it with this message.' },
} as const satisfies Record<string, ErrorEntry>;

/** A code of the closed table. */
export type ErrorCode = keyof typeof ERRORS;

/** The class of a code; what is no error, but a finding of a format's own table, is about the format. */
export function classOfCode(code: string): ErrorClass {
  return Object.hasOwn(ERRORS, code) ? ERRORS[code as ErrorCode].class : 'format';
}

/** Where the running guest is after a failure, so that nobody has to guess. */
export type GuestAt = 'source' | 'destination' | 'unknown';

/** A record of a stream, as errors and findings name it. */
export interface RecordPlace {
  /** Its number in its channel, from 0. */
  readonly sequence: number;
  /** Of stream 3.5, or the name that a DICTIONARY gave it; `unknown` also where a record should stand and none does. */
  readonly name: string;
  /** Its channel, of a stream that has several. */
  readonly channel?: number;
}

/** What an error can carry beside its code. All of it survives `toJSON`. */
export interface ErrorDetails {
  /** Byte offset in the stream or file where the offending thing starts. */
  readonly offset?: number;
  /** Which record and field, e.g. `record 12 (RAM)/extents[3].first`. */
  readonly path?: string;
  /** Which record it is about, where it is about one. */
  readonly record?: RecordPlace | undefined;
  /** Facts as data: numbers, names, expected and found values. JSON-safe. */
  readonly data?: Readonly<Record<string, unknown>>;
  /** Section of the specification that states the rule, e.g. `stream 5.2`. */
  readonly section?: string;
  readonly guestAt?: GuestAt;
  readonly cause?: unknown;
  /** Advice that is better than the table's for this case. */
  readonly next?: string;
}

/** The JSON shape of an error (spec/errors.md, section 3). */
export interface ErrorJson {
  code: ErrorCode;
  message: string;
  next: string;
  offset?: number;
  file?: string;
  path?: string;
  record?: RecordPlace;
  section?: string;
  guestAt?: GuestAt;
  data?: Readonly<Record<string, unknown>>;
  cause?: string;
}

/**
 * The only error that this library throws on purpose.
 *
 * @example
 * try { ... } catch (error) { if (error instanceof TransmigrateError && error.code === 'TRUNCATED') ... }
 */
export class TransmigrateError extends Error {
  override readonly name = 'TransmigrateError';
  readonly code: ErrorCode;
  readonly data: Readonly<Record<string, unknown>>;
  readonly offset: number | undefined;
  readonly path: string | undefined;
  /** Name of the input that it is about, where several were given. Set by whoever opened them. */
  file: string | undefined;
  /** Set by whoever knows the stream: what finds a fault in a field need not know which record it is in. */
  record: RecordPlace | undefined;
  readonly section: string | undefined;
  readonly guestAt: GuestAt | undefined;
  /** What the user can do next, one or two sentences. */
  readonly next: string;

  /** @param what one sentence that names the thing and what is wrong with it, without offset, path or advice. */
  constructor(code: ErrorCode, what: string, details: ErrorDetails = {}) {
    super(what, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.data = details.data ?? {};
    this.offset = details.offset;
    this.path = details.path;
    this.record = details.record;
    this.section = details.section;
    this.guestAt = details.guestAt;
    this.next = details.next ?? ERRORS[code].next;
  }

  /** The same error, with some of its details replaced. */
  with(changes: ErrorDetails): TransmigrateError {
    const { offset, path, record, data, section, guestAt, cause, next, file } = this;
    const kept = { ...defined({ offset, path, record, section, guestAt, cause }), data, next };
    const error = new TransmigrateError(this.code, this.message, { ...kept, ...changes });
    error.file = file;
    return error;
  }

  /** Exit code of the command for this error. */
  get exitCode(): number {
    return EXIT[ERRORS[this.code].class];
  }

  toJSON(): ErrorJson {
    return {
      code: this.code,
      message: this.message,
      next: this.next,
      ...(this.offset !== undefined && { offset: this.offset }),
      ...(this.file !== undefined && { file: this.file }),
      ...(this.path !== undefined && { path: this.path }),
      ...(this.record !== undefined && { record: this.record }),
      ...(this.section !== undefined && { section: this.section }),
      ...(this.guestAt !== undefined && { guestAt: this.guestAt }),
      ...(Object.keys(this.data).length > 0 && { data: this.data }),
      ...(this.cause !== undefined && { cause: messageOf(this.cause) }),
    };
  }
}

/** The members that are not undefined. */
function defined(members: { [K in keyof ErrorDetails]: ErrorDetails[K] | undefined }): ErrorDetails {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined));
}

function messageOf(value: unknown): string {
  return value instanceof Error ? value.message : String(value);
}
