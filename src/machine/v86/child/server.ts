/** Answers the parent's requests with one emulator. One request after the other, in the order they come. */
import type { Socket } from 'node:net';
import { TransmigrateError, type ErrorCode } from '../../../errors.ts';
import { fromHex, toHex } from '../../../bytes/hex.ts';
import type { DeviceState, MachineStatus } from '../../machine.ts';
import { createEmulator } from '../create.ts';
import type { EmulatorMachine } from '../emulator-machine.ts';
import { serialPorts } from '../mends/serial-input.ts';
import { SERIAL_INPUT_MOST } from '../../../foreign/v86/extension.ts';
import { copyPages, DirtyScan, findPages, gather, MemoryCopy, PAGE_BYTES, PAGE_LIMITS, runsOf } from '../pages.ts';
import { ConsoleBuffer } from './console-buffer.ts';
import { encodeFrame, FRAME, FrameReader, type Frame } from './frames.ts';
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
}
type Handler = (json: Frame['json'], bytes: Uint8Array) => Answer | void | Promise<Answer | void>;

/** Pieces that one batch of a copy is sent in. */
const RUNS_MOST = 32;
/** Memory that is touched at once before the guest gets its turn again. */
const TOUCH_BYTES = 4 * 1024 * 1024;

export class GuestServer {
  readonly #control: Socket;
  readonly #end: () => never;
  readonly #frames = new FrameReader((frame) => this.#enqueue(frame));
  readonly #console: ConsoleBuffer;
  #queue: Promise<void> = Promise.resolve();
  #machine: EmulatorMachine | null = null;
  #status: MachineStatus = 'paused';
  /** The epoch under which the guest may run, and the highest that was ever granted. */
  #grant: number | null = null;
  #epoch = 0;
  #stoppedAt = performance.now();
  #scan: DirtyScan | null = null;
  #copy: MemoryCopy | null = null;

