/** Answers the parent's requests with one machine. One request after the other, in the order they come. */
import type { Socket } from 'node:net';
import { fromHex, toHex } from '../../../bytes/hex.ts';
import { TransmigrateError, type ErrorCode } from '../../../errors.ts';
import type { DeviceState, PageBatch } from '../../machine.ts';
import { LocalMachine } from '../local-machine.ts';
import { findPages, gather, runsOf } from '../pages.ts';
import { encodeFrame, FRAME, FrameReader, type Frame, type FrameKind } from './frames.ts';
import {
  CHILD_FD,
  decodeBatch,
  decodeConfig,
  decodePlan,
  encodeBatch,
  encodeVcpus,
  type RequestName,
} from './messages.ts';
import { tmemOver } from './tmem-link.ts';

/** What a request is answered with. */
interface Answer {
  readonly json?: object;
  readonly bytes?: readonly Uint8Array[];
  /** Called when the parent has it: the bytes may be changed again. */
  readonly taken?: () => void;
}
type Handler = (json: Frame['json'], bytes: Uint8Array) => Promise<Answer | void>;

const LIMITS = {
  /** Pieces that one batch of a copy is sent in: many small ones cost more than one copy. */
  runs: 32,
  /** What the guest wrote and the parent has not taken yet, in bytes, before the guest has to wait. */
  waiting: 1024 * 1024,
} as const;

export class GuestServer {
  #control!: Socket;
  readonly #end: () => never;
  readonly #frames = new FrameReader((frame) => this.#enqueue(frame));
  #queue: Promise<void> = Promise.resolve();
  #machine: LocalMachine | null = null;
  /** Memory of steps of a scan that the parent has taken, for the next ones. */
  #rooms: Uint8Array[] = [];
  /** Bytes of the guest's console that the parent has not taken yet. */
  #waiting = 0;

  constructor(end: () => never) {
    this.#end = end;
  }

  /** Where answers and events go. */
  attach(control: Socket): void {
    this.#control = control;
  }

  /** Where the next bytes of the parent go. */
  room(): Uint8Array {
    return this.#frames.room();
  }

  /** So many bytes came there. */
  took(length: number): void {
    this.#frames.took(length);
  }

