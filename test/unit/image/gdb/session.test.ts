/** What gdb asks, and what a saved machine answers (spec/debug.md 4). */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { architectureOf } from '../../../../src/image/gdb/architecture.ts';
import { latin1, packet, PACKET_BYTES, PacketReader, textPacket } from '../../../../src/image/gdb/packet.ts';
import { serveGdb } from '../../../../src/image/gdb/serve.ts';
import { GdbSession } from '../../../../src/image/gdb/session.ts';
import type { OpenedImage } from '../../../../src/image/open/opened-image.ts';
import { GENERAL } from '../../../../src/stream/records/vcpu.ts';
import { FakeMemory, fakeImage, fakeVcpu, PAGE } from '../../../support/image/fake-image.ts';
import { random } from '../../../support/random.ts';
import { testSeed } from '../../../support/seed.ts';

/** Every general register is another number. */
const REGISTERS = {
  ...Object.fromEntries(GENERAL.map((name, i) => [name, 0x1122_3344_5566_7700n + BigInt(i)])),
  rflags: 0x246n,
  cr0: 0x8005_0033n,
  cr2: 0x7fffn,
  cr3: 0x1000n,
  cr4: 0x6f0n,
  efer: 0xd01n,
};

function memory(): FakeMemory {
  const made = new FakeMemory();
  made.put64(0x1000 + 8 * 511, 0x2063n);
  made.put64(0x2000 + 8 * 510, 0x3063n);
  // ffffffff81000000 is 2 MiB at 0x200000.
  made.put64(0x3000 + 8 * 8, 0x20_00e3n);
  made.put(0x20_0000, latin1('first bytes of a kernel'));
  return made;
}

function image(changes: Partial<OpenedImage> = {}): OpenedImage {
  const vcpus = [
    fakeVcpu(REGISTERS, { vcpu: 0, csAttributes: 0xa9b }),
    fakeVcpu({ rip: 1n }, { vcpu: 2, online: false, segments: null }),
    fakeVcpu({ ...REGISTERS, rax: 7n, cr3: 0x8000n }, { vcpu: 10, halted: true }),
  ];
  return { ...fakeImage(memory(), { vcpus }), ...changes };
}

/** Asks one thing after the other, and gives the contents of the answers. */
async function ask(session: GdbSession, ...questions: string[]): Promise<string[]> {
  const answers: string[] = [];
  for (const question of questions) answers.push(...(await session.answer(latin1(question))).packets);
  return answers;
}

function hex(text: string): string {
  return Buffer.from(text, 'latin1').toString('hex');
}

/** What `monitor` prints. */
async function monitor(session: GdbSession, command: string): Promise<string> {
  const packets = await ask(session, `qRcmd,${hex(command)}`);
  assert.equal(packets.pop(), 'OK');
  for (const one of packets) assert.match(one, /^O(?:[0-9a-f]{2})+$/);
  return packets.map((one) => Buffer.from(one.slice(1), 'hex').toString('latin1')).join('');
}

