/** What gdb asks, and what a saved machine answers (debug 4). Knows packets' contents, and no stream. */
import { toHex } from '../../bytes/hex.ts';
import { TransmigrateError } from '../../errors.ts';
import type { VcpuX86 } from '../../stream/records/vcpu.ts';
import { MachineMemory } from '../memory/open-memory.ts';
import { readVirtual } from '../memory/read.ts';
import type { OpenedImage } from '../open/opened-image.ts';
import { architectureOf, fxsaveOf, type Architecture } from './architecture.ts';
import { monitor } from './monitor.ts';
import { latin1, PACKET_BYTES } from './packet.ts';
import { registerHex } from './registers.ts';
import { targetXml } from './target-xml.ts';

/** An answer: the contents of packets, in order; and what changes. */
export interface Answer {
  readonly packets: readonly string[];
  /** From now on nothing is acknowledged. */
  readonly noAcks?: boolean;
  /** The session is over. */
  readonly ends?: boolean;
}

/** Error numbers, as gdb's own stub has them. */
const ERROR = { noThread: 'E03', badAddress: 'E0e', invalid: 'E16', readOnly: 'E1e' } as const;

/** Bytes of one `m`, in two digits each. */
const READ_BYTES = PACKET_BYTES / 2;
/** Characters of a packet of output, in two digits each. */
const OUTPUT_CHARACTERS = 1024;
/** Threads that one answer lists. */
const THREADS_LISTED = 256;

const STANDS_STILL = 'This is a saved image: it does not run.\n';

export class GdbSession {
  readonly image: OpenedImage;
  readonly architecture: Architecture;
  readonly #machine: MachineMemory;
  readonly #xml: Uint8Array;
  /** The vCPU that registers and memory are read of. */
  #vcpu: Omit<VcpuX86, 'kind'>;
  /** The one that `monitor` speaks of: gdb does not say which it has chosen before it sends a command. */
  readonly #first: number;
  /** Where the list of threads goes on. */
  #listed = 0;

  /**
   * @param image stays open as long as the session, and is its caller's to close.
   * @throws IMAGE_UNFIT when it has no vCPUs
   */
  constructor(image: OpenedImage) {
    const first = image.vcpus.find(({ online }) => online) ?? image.vcpus[0];
    if (first === undefined) {
      throw new TransmigrateError('IMAGE_UNFIT', 'The image has no registers of vCPUs for a debugger', {
        next: 'Its memory can be read: `transmigrate memory IMAGE read`.',
      });
    }
    this.image = image;
    this.#vcpu = first;
    this.#first = first.vcpu;
    this.#machine = new MachineMemory(image);
    this.architecture = architectureOf(image);
    this.#xml = latin1(targetXml(this.architecture));
  }

