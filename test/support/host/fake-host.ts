/** A host of machines without guests, with a real tmem engine. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromUuid } from '../../../src/bytes/hex.ts';
import { TransmigrateError, type ErrorCode } from '../../../src/errors.ts';
import { createSchema, parse, type CreateChoice, type SaveChoice } from '../../../src/host/api.ts';
import type { Driver, Made } from '../../../src/host/driver.ts';
import { Host } from '../../../src/host/host.ts';
import { HostTmem } from '../../../src/host/host-tmem.ts';
import type { TmemPolicy } from '../../../src/tmem/policy.ts';
import type { MachineDisk, TmemService } from '../../../src/machine/machine.ts';
import type { ImageClaims } from '../../../src/migrate/restore/image-claims.ts';
import { random } from '../random.ts';
import { FAKE_PAGE, FakeMachine, open } from './fake-machine.ts';

export class FakeDriver implements Driver {
  readonly kinds = [{ name: 'fake', versions: ['1.0'], pageBytes: FAKE_PAGE, deviceBytes: 8, tmem: true }];
  readonly made: FakeMachine[] = [];
  disks: readonly MachineDisk[] = [];
  version = '1.0';
  /** Called with each machine before it is handed on. */
  prepare: (machine: FakeMachine) => void | Promise<void> = () => undefined;

  async create(choice: CreateChoice, tmem: TmemService | null): Promise<Made> {
    return this.#make(choice.memoryMiB * 2 ** 20, tmem, true);
  }

  async forImage({ driver, memoryBytes }: ImageClaims, tmem: TmemService | null): Promise<Made> {
    if (driver !== 'fake') throw new TransmigrateError('DRIVER_VERSION', `There is no driver ${driver}`);
    return this.#make(memoryBytes, tmem, false);
  }

  async #make(memoryBytes: number, tmem: TmemService | null, full: boolean): Promise<Made> {
    const { disks, version } = this;
    const machine = new FakeMachine({ pages: memoryBytes / FAKE_PAGE, tmem, disks, version });
    if (full) machine.fill('memory');
    this.made.push(machine);
    await this.prepare(machine);
    return { machine, configuration: { memoryBytes }, mostDeviceBytes: 1024 };
  }

  get last(): FakeMachine {
    return this.made.at(-1)!;
  }
}

export interface FakeHost {
  readonly host: Host;
  readonly driver: FakeDriver;
  readonly tmem: HostTmem;
}

export function fakeHost(tmemBytes = 4 * 2 ** 20, policy: TmemPolicy = {}): FakeHost {
  const driver = new FakeDriver();
  const tmem = new HostTmem(tmemBytes, 1, policy);
  return { host: new Host({ version: '0.0.0', driver, tmem }), driver, tmem };
}

export function choiceOf(changes: object = {}): CreateChoice {
  return parse(createSchema, { boot: { kind: 'small' }, memoryMiB: 4, ...changes });
}

export function saveOf(changes: Partial<SaveChoice> = {}): SaveChoice {
  return { after: 'run', codec: 'raw', live: false, ...changes };
}

const PERSISTENT = 1;
const SHARED = 2;
const PRECOMPRESSED = 4;

/** Kinds of pools, by their flags (hypercall 4.1). */
export const POOLS = {
  persistent: PERSISTENT,
  ephemeral: 0,
  precompressed: PERSISTENT | PRECOMPRESSED,
  /** Of pages that the engine stores compressed. */
  compressible: PERSISTENT,
} as const;

/** A guest's tmem, asked by descriptors. */
export class FakeTmem {
  readonly #service: TmemService;
  readonly #descriptor = new Uint8Array(64);
  readonly #page = new Uint8Array(FAKE_PAGE);

  constructor(machine: FakeMachine) {
    this.#service = machine.tmem!;
  }

  /** Makes a pool and puts random pages of it. @returns its slot */
  fill(kind: keyof typeof POOLS, pages: number): number {
    const slot = this.#ask(1, POOLS[kind] | (1 << 24), 0, 0);
    assert.ok(slot >= 0, `pool: ${slot}`);
    for (let page = 0; page < pages; page++) {
      this.#page.set(content(kind, page));
      const length = kind === 'precompressed' ? 100 + page : 0;
      assert.equal(this.#ask(3, slot, page, length), 1, `put ${page}`);
    }
    return slot;
  }

  /** Makes or joins a shared persistent pool. @returns its slot */
  share(uuid: string): number {
    const slot = this.#ask(1, PERSISTENT | SHARED | (1 << 24), 0, 0, fromUuid(uuid));
    assert.ok(slot >= 0, `shared pool: ${slot}`);
    return slot;
  }

  /** Checks what {@link fill} put. An ephemeral page goes with its get. */
  check(kind: keyof typeof POOLS, slot: number, pages: number): void {
    for (let page = 0; page < pages; page++) {
      this.#page.fill(0);
      assert.equal(this.#ask(4, slot, page, 0), 1, `${kind}: get ${page}`);
      const length = kind === 'precompressed' ? 100 + page : FAKE_PAGE;
      assert.deepEqual(
        this.#page.subarray(0, length),
        content(kind, page).subarray(0, length),
        `${kind}: page ${page}`,
      );
    }
  }

  flush(slot: number, page: number): number {
    return this.#ask(5, slot, page, 0);
  }

  #ask(operation: number, pool: number, index: number, length: number, object?: Uint8Array): number {
    const view = new DataView(this.#descriptor.fill(0).buffer);
    if (object !== undefined) this.#descriptor.set(object, 16);
    view.setUint32(0, operation, true);
    view.setUint32(12, pool, true);
    view.setUint32(40, index, true);
    view.setUint32(44, length, true);
    return this.#service(this.#descriptor, this.#page);
  }
}

function content(kind: string, page: number): Uint8Array {
  if (kind === 'compressible') return new Uint8Array(FAKE_PAGE).map((_, at) => (at % 64 === 0 ? at >> 6 : page + 1));
  return random(`${kind} ${page}`).scramble(new Uint8Array(FAKE_PAGE));
}

/** Nothing is held of anything that is over: no pins, readers, copies. */
export function assertSettled({ tmem, driver }: FakeHost): void {
  const statistics = tmem.statistics();
  assert.deepEqual([statistics?.pinnedPages ?? 0, statistics?.readers ?? 0], [0, 0], 'tmem that stays pinned');
  for (const machine of driver.made) if (open.has(machine)) assert.equal(machine.captured, false, 'a copy that stays');
}

/** Nothing of a guest is there: no machine, client, page, name. */
export function assertEmpty(fake: FakeHost): void {
  const statistics = fake.tmem.statistics();
  assert.deepEqual(fake.host.list(), []);
  assert.deepEqual(
    fake.driver.made.filter((machine) => open.has(machine)),
    [],
    'machines that stay',
  );
  if (statistics === undefined) return;
  assert.deepEqual([statistics.clients.length, statistics.pages, statistics.pinnedPages], [0, 0, 0], 'tmem that stays');
}

/** For `assert.rejects`: an error of the closed table with this code. */
export function code(wanted: ErrorCode): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof TransmigrateError, String(error));
    assert.equal(error.code, wanted, error.message);
    return true;
  };
}

/** A directory for a test file, which goes with it. */
export function scratch(after: (clean: () => void) => void): { readonly path: string; list(): string[] } {
  const path = mkdtempSync(join(tmpdir(), 'tmig-'));
  after(() => rmSync(path, { recursive: true, force: true }));
  return { path, list: () => readdirSync(path).toSorted() };
}