describe('a session', () => {
  it('is refused where there are no vCPUs', () => {
    assert.throws(() => new GdbSession(image({ vcpus: [] })), { code: 'IMAGE_UNFIT' });
  });

  it('says what it can do, and of the rest that it can not', async () => {
    const session = new GdbSession(image());
    assert.deepEqual(await ask(session, 'qSupported:multiprocess+;swbreak+', 'QStartNoAckMode'), [
      'PacketSize=4000;qXfer:features:read+;QStartNoAckMode+',
      'OK',
    ]);
    const unknown = [
      'vMustReplyEmpty',
      'qTStatus',
      'qOffsets',
      'vCont?',
      'Z0,1,1',
      '!',
      '',
      'qXfer:auxv:read::0,1',
      'z',
    ];
    assert.deepEqual(
      await ask(session, ...unknown),
      unknown.map(() => ''),
    );
    assert.deepEqual(await ask(session, 'qAttached', 'qSymbol::'), ['1', 'OK']);
  });

  it('has a thread for each vCPU', async () => {
    const session = new GdbSession(image());
    assert.deepEqual(await ask(session, '?', 'qC', 'qfThreadInfo', 'qsThreadInfo'), [
      'T05thread:1;',
      'QC1',
      'm1,3,b',
      'l',
    ]);
    assert.deepEqual(
      await ask(session, 'T1', 'Tb', 'T2', 'T', 'Tzz', 'Hgb', 'qC', 'Hg2', 'qC', 'Hg0', 'Hg-1', 'Hc-1'),
      ['OK', 'OK', 'E03', 'E03', 'E03', 'OK', 'QCb', 'E03', 'QCb', 'OK', 'OK', 'OK'],
    );
    assert.deepEqual(await ask(session, 'qThreadExtraInfo,1', 'qThreadExtraInfo,3', 'qThreadExtraInfo,b'), [
      hex('vCPU 0'),
      hex('vCPU 2 [offline]'),
      hex('vCPU 10 [halted]'),
    ]);
  });

  it('lists many threads in several answers', async () => {
    const vcpus = Array.from({ length: 600 }, (_, vcpu) => fakeVcpu({}, { vcpu }));
    const answers = await ask(
      new GdbSession(image({ vcpus })),
      'qfThreadInfo',
      ...Array<string>(4).fill('qsThreadInfo'),
    );
    assert.deepEqual(answers.slice(3), ['l', 'l']);
    const ids = answers.slice(0, 3).flatMap((one) => one.slice(1).split(','));
    assert.deepEqual(
      ids,
      vcpus.map(({ vcpu }) => (vcpu + 1).toString(16)),
    );
  });

  it('gives registers in the order of its description, one by one and together', async () => {
    const session = new GdbSession(image());
    const [all = ''] = await ask(session, 'g');
    const { registers } = session.architecture;
    let at = 0;
    for (const [i, { name, bytes }] of registers.entries()) {
      const [one = ''] = await ask(session, `p${i.toString(16)}`);
      assert.equal(one, all.slice(at, at + 2 * bytes), name);
      at += 2 * bytes;
    }
    assert.equal(at, all.length);
    assert.deepEqual(await ask(session, `p${registers.length.toString(16)}`, 'p', 'p-1', 'pzz'), [
      'E16',
      'E16',
      'E16',
      'E16',
    ]);
    const value = async (name: string): Promise<string | undefined> =>
      (await ask(session, `p${registers.findIndex((one) => one.name === name).toString(16)}`))[0];
    assert.equal(await value('rax'), '0077665544332211');
    assert.equal(await value('rbx'), '0177665544332211');
    assert.equal(await value('rip'), '1077665544332211');
    assert.equal(await value('eflags'), '46020000');
    assert.equal(await value('cs'), '10000000');
    assert.equal(await value('fs_base'), '0000000000000000');
    assert.equal(await value('cr0'), '3300058000000000');
    assert.equal(await value('cr8'), 'x'.repeat(16));
    assert.equal(await value('st0'), 'x'.repeat(20));
    await ask(session, 'Hgb');
    assert.equal(await value('rax'), '0700000000000000');
    await ask(session, 'Hg3');
    // An incomplete group counts register by register: what is there is shown.
    assert.equal(await value('rip'), '0100000000000000');
    assert.equal(await value('rax'), 'x'.repeat(16));
    assert.equal(await value('cs'), 'xxxxxxxx');
  });

  it('takes x87 and SSE registers from an FXSAVE image', async () => {
    const content = new Uint8Array(512);
    const view = new DataView(content.buffer);
    view.setUint16(0, 0x37f, true);
    // TOP is 6: ST(0) is register 6, ST(1) register 7; those two are in use, and register 0, a NaN.
    view.setUint16(2, 6 << 11, true);
    content[4] = 0b1100_0001;
    view.setUint32(24, 0x1f80, true);
    view.setBigUint64(32, 1n << 63n, true);
    view.setUint16(40, 0x3fff, true);
    view.setBigUint64(64, 3n << 62n, true);
    view.setUint16(72, 0x7fff, true);
    content.fill(0xab, 160 + 16 * 15, 160 + 16 * 16);
    const vcpuStates = [
      { vcpu: 10, stateKind: 1, content },
      { vcpu: 0, stateKind: 3, content },
    ];
    const session = new GdbSession(image({ vcpuStates }));
    const value = async (name: string): Promise<string | undefined> => {
      const at = session.architecture.registers.findIndex((one) => one.name === name);
      return (await ask(session, `p${at.toString(16)}`))[0];
    };
    assert.equal(await value('xmm15'), 'x'.repeat(32), 'that of another vCPU');
    await ask(session, 'Hgb');
    assert.equal(await value('xmm15'), 'ab'.repeat(16));
    assert.equal(await value('mxcsr'), '801f0000');
    assert.equal(await value('fctrl'), '7f030000');
    assert.equal(await value('st0'), '0000000000000080ff3f');
    // Register 7 zero, 6 valid, 5 to 1 empty, 0 special.
    assert.equal(await value('ftag'), 'fe4f0000');
  });

  it('reads memory through the page tables of the thread', async () => {
    const session = new GdbSession(image());
    const kernel = hex('first bytes of a kernel');
    assert.deepEqual(await ask(session, 'mffffffff81000000,5', 'mffffffff81000006,1'), [
      kernel.slice(0, 10),
      kernel.slice(12, 14),
    ]);
    // The page after it is not in the image.
    assert.deepEqual(await ask(session, 'mffffffff81000ffe,8', 'mffffffff81001000,1', 'm0,1'), ['0000', 'E0e', 'E0e']);
    assert.deepEqual(
      await ask(session, 'm', 'm1', 'mx,1', 'm1,', 'm11111111111111111,1', 'm1,111111111'),
      Array(6).fill('E16'),
    );
    assert.deepEqual(await ask(session, 'Hgb', 'mffffffff81000000,5', 'Hg3', 'mffffffff81000000,5'), [
      'OK',
      'E0e',
      'OK',
      'E0e',
    ]);
    const [long = ''] = await ask(session, 'Hg1', 'mffffffff81000000,ffffffff').then((answers) => answers.slice(1));
    assert.equal(long.length, 2 * PAGE);
    assert.ok(long.length <= PACKET_BYTES);
  });

  it('changes nothing, and runs nothing', async () => {
    const session = new GdbSession(image());
    assert.deepEqual(await ask(session, 'M0,1:00', 'X0,1:a', 'G00', 'P0=00'), Array(4).fill('E1e'));
    for (const run of ['c', 's', 'C05', 'S05', 'vCont;c', 'vCont;s:1;c']) {
      assert.deepEqual(await ask(session, run), [
        `O${hex('This is a saved image: it does not run.\n')}`,
        'T00thread:1;',
      ]);
    }
    assert.deepEqual(await session.answer(latin1('D')), { packets: ['OK'], ends: true });
    assert.deepEqual(await session.answer(latin1('k')), { packets: [], ends: true });
    assert.deepEqual(await session.answer(latin1('vKill;1')), { packets: ['OK'], ends: true });
  });

  it('hands out its description in parts', async () => {
    const session = new GdbSession(image());
    const [first = '', second = '', none] = await ask(
      session,
      'qXfer:features:read:target.xml:0,100',
      'qXfer:features:read:target.xml:100,ffffffff',
      'qXfer:features:read:target.xml:fffff,10',
    );
    assert.equal(first[0], 'm');
    assert.equal(first.length, 257);
    assert.equal(second[0], 'l');
    assert.equal(none, 'l');
    const xml = first.slice(1) + second.slice(1);
    assert.match(xml, /<architecture>i386:x86-64<\/architecture>/);
    assert.equal(xml.match(/<reg /g)?.length, session.architecture.registers.length);
    assert.deepEqual(await ask(session, 'qXfer:features:read:other.xml:0,1', 'qXfer:features:write:target.xml:0:'), [
      'E00',
      'E00',
    ]);
  });

  it('answers monitor', async () => {
    const session = new GdbSession(image());
    assert.match(await monitor(session, 'help'), /^phys ADDRESS LENGTH/);
    assert.match(await monitor(session, ''), /^phys ADDRESS LENGTH/);
    assert.match(await monitor(session, 'phys 0x200000 23'), /\|first bytes of a\|\n.*\| kernel\|\n$/);
    assert.match(
      await monitor(session, 'phys 2101240 16'),
      /^0000000000200ff8 .*\n0x201000: page 0x201 is not in the image\n$/,
    );
    assert.match(await monitor(session, 'phys 0 4097'), /at most 4096/);
    assert.equal(
      await monitor(session, 'translate 0xffffffff81001234'),
      'vCPU 0: 0xffffffff81001234 is physical 0x201234 (page of 2097152 bytes, entry 0x2000e3)\n',
    );
    assert.match(
      await monitor(session, 'translate 0x1000 10'),
      /^vCPU 10: 0x1000: the table with the PML4E at physical 0x8000/,
    );
    assert.match(await monitor(session, 'vcpu'), /^vCPU 0: running; paging 4-level, tables at 0x1000\n/);
    assert.match(await monitor(session, 'vcpu 2'), /^vCPU 2: offline; paging unknown: no cr0, cr3, cr4\n/);
    assert.match(await monitor(session, 'vcpu 1'), /no such vCPU/);
    for (const wrong of ['quit', 'phys', 'phys x y', 'phys 1', 'vcpu x', 'translate', 'vcpu 1 2', 'phys 1 2 3']) {
      assert.match(await monitor(session, wrong), /^this is no command/, wrong);
    }
    assert.match(await monitor(session, 'x'.repeat(300)), /too long/);
    assert.deepEqual(await ask(session, 'qRcmd,zz', 'qRcmd,1'), ['E16', 'E16']);
  });
});

