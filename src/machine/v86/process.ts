/** A v86 machine in a process of its own (M1): the parent's half. */
import { spawn, type ChildProcess } from 'node:child_process';
import { getCompileCacheDir } from 'node:module';
import type { Socket } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromHex, toHex } from '../../bytes/hex.ts';
import { receiveInto } from '../../io/receive-into.ts';
import { ERRORS, TransmigrateError, type ErrorCode } from '../../errors.ts';
import type {
  CaptureReport,
  DeviceReport,
  DeviceState,
  Machine,
  MachineCapabilities,
  MachineDisk,
  MachineEvents,
  MachineStatus,
  PageBatch,
  ScanBudget,
  ScanSlice,
  TmemService,
  VcpuState,
} from '../machine.ts';
import { encodeFrame, FRAME, FrameReader, type Frame } from './child/frames.ts';
import {
  CHILD_FD,
  decodeBatch,
  decodeVcpus,
  encodeBatch,
  encodeConfig,
  encodePlan,
  type RequestName,
} from './child/messages.ts';
import type { BootPlan } from './boot/plan.ts';
import { checkConfig, type V86Config } from './config.ts';
import { PAGE_LIMITS } from './pages.ts';
import { serveTmem } from './tmem-server.ts';

/** How much of what a guest's process says on its standard error is kept, to explain its end. */
const STDERR_BYTES = 4096;
/** How long a process may take to end by itself. */
const EXIT_LIMIT_MS = 2000;

export interface V86ProcessOptions {
  readonly config: V86Config;
  /** What the guest starts with; none for a machine that an image is restored into. */
  readonly boot?: BootPlan;
  /**
   * The engine's answers to the guest's requests; without it the guest has no tmem. It may be called as long as the
   * guest runs.
   */
  readonly tmem?: TmemService;
}

/** Nothing of the parent's, but where it keeps what modules were compiled to: a guest then starts in half the time. */
function environment(): NodeJS.ProcessEnv {
  const cache = getCompileCacheDir();
  return { NODE_NO_WARNINGS: '1', ...(cache !== undefined && { NODE_COMPILE_CACHE: dirname(cache) }) };
}

interface Waiting {
  /** Where the content of the answer goes, if it fits. */
  readonly into: Uint8Array | null;
  resolve(frame: Frame): void;
  reject(error: Error): void;
}