  /** Something was thrown that nobody caught. */
  crashed(error: unknown): void {
    if (this.#machine === null) throw error;
    this.#machine.crashed(error);
  }

  readonly #handlers: Readonly<Record<RequestName, Handler>> = {
    create: async ({ config, boot, tmem }, bytes) => {
      const { plan, end } = decodePlan(boot, bytes);
      const machine = await LocalMachine.create({
        config: decodeConfig(config as object, bytes.subarray(end)),
        ...(plan !== undefined && { boot: plan }),
        ...(tmem === true && { tmem: tmemOver(CHILD_FD.tmem, this.#end) }),
      });
      this.#machine = machine;
      machine.on('console', (written, port) => this.#written(written, port));
      machine.on('crashed', (reason) => this.#send(FRAME.event, 0, { name: 'crashed', reason }));
      machine.on('halted', () => this.#send(FRAME.event, 0, { name: 'halted' }));
      const { capabilities, disks } = machine;
      const fingerprint = toHex(capabilities.fingerprint);
      const described = disks.map((disk) => ({ ...disk, digest: disk.digest === null ? null : toHex(disk.digest) }));
      return { json: { capabilities: { ...capabilities, fingerprint }, disks: described } };
    },
    grant: ({ epoch }) => this.#present.grant(Number(epoch)),
    revoke: () => this.#present.revoke(),
    resume: () => this.#present.resume(),
    pause: () => this.#present.pause(),
    readPages: async ({ first, count }) => encodeBatch(await this.#present.readPages(Number(first), Number(count))),
    startScan: () => this.#present.startScan(),
    scan: async ({ first, pages, dirty }) => {
      const into = this.#rooms.pop();
      const budget = { pages: Number(pages), dirty: Number(dirty), ...(into !== undefined && { into }) };
      const slice = await this.#present.scan(Number(first), budget);
      const { json, bytes } = encodeBatch(slice.dirty);
      const { zero, next, stoppedMs } = slice;
      const zeros = new Uint8Array(zero.buffer, zero.byteOffset, zero.byteLength);
      return {
        json: { ...json, zeros: zero.length, next, stoppedMs },
        bytes: [...bytes, zeros],
        taken: () => this.#rooms.push(new Uint8Array(slice.dirty.bytes.buffer)),
      };
    },
    markDirty: (_json, bytes) =>
      this.#present.markDirty(new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)),
    endScan: () => {
      this.#rooms = [];
      return this.#present.endScan();
    },
    throttle: ({ share }) => this.#present.throttle(Number(share)),
    prepareCapture: () => this.#present.prepareCapture(),
    capture: async ({ resume }) => {
      // What was read out of the last copy, and is not written yet, lies in the memory of the next.
      while (this.#control.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
      const { device, vcpus, ...times } = await this.#present.capture({ resume: resume === true });
      return { json: { ...times, vcpus: encodeVcpus(vcpus) }, bytes: [device.bytes] };
    },
    readCapture: async ({ first, count }) => {
      const machine = this.#present;
      const memory = machine.captured;
      const range = [Number(first), Number(count)] as const;
      // Refused as it is where the copy is read in place.
      if (memory === null) return encodeBatch(await machine.readCapture(...range));
      machine.checkRange(...range);
      return encodeRuns(memory, findPages(memory, ...range));
    },
    releaseCapture: () => this.#present.releaseCapture(),
    captureDevices: async () => {
      const { saved, vcpus, deviceMs } = this.#present.saveDevices();
      return { json: { deviceMs, vcpus: encodeVcpus(vcpus) }, bytes: saved.pieces };
    },
    deviceState: async () => ({ bytes: [(await this.#present.deviceState()).bytes] }),
    vcpus: async () => ({ json: { vcpus: encodeVcpus(await this.#present.vcpus()) } }),
    loadPages: (json, bytes) => this.#present.loadPages(decodeBatch(json, bytes)),
    loadDeviceState: ({ format, version, fingerprint, wallClockMs }, bytes) => {
      const state: DeviceState = {
        format: String(format),
        version: String(version),
        fingerprint: fromHex(String(fingerprint)),
        bytes,
      };
      return this.#present.loadDeviceState(state, Number(wallClockMs));
    },
    writeConsole: ({ port }, bytes) => this.#present.writeConsole(bytes, Number(port)),
  };

  /** The machine, once it was created. */
  get #present(): LocalMachine {
    if (this.#machine === null) throw new TransmigrateError('MACHINE_STATE', 'The machine was not created');
    return this.#machine;
  }

  #written(bytes: Uint8Array, port: number): void {
    // Pages on their way to the parent do not count: a guest need not wait for them.
    this.#waiting += bytes.byteLength;
    if (this.#waiting > LIMITS.waiting) this.#machine?.hold(true);
    this.#send(FRAME.event, 0, { name: 'console', port }, [bytes], () => {
      this.#waiting -= bytes.byteLength;
      if (this.#waiting <= LIMITS.waiting) this.#machine?.hold(false);
    });
  }

  #enqueue(frame: Frame): void {
    this.#queue = this.#queue.then(() => this.#answer(frame));
  }

  async #answer({ id, json, bytes }: Frame): Promise<void> {
    const status = (): string => this.#machine?.status ?? 'paused';
    try {
      const answer = await this.#handlers[json['op'] as RequestName](json, bytes);
      this.#send(FRAME.reply, id, { ...answer?.json, status: status() }, answer?.bytes, answer?.taken);
    } catch (error) {
      this.#send(FRAME.failure, id, { ...failureOf(error), status: status() });
    }
  }

  #send(kind: FrameKind, id: number, json: object, bytes?: readonly Uint8Array[], taken?: () => void): void {
    const pieces = encodeFrame(kind, id, json, bytes);
    this.#control.cork();
    pieces.forEach((piece, i) => this.#control.write(piece, i === pieces.length - 1 ? taken : undefined));
    this.#control.uncork();
  }
}

/** A batch whose pages are sent from where they are, which must not change until they are written. */
function encodeRuns(memory: Buffer, pfns: Uint32Array): Answer {
  const runs = runsOf(memory, pfns);
  if (runs.length > LIMITS.runs) return encodeBatch(gather(memory, pfns));
  const head: PageBatch = { pfns, bytes: new Uint8Array(0) };
  const { json, bytes } = encodeBatch(head);
  return { json, bytes: [...bytes, ...runs] };
}

function failureOf(error: unknown): {
  code: ErrorCode;
  message: string;
  path?: string;
  offset?: number;
  data?: object;
} {
  if (!(error instanceof TransmigrateError)) return { code: 'INTERNAL', message: String(error) };
  const { code, path, offset, data, cause } = error;
  const reason = cause instanceof Error ? `: ${cause.message}` : '';
  return {
    code,
    message: error.message + reason,
    ...(path !== undefined && { path }),
    ...(offset !== undefined && { offset }),
    data,
  };
}