describe('the architecture', () => {
  const name = (registers: Record<string, bigint>, head: object = {}, changes = {}): string =>
    architectureOf(fakeImage(new FakeMemory(), { head, vcpus: [fakeVcpu(registers, changes)] })).name;

  it('is that of the mode', () => {
    assert.equal(name({ cr0: 0x10n, efer: 0n }), 'i8086');
    assert.equal(name({ cr0: 0x11n, efer: 0n }), 'i386');
    assert.equal(name({ cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n }), 'i386:x86-64');
    assert.equal(name({}, { domainType: 'pv', wordBits: 64 }), 'i386:x86-64');
    assert.equal(name({}, { domainType: 'pv', wordBits: 32 }), 'i386');
    assert.equal(name({}), 'i386');
  });

  it('is the widest of the vCPUs that are online', () => {
    const long = { cr0: 0x8000_0011n, cr4: 0x20n, efer: 0x500n };
    const of = (...vcpus: OpenedImage['vcpus']): string => architectureOf(fakeImage(new FakeMemory(), { vcpus })).name;
    assert.equal(of(fakeVcpu({ cr0: 0x10n }), fakeVcpu(long, { vcpu: 1 })), 'i386:x86-64');
    assert.equal(of(fakeVcpu({ cr0: 0x10n }), fakeVcpu(long, { vcpu: 1, online: false })), 'i8086');
    assert.equal(of(fakeVcpu(long, { online: false })), 'i386:x86-64');
  });
});