  constructor(control: Socket, end: () => never) {
    this.#control = control;
    this.#end = end;
    this.#console = new ConsoleBuffer(control, {
      send: (port, bytes) => this.#send(FRAME.event, 0, { name: 'console', port }, [bytes]),
      stall: () => this.#machine?.stop(),
      go: () => {
        if (this.#status === 'running') this.#machine?.resume();
      },
    });
  }

  feed(piece: Uint8Array): void {
    this.#frames.feed(piece);
  }

  /** Something was thrown that nobody caught. */
  crashed(reason: unknown): void {
    if (this.#status === 'crashed') return;
    this.#status = 'crashed';
    this.#machine?.stop();
    this.#console.flush();
    this.#send(FRAME.event, 0, { name: 'crashed', reason: reason instanceof Error ? reason.message : String(reason) });
  }

  readonly #handlers: Readonly<Record<RequestName, Handler>> = {
    create: async ({ config, boot, tmem }, bytes) => {
      const { plan, end } = decodePlan(boot, bytes);
      const { machine } = await createEmulator({
        config: decodeConfig(config as object, bytes.subarray(end)),
        ...(plan !== undefined && { boot: plan }),
        ...(tmem === true && { tmem: tmemOver(CHILD_FD.tmem, this.#end) }),
      });
      this.#machine = machine;
      this.#watch(machine);
      const { capabilities, disks } = machine;
      const fingerprint = toHex(capabilities.fingerprint);
      const described = disks.map((disk) => ({ ...disk, digest: disk.digest === null ? null : toHex(disk.digest) }));
      return { json: { capabilities: { ...capabilities, fingerprint }, disks: described } };
    },
    grant: ({ epoch }) => {
      const asked = Number(epoch);
      if (asked < this.#epoch) {
        throw new TransmigrateError('NOT_GRANTED', `Epoch ${asked} is over: ${this.#epoch} was granted since`, {
          data: { asked, granted: this.#epoch },
        });
      }
      this.#epoch = asked;
      this.#grant = asked;
    },
    revoke: async () => {
      this.#grant = null;
      await this.#pause();
    },
    resume: () => this.#resume(),
    pause: () => this.#pause(),
    readPages: ({ first, count }) => encodeBatch(copyPages(this.#present.memory(), ...this.#range(first, count))),
    startScan: () => {
      this.#scan = new DirtyScan(this.#present.capabilities.pages);
    },
    scan: ({ first, pages, dirty }) => {
      const scan = this.#scan;
      if (scan === null) throw wrongState('No scan was started');
      const start = performance.now();
      const most = { pages: Math.min(Number(pages), 1 << 20), dirty: Math.min(Number(dirty), PAGE_LIMITS.batch) };
      const step = scan.step(this.#present.memory(), Number(first), most.pages, most.dirty);
      const { json, bytes } = encodeBatch(step.dirty);
      return { json: { ...json, next: step.next, stoppedMs: performance.now() - start }, bytes };
    },
    markDirty: (_json, bytes) => {
      const pfns = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
      const { pages } = this.#present.capabilities;
      if (pfns.some((pfn) => pfn >= pages))
        throw wrongState(`A page to be sent again is beyond the ${pages} there are`);
      this.#scan?.force(pfns);
    },
    endScan: () => {
      this.#scan = null;
    },
    prepareCapture: async () => {
      const copy = this.#room();
      // In steps, so that the guest goes on meanwhile.
      while (copy.touch(TOUCH_BYTES)) await new Promise((resolve) => setImmediate(resolve));
    },
    capture: async ({ resume }) => {
      const machine = this.#still();
      const copy = this.#room();
      // What was read out of the last copy, and is not written yet, lies in this one's memory.
      await this.#written();
      const start = performance.now();
      copy.take(machine.memory());
      const copied = performance.now();
      const saved = machine.saveDevices();
      const deviceMs = performance.now() - copied;
      if (resume === true) this.#resume();
      const times = { copyMs: copied - start, deviceMs, stoppedMs: performance.now() - this.#stoppedAt };
      return { json: { ...times, vcpus: encodeVcpus(machine.vcpus(saved)) }, bytes: saved.pieces };
    },
    readCapture: ({ first, count }) => {
      if (this.#copy?.taken !== true) throw wrongState('Nothing was captured');
      return encodeRuns(this.#copy.bytes, ...this.#range(first, count));
    },
    releaseCapture: () => {
      this.#copy = null;
    },
    deviceState: () => ({ bytes: this.#still().saveDevices().pieces }),
    vcpus: () => ({ json: { vcpus: encodeVcpus(this.#still().vcpus()) } }),
    loadPages: (json, bytes) => this.#still().loadPages(decodeBatch(json, bytes)),
    loadDeviceState: ({ format, version, fingerprint, wallClockMs }, bytes) => {
      const state: DeviceState = {
        format: String(format),
        version: String(version),
        fingerprint: fromHex(String(fingerprint)),
        bytes,
      };
      const machine = this.#still();
      try {
        machine.loadDeviceState(state, Number(wallClockMs));
      } catch (error) {
        if (error instanceof TransmigrateError && error.code === 'DRIVER_FAILED') this.crashed(error);
        throw error;
      }
    },
    writeConsole: ({ port }, bytes) => this.#type(Number(port), bytes),
  };

  /** The machine, once it was created. */
  get #present(): EmulatorMachine {
    if (this.#machine === null) throw wrongState('The machine was not created');
    return this.#machine;
  }

  /** The machine while it stands still, crashed or not. */
  #still(): EmulatorMachine {
    if (this.#status === 'running' || this.#status === 'halted') throw wrongState('The machine is running');
    return this.#present;
  }

  #resume(): void {
    if (this.#status === 'crashed') throw new TransmigrateError('GUEST_CRASHED', 'A guest that crashed cannot go on');
    if (this.#grant === null) throw new TransmigrateError('NOT_GRANTED', 'Nothing was granted: the guest may not run');
    if (this.#status !== 'paused') return;
    this.#status = this.#present.dead ? 'halted' : 'running';
    if (!this.#console.stalled) this.#present.resume();
  }

  /** Resolves when the parent has taken everything that was sent. */
  async #written(): Promise<void> {
    while (this.#control.writableLength > 0) await new Promise((resolve) => setImmediate(resolve));
  }

  async #pause(): Promise<void> {
    if (this.#status === 'crashed') return;
    if (this.#status === 'running') this.#stoppedAt = performance.now();
    this.#present.stop();
    this.#status = 'paused';
    this.#console.flush();
    await this.#present.drained();
  }

  #range(first: unknown, count: unknown): [number, number] {
    const { pages } = this.#present.capabilities;
    const [from, length] = [Number(first), Number(count)];
    if (!(Number.isInteger(from) && Number.isInteger(length) && from >= 0 && length >= 0 && from + length <= pages)) {
      throw wrongState(`Pages ${from} to ${from + length}: the machine has ${pages}`);
    }
    if (length > PAGE_LIMITS.batch) throw wrongState(`${length} pages at once, the limit is ${PAGE_LIMITS.batch}`);
    return [from, length];
  }

  #room(): MemoryCopy {
    this.#copy ??= new MemoryCopy(this.#present.capabilities.pages * PAGE_BYTES);
    this.#copy.taken = false;
    return this.#copy;
  }

  #type(port: number, bytes: Uint8Array): void {
    const { emulator } = this.#present;
    const uart = serialPorts(emulator.v86.cpu)[port];
    if (uart === undefined) throw wrongState(`The machine has no serial port ${port}`);
    if (uart.input.length + bytes.byteLength > SERIAL_INPUT_MOST) {
      throw wrongState(`The guest does not read its serial port: ${uart.input.length} bytes wait there`);
    }
    for (const byte of bytes) emulator.bus.send(`serial${port}-input`, byte);
  }

  #watch(machine: EmulatorMachine): void {
    const { emulator } = machine;
    serialPorts(emulator.v86.cpu).forEach((uart, port) => {
      if (uart === undefined) return;
      emulator.add_listener(`serial${port}-output-byte`, (byte) => this.#console.push(port, byte as number));
    });
    emulator.add_listener('cpu-event-halt', () => {
      if (this.#status !== 'running') return;
      this.#status = 'halted';
      this.#send(FRAME.event, 0, { name: 'halted' });
    });
    // A guest's last fault comes out of the slice as an exception; here it is still known whose it is.
    const { v86 } = emulator;
    const tick = v86.do_tick.bind(v86);
    v86.do_tick = () => {
      try {
        tick();
      } catch (error) {
        this.crashed(error);
      }
    };
  }

  #enqueue(frame: Frame): void {
    this.#queue = this.#queue.then(() => this.#answer(frame));
  }

  async #answer({ id, json, bytes }: Frame): Promise<void> {
    try {
      const answer = await this.#handlers[json['op'] as RequestName](json, bytes);
      this.#send(FRAME.reply, id, { ...answer?.json, status: this.#status }, answer?.bytes);
    } catch (error) {
      this.#send(FRAME.failure, id, { ...failureOf(error), status: this.#status });
    }
  }

  #send(kind: (typeof FRAME)[keyof typeof FRAME], id: number, json: object, bytes?: readonly Uint8Array[]): void {
    this.#control.cork();
    for (const piece of encodeFrame(kind, id, json, bytes)) this.#control.write(piece);
    this.#control.uncork();
  }
}

/** A batch whose pages are sent from where they are, which must not change until they are written. */
function encodeRuns(memory: Buffer, first: number, count: number): Answer {
  const pfns = findPages(memory, first, count);
  const pieces = runsOf(memory, pfns);
  // Many small pieces cost more than one copy.
  if (pieces.length > RUNS_MOST) return encodeBatch(gather(memory, pfns));
  const numbers = new Uint8Array(pfns.buffer, pfns.byteOffset, pfns.byteLength);
  return { json: { count: pfns.length }, bytes: [numbers, ...pieces] };
}

function wrongState(what: string): TransmigrateError {
  return new TransmigrateError('MACHINE_STATE', what);
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
