/**
 * A host as `host run` makes one, in a process of its own, that looks at each guest while it stands still for its
 * migration and before it runs where it came to. Prints a line of JSON each time.
 *
 *   node digesting-host.ts SOCKET STATE
 */
import { Host } from '../../../src/host/host.ts';
import { HostTmem, type TmemSeat } from '../../../src/host/host-tmem.ts';
import { HostJournal } from '../../../src/host/migration/host-journal.ts';
import { serve } from '../../../src/host/server.ts';
import { V86Driver } from '../../../src/host/v86-driver.ts';
import type { Driver, Made } from '../../../src/host/driver.ts';
import { verifyImage } from '../../../src/image/verify.ts';
import { MemorySink, memorySource } from '../../../src/io/memory.ts';
import type { Machine, MachineSource, TmemService } from '../../../src/machine/machine.ts';
import { saveMachine } from '../../../src/migrate/save/save.ts';

/** What a guest held when nothing of it could change. */
export interface HeldStill {
  /** `pause`: at the source, where nothing is to come any more. `resume`: at the destination, where it never ran. */
  readonly at: 'pause' | 'resume';
  readonly memory: { readonly pages: number; readonly sha256: string };
  readonly tmem: { readonly pages: number; readonly pools: number; readonly sha256: string };
}

/** Tells which client each service is of. */
class SeenTmem extends HostTmem {
  readonly clients = new Map<TmemService, number>();

  override seat(): TmemSeat {
    const seat = super.seat();
    this.clients.set(seat.service, seat.client);
    return seat;
  }
}

class SeenDriver implements Driver {
  readonly kinds;
  readonly #tmem: SeenTmem;
  readonly #driver = new V86Driver();

  constructor(tmem: SeenTmem) {
    this.#tmem = tmem;
    this.kinds = this.#driver.kinds;
  }

  async create(...[choice, service]: Parameters<Driver['create']>): Promise<Made> {
    return this.#seen(await this.#driver.create(choice, service), service, false);
  }

  async forImage(...[claims, service]: Parameters<Driver['forImage']>): Promise<Made> {
    return this.#seen(await this.#driver.forImage(claims, service), service, true);
  }

  #seen(made: Made, service: TmemService | null, came: boolean): Made {
    const { machine } = made;
    const pause = machine.pause.bind(machine);
    const resume = machine.resume.bind(machine);
    const say = async (at: HeldStill['at']): Promise<void> => {
      const { memory, tmem } = await held(machine, this.#tmem, this.#tmem.clients.get(service!)!);
      console.log(JSON.stringify({ at, memory, tmem }));
    };
    let resumed = !came;
    Object.assign(machine, {
      pause: async () => {
        await pause();
        await say('pause');
      },
      resume: async () => {
        if (!resumed) await say('resume');
        resumed = true;
        await resume();
      },
    });
    return made;
  }
}

/** Digests as `verify --digest` prints them, of a machine that stands still; its rounds are not disturbed. */
async function held(machine: Machine, tmem: SeenTmem, client: number): Promise<Omit<HeldStill, 'at'>> {
  const still: MachineSource = {
    capabilities: machine.capabilities,
    disks: machine.disks,
    get status() {
      return machine.status;
    },
    pause: () => Promise.resolve(),
    resume: () => Promise.resolve(),
    prepareCapture: () => Promise.resolve(),
    capture: async () => ({ ...(await machine.captureDevices()), copyMs: 0, stoppedMs: 0 }),
    readCapture: (first, count) => machine.readPages(first, count),
    releaseCapture: () => Promise.resolve(),
  };
  const sink = new MemorySink();
  await saveMachine(
    {
      machine: still,
      running: false,
      leavePaused: true,
      about: { name: 'seen', uuid: '00000000-0000-4000-8000-000000000000', time: new Date().toISOString() },
      streamId: new Uint8Array(16),
      codec: 'raw',
      threads: 0,
      pinTmem: () => tmem.pin(client),
      guestTimeNs: () => 0n,
    },
    sink,
  );
  const seen = await verifyImage([memorySource(sink.bytes())], { digest: true });
  if (seen.verdict !== 'sound') throw new Error(`what was seen is ${seen.verdict}`);
  return { memory: seen.memory!, tmem: seen.tmem! };
}

if (import.meta.main) {
  const [socket, state] = process.argv.slice(2);
  const tmem = new SeenTmem(64 * 2 ** 20, 1);
  const journal = await HostJournal.open(state);
  const host = new Host({ version: '0.0.0', driver: new SeenDriver(tmem), tmem, journal });
  await serve(host, socket);
  host.migrations.recover();
  process.once('SIGTERM', () => {
    void host
      .close()
      .then(() => journal.close())
      .then(() => process.exit(0));
  });
}
