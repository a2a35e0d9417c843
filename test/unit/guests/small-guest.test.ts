/** The small guest: it finds what is wrong with its memory and its tmem, and nothing where nothing is. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, describe, test } from 'node:test';

import { assemble, BINARY, hasNasm, SOURCE, TYPESCRIPT, typescriptOf } from '../../../guests/small/build.ts';
import {
  parseSmallGuestLine,
  SMALL_GUEST_COMMAND,
  SMALL_GUEST_POOL,
  SMALL_GUEST_RATE,
  smallGuestCommand,
  smallGuestImage,
} from '../../../src/machine/v86/boot/small-guest.ts';
import { guestMemory, V86_VERSIONS } from '../../support/v86/emulator.ts';
import {
  SMALL_GUEST_PAGES_AT,
  SMALL_GUEST_TABLE_AT,
  startSmallGuest,
  type SmallGuest,
  type SmallGuestOptions,
} from '../../support/v86/small-guest.ts';
import { TMEM_FAULTS } from '../../support/v86/tmem-host.ts';

const PAGE = 4096;
const IMAGE_AT = 0x100000;
let running: SmallGuest | undefined;

/** Starts a guest, and ends the one before, which would only take processor time from it. */
async function start(options: SmallGuestOptions = {}): Promise<SmallGuest> {
  await running?.emulator.destroy();
  running = await startSmallGuest(options);
  return running;
}

after(async () => {
  await running?.emulator.destroy();
});

describe('its bytes', () => {
  test('are those of its source', { skip: hasNasm() ? false : 'nasm is not installed' }, () => {
    assert.ok(Buffer.from(assemble(SOURCE)).equals(readFileSync(BINARY)), 'run node guests/small/build.ts');
  });

  test('are those that the package carries', () => {
    assert.equal(readFileSync(TYPESCRIPT, 'utf8'), typescriptOf(readFileSync(BINARY)));
    assert.ok(readFileSync(BINARY).equals(smallGuestImage()));
  });

  test('change where a parameter stands, and nowhere else', () => {
    const [plain, set] = [smallGuestImage(), smallGuestImage({ span: 0x01020304, spin: 7 })];
    const changed = [...plain.keys()].filter((at) => plain[at] !== set[at]);
    assert.deepEqual(changed.slice(0, 4), [0x2c, 0x2d, 0x2e, 0x2f]);
    assert.ok(changed.slice(4).every((at) => at >= 0x4c && at < 0x50));
    assert.throws(() => smallGuestImage({ span: 2 ** 32 }), { code: 'USAGE' });
    assert.throws(() => smallGuestCommand('span', 0.5), { code: 'USAGE' });
    assert.throws(() => smallGuestCommand('span', -1), { code: 'USAGE' });
  });
});

test('lines that it did not write whole are none', () => {
  const report = 'round=1 ticks=2 pages=3 bad=0 puts=0 gets=0 misses=0 flushes=0 pools=0 refused=0 tmembad=0 back=0';
  assert.equal(parseSmallGuestLine(report)?.kind, 'report');
  for (let length = 0; length < report.length - 1; length++) {
    assert.equal(parseSmallGuestLine(report.slice(0, length)), undefined, `${length} characters`);
  }
  for (const line of ['', 'ok', 'ok w=', 'ok w=12345678901', 'check pages=1', `${report} `, `x${report}`, 'hello']) {
    assert.equal(parseSmallGuestLine(line), undefined, line);
  }
  assert.deepEqual(parseSmallGuestLine('ok w=64'), { kind: 'set', letter: 'w', value: 64 });
});

for (const version of V86_VERSIONS) {
  test(`it runs in ${version}, with tmem and without`, async () => {
    for (const tmem of [false, true]) {
      const guest = await start({ version, tmem, parameters: { ...SMALL_GUEST_RATE.quick, tmemOperations: 16 } });
      const hello = parseSmallGuestLine(await guest.serial.line((line) => line.startsWith('small-guest')));
      assert.deepEqual(hello, { kind: 'hello', version: 1, memory: 1024, tmem: tmem ? 1 : 0 });
      const busy = await guest.until(({ pages, gets }) => pages > 2048 && (gets > 0 || !tmem));
      const check = await guest.check();
      assert.deepEqual([busy.bad, busy.tmembad, busy.back, check.bad, check.tmembad], [0, 0, 0, 0, 0]);
      assert.equal(check.pages, 1024);
      assert.equal(check.tmem > 0, tmem);
      assert.deepEqual(guest.tmem?.complaints ?? [], []);
      // An emulator that translates code would translate it again: no page of the image is ever written.
      const image = smallGuestImage({ ...SMALL_GUEST_RATE.quick, tmemOperations: 16 });
      const pages = guestMemory(guest.emulator).subarray(IMAGE_AT, IMAGE_AT + Math.ceil(image.length / PAGE) * PAGE);
      assert.ok(Buffer.from(pages.subarray(0, image.length)).equals(image));
      assert.ok(pages.subarray(image.length).every((byte) => byte === 0));
    }
  });
}