describe('a conversation', () => {
  /** Sends bytes in pieces. @returns what came back, as one text */
  async function converse(
    text: string | Uint8Array,
    pieceBytes = 1000,
    most = Number.POSITIVE_INFINITY,
  ): Promise<string> {
    const bytes = typeof text === 'string' ? latin1(text) : text;
    async function* pieces(): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += pieceBytes) yield bytes.slice(at, at + pieceBytes);
    }
    let out = '';
    let sent = 0;
    await serveGdb(new GdbSession(image()), pieces(), (part) => {
      out += Buffer.from(part).toString('latin1');
      sent += 1;
      return Promise.resolve(sent < most);
    });
    return out;
  }

  it('acknowledges until it need not, and repeats what got lost', async () => {
    assert.equal(await converse('$T1#85+'), '+$OK#9a');
    assert.equal(await converse('$T1#85--'), '+$OK#9a$OK#9a$OK#9a');
    assert.equal(await converse('$T1#86$T1#85'), '-+$OK#9a');
    const quiet = Buffer.from(textPacket('QStartNoAckMode')).toString('latin1');
    assert.equal(await converse(`${quiet}+$T1#85-$T1#86$T1#85`), '+$OK#9a$OK#9a$OK#9a');
  });

  it('ends with D, and when nobody reads', async () => {
    assert.equal(await converse('$D#44$T1#85'), '+$OK#9a');
    assert.equal(await converse('$k#6b$T1#85'), '+');
    assert.equal(await converse('$T1#85$T1#85', 1, 2), '+$OK#9a');
  });

  it('with anything at all ends without an error, and answers in packets that are sound and not too long', async () => {
    const seed = testSeed();
    const generator = random(`gdb ${seed}`);
    const starts = [
      'g',
      'p',
      'm',
      'M',
      'X',
      'G',
      'P',
      'H',
      'Hg',
      'T',
      'c',
      's',
      'vCont',
      'qRcmd,',
      'qThreadExtraInfo,',
      'qSupported',
      'qXfer:features:read:target.xml:',
      'qfThreadInfo',
      'qsThreadInfo',
      'qC',
      '?',
      'mffffffff81000000,',
      '',
      `qRcmd,${hex('phys ')}`,
      `qRcmd,${hex('translate 0x')}`,
      `qRcmd,${hex('vcpu ')}`,
    ];
    for (let run = 0; run < 200; run++) {
      const parts: Uint8Array[] = [];
      for (let i = 0; i < 12; i++) {
        const digits = Array.from({ length: generator.below(20) }, () =>
          generator.pick('0123456789abcdef,;:-'.split('')),
        );
        const noise = generator.scramble(new Uint8Array(generator.below(10)));
        const content = Buffer.concat([latin1(generator.pick(starts) + digits.join('')), noise]);
        const one = generator.below(4) === 0 ? noise : packet(content);
        if (generator.below(8) === 0) one[generator.below(one.length)] = generator.below(256);
        parts.push(one);
      }
      const out = await converse(new Uint8Array(Buffer.concat(parts)), 1 + generator.below(50));
      const answers = [...new PacketReader().feed(latin1(out))];
      for (const one of answers) {
        if (one.kind === 'packet') assert.ok(one.sound, `SEED=${seed} run ${run}`);
      }
    }
  });
});