  /** Answers the content of one packet. @throws READ_FAILED */
  async answer(content: Uint8Array): Promise<Answer> {
    const text = String.fromCharCode(...content.subarray(0, PACKET_BYTES));
    switch (text[0]) {
      case '?':
        return reply(`T05${this.#thread()}`);
      case 'g':
        return reply(this.#registers());
      case 'p':
        return reply(this.#register(text.slice(1)));
      case 'm':
        return reply(await this.#memory(text));
      case 'M':
      case 'X':
      case 'G':
      case 'P':
        return reply(ERROR.readOnly);
      case 'H':
        return reply(text[1] === 'g' ? this.#choose(text.slice(2)) : 'OK');
      case 'T':
        return reply(this.#vcpuOf(text.slice(1)) === undefined ? ERROR.noThread : 'OK');
      case 'c':
      case 's':
      case 'C':
      case 'S':
        return this.#runs();
      case 'D':
        return { packets: ['OK'], ends: true };
      case 'k':
        return { packets: [], ends: true };
      case 'q':
      case 'Q':
      case 'v':
        return this.#named(text);
      default:
        return reply('');
    }
  }

  async #named(text: string): Promise<Answer> {
    const [name = ''] = /^[A-Za-z]+/.exec(text) ?? [];
    switch (name) {
      case 'qAttached':
        return reply('1');
      case 'qSymbol':
        return reply('OK');
      case 'qSupported':
        return reply(`PacketSize=${PACKET_BYTES.toString(16)};qXfer:features:read+;QStartNoAckMode+`);
      case 'QStartNoAckMode':
        return { packets: ['OK'], noAcks: true };
      case 'qC':
        return reply(`QC${threadOf(this.#vcpu)}`);
      case 'qfThreadInfo':
        this.#listed = 0;
        return reply(this.#threads());
      case 'qsThreadInfo':
        return reply(this.#threads());
      case 'qThreadExtraInfo':
        return reply(this.#extra(text.slice(name.length + 1)));
      case 'qXfer':
        return reply(this.#transfer(text));
      case 'qRcmd':
        return this.#monitor(text.slice(name.length + 1));
      case 'vCont':
        return text[name.length] === '?' ? reply('') : this.#runs();
      case 'vKill':
        return { packets: ['OK'], ends: true };
      default:
        return reply('');
    }
  }

  #thread(): string {
    return `thread:${threadOf(this.#vcpu)};`;
  }

  /** It stops at once, without a signal. */
  #runs(): Answer {
    return { packets: [...output(STANDS_STILL), `T00${this.#thread()}`] };
  }

  #registers(): string {
    const fxsave = fxsaveOf(this.image, this.#vcpu.vcpu);
    return this.architecture.registers.map((spec) => registerHex(spec, this.#vcpu, fxsave)).join('');
  }

  #register(digits: string): string {
    const spec = /^[0-9a-f]{1,8}$/i.test(digits) ? this.architecture.registers[Number.parseInt(digits, 16)] : undefined;
    if (spec === undefined) return ERROR.invalid;
    return registerHex(spec, this.#vcpu, fxsaveOf(this.image, this.#vcpu.vcpu));
  }

  async #memory(text: string): Promise<string> {
    const [, address, length] = /^m([0-9a-f]{1,16}),([0-9a-f]{1,8})$/i.exec(text) ?? [];
    if (address === undefined || length === undefined) return ERROR.invalid;
    const into = new Uint8Array(Math.min(Number.parseInt(length, 16), READ_BYTES));
    const space = this.#machine.space(this.#vcpu.vcpu);
    const { bytes } = await readVirtual(this.#machine.pages, space, BigInt(`0x${address}`), into);
    return bytes === 0 ? ERROR.badAddress : toHex(into.subarray(0, bytes));
  }

  /** The vCPU of a thread id; any will do for 0 and -1. */
  #vcpuOf(id: string): Omit<VcpuX86, 'kind'> | undefined {
    if (id === '0' || id === '-1') return this.#vcpu;
    const thread = /^[0-9a-f]{1,8}$/i.test(id) ? Number.parseInt(id, 16) : 0;
    return this.image.vcpus.find(({ vcpu }) => vcpu + 1 === thread);
  }

  #choose(id: string): string {
    const vcpu = this.#vcpuOf(id);
    if (vcpu === undefined) return ERROR.noThread;
    this.#vcpu = vcpu;
    return 'OK';
  }

  #threads(): string {
    const part = this.image.vcpus.slice(this.#listed, this.#listed + THREADS_LISTED);
    this.#listed += part.length;
    return part.length === 0 ? 'l' : `m${part.map(threadOf).join(',')}`;
  }

  #extra(id: string): string {
    const vcpu = this.#vcpuOf(id);
    if (vcpu === undefined) return ERROR.noThread;
    const state = vcpu.online ? (vcpu.halted ? ' [halted]' : '') : ' [offline]';
    return toHex(latin1(`vCPU ${vcpu.vcpu}${state}`));
  }

  #transfer(text: string): string {
    const [, offset, length] = /^qXfer:features:read:target\.xml:([0-9a-f]{1,8}),([0-9a-f]{1,8})$/i.exec(text) ?? [];
    if (offset === undefined || length === undefined) return text.startsWith('qXfer:features:') ? 'E00' : '';
    const from = Number.parseInt(offset, 16);
    const part = this.#xml.subarray(from, from + Math.min(Number.parseInt(length, 16), READ_BYTES));
    return (from + part.byteLength < this.#xml.byteLength ? 'm' : 'l') + String.fromCharCode(...part);
  }

  async #monitor(hex: string): Promise<Answer> {
    if (!/^(?:[0-9a-f]{2})*$/i.test(hex)) return reply(ERROR.invalid);
    const command = (hex.match(/../g) ?? []).map((byte) => String.fromCharCode(Number.parseInt(byte, 16))).join('');
    const lines = await monitor(this.#machine, this.#first, command);
    return { packets: [...output(lines.map((line) => `${line}\n`).join('')), 'OK'] };
  }
}

function reply(content: string): Answer {
  return { packets: [content] };
}

/** Packets that make gdb print a text, in which what is not ASCII becomes a question mark. */
function output(text: string): string[] {
  const plain = text.replace(/[^\n\x20-\x7e]/g, '?');
  const packets: string[] = [];
  for (let at = 0; at < plain.length; at += OUTPUT_CHARACTERS) {
    packets.push(`O${toHex(latin1(plain.slice(at, at + OUTPUT_CHARACTERS)))}`);
  }
  return packets;
}

/** gdb's threads begin at 1: 0 means any. */
function threadOf({ vcpu }: Pick<VcpuX86, 'vcpu'>): string {
  return (vcpu + 1).toString(16);
}