describe('memory', () => {
  const quiet = { ...SMALL_GUEST_RATE.quick, pagesPerRound: 1024, reportTicks: 0 };
  /** A guest that wrote all of its pages and rests. */
  async function written(): Promise<SmallGuest> {
    const guest = await start({ parameters: quiet });
    while ((await guest.report()).pages < 3000);
    guest.send(smallGuestCommand('pagesPerRound', 0));
    assert.equal((await guest.check()).bad, 0);
    return guest;
  }
  const pageAt = (page: number): number => SMALL_GUEST_PAGES_AT + page * PAGE;
  /** A page that is not one of the zero ones. */
  const busyPage = (memory: Uint8Array, from: number): number => {
    let page = from;
    while (memory[pageAt(page)] === 0 || memory[pageAt(page) + PAGE - 1] === 0) page++;
    return page;
  };

  test('a page that is lost, torn, changed in one bit, or another one is found', async () => {
    const guest = await written();
    const memory = guestMemory(guest.emulator);
    const harms: Record<string, (at: number) => void> = {
      lost: (at) => memory.fill(0, at, at + PAGE),
      torn: (at) => memory.fill(0, at + PAGE / 2, at + PAGE),
      'one bit': (at) => {
        memory[at + PAGE - 1] ^= 0x80;
      },
      another: (at) => memory.copyWithin(at, pageAt(busyPage(memory, 900)), pageAt(busyPage(memory, 900)) + PAGE),
    };
    let bad = 0;
    let page = 10;
    for (const [name, harm] of Object.entries(harms)) {
      page = busyPage(memory, page + 1);
      const saved = memory.slice(pageAt(page), pageAt(page) + PAGE);
      harm(pageAt(page));
      assert.equal((await guest.check()).bad, ++bad, name);
      memory.set(saved, pageAt(page));
      assert.equal((await guest.check()).bad, bad, 'an error count stays');
      assert.ok(guest.serial.lines.some((line) => line.startsWith(`fault page=${page} `)));
    }
    const { pages } = await guest.report();
    guest.send(smallGuestCommand('pagesPerRound', 1024));
    while ((await guest.report()).pages < pages + 1024);
    assert.equal((await guest.report()).bad, bad, 'what was put right again is right');
  });

  test('an old page is found, and so is one that went back together with its part of the table', async () => {
    const guest = await written();
    const memory = guestMemory(guest.emulator);
    const page = busyPage(memory, 100);
    const entry = SMALL_GUEST_TABLE_AT + page * 4;
    const old = memory.slice(pageAt(page), pageAt(page) + PAGE);
    const oldEntry = memory.slice(entry, entry + 4);
    guest.send(smallGuestCommand('pagesPerRound', 1024));
    const before = (await guest.report()).pages;
    while ((await guest.report()).pages < before + 2048);
    guest.send(smallGuestCommand('pagesPerRound', 0));
    const { bad } = await guest.check();
    assert.equal(bad, 0);
    memory.set(old, pageAt(page));
    assert.equal((await guest.check()).bad, 1);
    memory.set(oldEntry, entry);
    assert.equal((await guest.check()).bad, 2);
  });

  test('it is as fast as it is told, and a flood is much faster than quick', async () => {
    const guest = await start({ parameters: { ...SMALL_GUEST_RATE.slow, reportTicks: 1 } });
    const rate = async (): Promise<number> => {
      const from = await guest.report();
      const to = await guest.until(({ ticks }) => ticks >= from.ticks + 50);
      return (to.pages - from.pages) / (to.ticks - from.ticks);
    };
    const rates: Record<string, number> = {};
    for (const [name, settings] of Object.entries(SMALL_GUEST_RATE)) {
      for (const [setting, value] of Object.entries(settings)) {
        guest.send(smallGuestCommand(setting as keyof typeof settings, value));
      }
      await guest.serial.line((line) => line === `ok d=${settings.strideBytes}`, guest.serial.lines.length);
      rates[name] = await rate();
    }
    // Pages a tick: 16 in 10 ticks, 64 in each, and as many as go.
    assert.ok(rates['slow'] > 0.5 && rates['slow'] < 3, JSON.stringify(rates));
    assert.ok(rates['quick'] > 10 * rates['slow'] && rates['quick'] < 100, JSON.stringify(rates));
    assert.ok(rates['flood'] > 10 * rates['quick'], JSON.stringify(rates));
    assert.equal((await guest.check()).bad, 0);
  });
});