/** A guest in a process of its own. Made by {@link V86Process.create}. */
export class V86Process implements Machine {
  readonly #child: ChildProcess;
  readonly #control: Socket;
  readonly #tmem: Socket;
  readonly #waiting = new Map<number, Waiting>();
  readonly #listeners: { [E in keyof MachineEvents]: MachineEvents[E][] } = {
    console: [],
    crashed: [],
    halted: [],
    closed: [],
  };
  readonly #gone: Promise<void>;
  #next = 1;
  #status: MachineStatus = 'paused';
  #closing = false;
  #stderr = '';
  #capabilities: MachineCapabilities | null = null;
  #disks: readonly MachineDisk[] = [];

  private constructor(tmem: TmemService | undefined) {
    // The checkout runs TypeScript, the package JavaScript.
    const ending = import.meta.url.endsWith('.ts') ? 'ts' : 'js';
    const entry = fileURLToPath(new URL(`./child/main.${ending}`, import.meta.url));
    // A session of its own: what is typed at the daemon's terminal to end the daemon does not reach its guests.
    this.#child = spawn(process.execPath, [entry], {
      stdio: ['ignore', 'ignore', 'pipe', 'pipe', 'pipe'],
      env: environment(),
      detached: true,
    });
    const received: Frame[] = [];
    const frames = new FrameReader(
      (frame) => received.push(frame),
      (id, bytes) => this.#roomFor(id, bytes),
    );
    const took = (length: number): void => {
      try {
        frames.took(length);
      } catch {
        // Only a process that is not itself any more writes what is no frame.
        this.#child.kill('SIGKILL');
        return;
      }
      for (const frame of received.splice(0)) this.#receive(frame);
    };
    const { stdio } = this.#child;
    this.#control = receiveInto(stdio[CHILD_FD.control] as Socket, { room: () => frames.room(), took });
    const asked = stdio[CHILD_FD.tmem] as Socket;
    this.#tmem =
      tmem === undefined
        ? asked
        : serveTmem(asked, tmem, (reason) => {
            this.#emitCrash(`tmem: ${reason}`);
            this.#child.kill('SIGKILL');
          });
    // A broken channel shows in the end of the process, which is reported with its reason.
    this.#control.on('error', () => this.#child.kill('SIGKILL'));
    this.#tmem.on('error', () => this.#child.kill('SIGKILL'));
    this.#child.stderr!.on('data', (piece: Buffer) => {
      this.#stderr = (this.#stderr + piece.toString()).slice(-STDERR_BYTES);
    });
    this.#gone = new Promise((resolve) => {
      const ended = (reason: string): void => {
        this.#ended(reason);
        resolve();
      };
      this.#child.on('error', (error) => ended(`it could not be started (${error.message})`));
      this.#child.on('close', (code, signal) =>
        ended(signal === null ? `exit code ${code ?? 'unknown'}` : `signal ${signal}`),
      );
    });
  }

  /**
   * Starts a process and makes the machine in it, paused and without a grant.
   * @throws MACHINE_CONFIG, DRIVER_VERSION, DRIVER_FAILED, DISK_MISMATCH, READ_FAILED, GUEST_GONE; then no process is
   * left.
   */
  static async create({ config, boot, tmem }: V86ProcessOptions): Promise<V86Process> {
    checkConfig(config);
    const machine = new V86Process(tmem);
    try {
      const { json, bytes } = encodeConfig(config);
      const start = boot === undefined ? { json: null, bytes: [] } : encodePlan(boot);
      const request = { config: json, boot: start.json, tmem: tmem !== undefined };
      const answer = await machine.#ask('create', request, [...start.bytes, ...bytes]);
      const { capabilities, disks } = answer.json as unknown as {
        capabilities: MachineCapabilities & { fingerprint: unknown };
        disks: (MachineDisk & { digest: unknown })[];
      };
      machine.#capabilities = { ...capabilities, fingerprint: fromHex(String(capabilities.fingerprint)) };
      machine.#disks = disks.map((disk) => ({
        ...disk,
        digest: disk.digest === null ? null : fromHex(String(disk.digest)),
      }));
      return machine;
    } catch (error) {
      await machine.close();
      throw error;
    }
  }

  /** Process id of the guest. */
  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get capabilities(): MachineCapabilities {
    return this.#capabilities!;
  }

  get disks(): readonly MachineDisk[] {
    return this.#disks;
  }

  get status(): MachineStatus {
    return this.#status;
  }

  async grant(epoch: number): Promise<void> {
    await this.#ask('grant', { epoch });
  }

  async revoke(): Promise<void> {
    await this.#ask('revoke');
  }

  async resume(): Promise<void> {
    await this.#ask('resume');
  }

  async pause(): Promise<void> {
    await this.#ask('pause');
  }

  async readPages(first: number, count: number): Promise<PageBatch> {
    return batchOf(await this.#ask('readPages', { first, count }));
  }

  async startScan(): Promise<void> {
    await this.#ask('startScan');
  }

  async scan(first: number, budget: ScanBudget = {}): Promise<ScanSlice> {
    const { pages = PAGE_LIMITS.scan, dirty = PAGE_LIMITS.dirty } = budget;
    const answer = await this.#ask('scan', { first, pages, dirty }, [], budget.into);
    const { json } = answer;
    // Behind the pages, so that these stand at a multiple of four.
    const zeros = 4 * Number(json['zeros']);
    const end = answer.bytes.byteLength - zeros;
    return {
      dirty: decodeBatch(json, answer.bytes.subarray(0, end)),
      zero: new Uint32Array(answer.bytes.buffer, answer.bytes.byteOffset + end, zeros / 4),
      next: Number(json['next']),
      stoppedMs: Number(json['stoppedMs']),
    };
  }

  async markDirty(pfns: Uint32Array): Promise<void> {
    await this.#ask('markDirty', {}, [new Uint8Array(pfns.slice().buffer)]);
  }

  async endScan(): Promise<void> {
    await this.#ask('endScan');
  }

  async throttle(share: number): Promise<void> {
    await this.#ask('throttle', { share });
  }

  async prepareCapture(): Promise<void> {
    await this.#ask('prepareCapture');
  }

  async capture({ resume = false }: { readonly resume?: boolean } = {}): Promise<CaptureReport> {
    const { json, bytes } = await this.#ask('capture', { resume });
    return {
      device: this.#deviceState(bytes),
      vcpus: decodeVcpus(json['vcpus']),
      copyMs: Number(json['copyMs']),
      deviceMs: Number(json['deviceMs']),
      stoppedMs: Number(json['stoppedMs']),
    };
  }

  async readCapture(first: number, count: number): Promise<PageBatch> {
    return batchOf(await this.#ask('readCapture', { first, count }));
  }

  async releaseCapture(): Promise<void> {
    await this.#ask('releaseCapture');
  }

  async captureDevices(into?: Uint8Array): Promise<DeviceReport> {
    const { json, bytes } = await this.#ask('captureDevices', {}, [], into);
    return {
      device: this.#deviceState(bytes),
      vcpus: decodeVcpus(json['vcpus']),
      deviceMs: Number(json['deviceMs']),
    };
  }

  async deviceState(): Promise<DeviceState> {
    return this.#deviceState((await this.#ask('deviceState')).bytes);
  }

  async vcpus(): Promise<readonly VcpuState[]> {
    return decodeVcpus((await this.#ask('vcpus')).json['vcpus']);
  }

  async loadPages(batch: PageBatch): Promise<void> {
    const { json, bytes } = encodeBatch(batch);
    await this.#ask('loadPages', json, bytes);
  }

  async loadDeviceState({ format, version, fingerprint, bytes }: DeviceState, wallClockMs: number): Promise<void> {
    await this.#ask('loadDeviceState', { format, version, fingerprint: toHex(fingerprint), wallClockMs }, [bytes]);
  }

  async writeConsole(bytes: Uint8Array, port = 0): Promise<void> {
    await this.#ask('writeConsole', { port }, [bytes]);
  }

  on<E extends keyof MachineEvents>(event: E, listener: MachineEvents[E]): void {
    this.#listeners[event].push(listener);
  }

  async close(): Promise<void> {
    this.#closing = true;
    // The process ends with its channel; one that cannot is ended.
    this.#control.destroy();
    this.#tmem.destroy();
    const limit = setTimeout(() => this.#child.kill('SIGKILL'), EXIT_LIMIT_MS);
    await this.#gone;
    clearTimeout(limit);
  }

  #ask(
    op: RequestName,
    json: object = {},
    bytes: readonly Uint8Array[] = [],
    into: Uint8Array | null = null,
  ): Promise<Frame> {
    if (this.#status === 'closed' || this.#closing) return Promise.reject(gone('it was closed'));
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { into, resolve, reject });
      const pieces = encodeFrame(FRAME.request, id, { op, ...json }, bytes);
      this.#control.cork();
      for (const piece of pieces) this.#control.write(piece);
      this.#control.uncork();
    });
  }

  /** Where an answer's content goes. */
  #roomFor(id: number, bytes: number): Uint8Array | null {
    const into = this.#waiting.get(id)?.into ?? null;
    return into === null || into.byteLength < bytes ? null : into.subarray(0, bytes);
  }

  #receive(frame: Frame): void {
    if (frame.kind === FRAME.event) return this.#event(frame);
    const waiting = this.#waiting.get(frame.id);
    if (waiting === undefined) return;
    this.#waiting.delete(frame.id);
    // What the child says of itself is newer than what an event said before it.
    if (this.#status !== 'closed') this.#status = frame.json['status'] as MachineStatus;
    if (frame.kind === FRAME.reply) waiting.resolve(frame);
    else waiting.reject(failureOf(frame.json));
  }

  #event({ json, bytes }: Frame): void {
    const name = json['name'];
    if (name === 'console') {
      for (const listener of this.#listeners.console) listener(bytes, Number(json['port']));
    } else if (name === 'crashed') {
      this.#emitCrash(String(json['reason']));
    } else if (name === 'halted') {
      this.#status = 'halted';
      for (const listener of this.#listeners.halted) listener();
    }
  }

  #emitCrash(reason: string): void {
    this.#status = 'crashed';
    for (const listener of this.#listeners.crashed) listener(reason);
  }

  #ended(reason: string): void {
    if (this.#status === 'closed') return;
    this.#status = 'closed';
    this.#tmem.destroy();
    const said = this.#stderr.trim();
    const why = said === '' ? reason : `${reason}; it said: ${said}`;
    for (const waiting of this.#waiting.values()) waiting.reject(gone(why));
    this.#waiting.clear();
    for (const listener of this.#listeners.closed) listener(why, this.#closing);
  }

  #deviceState(bytes: Uint8Array): DeviceState {
    const { deviceFormat: format, version, fingerprint } = this.capabilities;
    return { format, version, fingerprint, bytes };
  }
}

function batchOf({ json, bytes }: Frame): PageBatch {
  return decodeBatch(json, bytes);
}

function gone(reason: string): TransmigrateError {
  return new TransmigrateError('GUEST_GONE', `The process of this guest ended: ${reason}`, { data: { reason } });
}

/** An error of the child, as if it had been thrown here. */
function failureOf(json: Frame['json']): TransmigrateError {
  const { code, message, path, offset, data } = json as {
    code: ErrorCode;
    message: string;
    path?: string;
    offset?: number;
    data?: Record<string, unknown>;
  };
  return new TransmigrateError(Object.hasOwn(ERRORS, code) ? code : 'INTERNAL', message, {
    ...(path !== undefined && { path }),
    ...(offset !== undefined && { offset }),
    ...(data !== undefined && { data }),
  });
}