describe('tmem', () => {
  const busy = { paceTicks: 1, pagesPerRound: 8, tmemOperations: 64, reportTicks: 2 };

  test('each pool is used, and every operation', async () => {
    const guest = await start({ tmem: true, parameters: busy });
    await guest.until(({ gets, flushes, pools }) => gets > 500 && flushes > 100 && pools > 10);
    const { complaints, pools, requests } = guest.tmem!;
    assert.deepEqual(complaints, []);
    const { persistent, precompressed } = SMALL_GUEST_POOL;
    const flags = [...pools.values()].map((pool) => pool.flags & 7);
    for (const wanted of [persistent, 0, persistent | precompressed]) assert.ok(flags.includes(wanted), `${wanted}`);
    for (const [name, count] of Object.entries(requests)) assert.ok(count > 0, name);
    const { gets, puts, pools: made, tmembad } = await guest.report();
    assert.equal(tmembad, 0);
    assert.ok(puts <= requests.put && gets <= requests.get && made <= requests.newPool);
  });

  test('a host that answers later is waited for, while the guest goes on', async () => {
    const guest = await start({
      tmem: (complete) => setTimeout(complete, 3),
      parameters: { ...busy, tmemOperations: 4 },
    });
    const { tmembad, bad, pages } = await guest.until(({ gets, puts }) => gets > 3 && puts > 10);
    assert.deepEqual([tmembad, bad], [0, 0]);
    assert.ok(pages > 0);
    const { tmem } = await guest.check();
    assert.ok(tmem > 0);
    assert.deepEqual(guest.tmem!.complaints, []);
  });

  test('ephemeral pages that the host drops are misses and not errors', async () => {
    const guest = await start({ tmem: true, parameters: { ...busy, pools: SMALL_GUEST_POOL.ephemeral } });
    await guest.until(({ gets }) => gets > 20);
    guest.tmem!.evicting = true;
    const before = await guest.report();
    const now = await guest.until(({ misses }) => misses > before.misses + 50);
    assert.equal(now.tmembad, 0);
    assert.equal(now.gets, before.gets, 'nothing is there any more');
  });

  for (const refusal of [-12, -28, -1000]) {
    test(`a refusal (${refusal}) is no error, and it goes on when the host takes pages again`, async () => {
      const guest = await start({ tmem: true, parameters: busy });
      await guest.until(({ puts }) => puts > 200);
      guest.tmem!.refusal = refusal;
      const refused = await guest.until((report) => report.refused > 100);
      guest.tmem!.refusal = undefined;
      const now = await guest.until(({ puts, gets }) => puts > refused.puts + 200 && gets > refused.gets + 50);
      assert.equal(now.tmembad, 0);
      assert.equal((await guest.check()).tmembad, 0);
    });
  }

  for (const fault of TMEM_FAULTS) {
    test(`a host that ${fault} is found out`, async () => {
      const guest = await start({ tmem: true, parameters: { ...busy, tmemPages: 16 } });
      const { tmembad } = await guest.until(({ gets }) => gets > 100);
      assert.equal(tmembad, 0);
      // A fault may pass by unseen, e.g. when the page is put again before it is read: it is done until it is found.
      let found = false;
      for (let i = 0; i < 200 && !found; i++) {
        guest.tmem!.fault = fault;
        found = (await guest.until(() => true)).tmembad > 0;
      }
      assert.ok(found);
      guest.tmem!.fault = undefined;
      await guest.serial.line((line) => line.startsWith('fault tmem '));
    });
  }
});

test('what it cannot do, it says', async () => {
  const guest = await start({ parameters: { reportTicks: 0 } });
  await guest.serial.line((line) => line.startsWith('round=0'));
  const from = guest.serial.lines.length;
  for (const command of [
    'z\n',
    'w\n',
    'w1x\n',
    '9\n',
    'w12',
    '0\r\n',
    '\n',
    'd5\n',
    'd9999\n',
    'm7\n',
    's99999999\n',
  ]) {
    guest.send(command);
  }
  await guest.serial.line((line) => line.startsWith('ok s='), from);
  assert.deepEqual(guest.serial.lines.slice(from), [
    'error',
    'error',
    'error',
    'error',
    'ok w=120',
    'ok d=4',
    'ok d=1024',
    'ok m=8',
    'ok s=1024',
  ]);
  guest.send(SMALL_GUEST_COMMAND.report);
  await guest.serial.line((line) => line.startsWith('round='), from);
});
