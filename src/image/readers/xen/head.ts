/** What an image of Xen says of itself, for the model's head. */
import type { Json, JsonObject } from '../../../bytes/bounded-json.ts';
import { TransmigrateError } from '../../../errors.ts';
import { DOMAIN_TYPE } from '../../../foreign/xen-libxc/constants.ts';
import type { LibxcHeader } from '../../../foreign/xen-libxc/headers.ts';
import { parseXenopsdMetadata } from '../../../foreign/xenopsd/metadata.ts';
import { xlConfig, type XlHeader } from '../../../foreign/xl/header.ts';
import type { DomainName } from '../../../stream/preamble.ts';
import { MACHINE, type ImageHead } from '../../model/event.ts';

/** Bytes of a configuration that also stands in ABOUT, as JSON: ABOUT has room for 1 MiB in all (stream 6.1). */
const CONFIG_SHOWN_BYTES = 256 * 1024;

/** Gathers what is said before the first page. */
export class XenHead {
  #libxc: LibxcHeader | undefined;
  #width = 0;
  #config: JsonObject | undefined;
  #extra: JsonObject = {};

  /** The version of Xen that wrote the image; empty before it is known. */
  get version(): string {
    const header = this.#libxc;
    if (header === undefined) return '';
    return header.xenMajor === 0 ? `converted-${header.xenMinor}` : `${header.xenMajor}.${header.xenMinor}`;
  }

  get littleEndian(): boolean {
    return this.#libxc?.littleEndian !== false;
  }

  get isPv(): boolean {
    return this.#libxc?.domainType === DOMAIN_TYPE.pv;
  }

  libxc(header: LibxcHeader): void {
    this.#libxc = header;
  }

  /** @param width bytes of a word of a PV guest. */
  pvInfo(width: number): void {
    this.#width = width;
  }

  /**
   * The configuration in an xl header, where it is JSON that can be shown; else it is only kept, as it is.
   * @returns false for what should be JSON, and is none that can be read.
   */
  xl(header: XlHeader): boolean {
    if (header.config === null || header.configFormat !== 'json') return true;
    try {
      const config = xlConfig(header);
      if (header.config.byteLength <= CONFIG_SHOWN_BYTES) this.#config = config;
      return true;
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      return false;
    }
  }

  /** The metadata of xenopsd. Not being able to read them is no fault of the image: xenopsd alone reads them. */
  xenopsd(content: Uint8Array, offset: number): void {
    if (content.byteLength > CONFIG_SHOWN_BYTES) return;
    try {
      const { time, wordSize, vm } = parseXenopsdMetadata(content, offset);
      this.#extra = { xenopsd: { time, wordSize, ...(vm !== null && { vm }) } };
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
    }
  }

  head(): ImageHead {
    const domainType = this.#domainType();
    const is32 = domainType === 'pv' && this.#width === 4;
    const version = this.version;
    const info = member(this.#config, 'c_info');
    const build = member(this.#config, 'b_info');
    const uuid = text(info['uuid']);
    return {
      kind: 'head',
      isCore: false,
      domainType,
      byteOrder: this.#libxc?.littleEndian === false ? 'big' : 'little',
      wordBits: is32 ? 32 : 64,
      machine: is32 ? MACHINE.i386 : MACHINE.x8664,
      pageSize: 4096,
      about: {
        ...(text(info['name']) !== undefined && { name: text(info['name'])! }),
        ...(uuid !== undefined && { uuid }),
        source: { hypervisor: 'xen', versions: version === '' ? {} : { xen: version } },
        ...(typeof build['max_vcpus'] === 'number' && { vcpus: build['max_vcpus'] }),
        ...this.#extra,
        ...(this.#config !== undefined && { configuration: this.#config }),
      },
    };
  }

  #domainType(): DomainName {
    switch (this.#libxc?.domainType) {
      case DOMAIN_TYPE.pv:
        return 'pv';
      case DOMAIN_TYPE.hvm:
        // libxc calls a PVH guest HVM; only the configuration of libxl tells them apart (foreign/xen-libxc 2).
        return text(member(this.#config, 'c_info')['type']) === 'pvh' ? 'pvh' : 'hvm';
      case DOMAIN_TYPE.pvh:
        return 'pvh';
      default:
        return 'unknown';
    }
  }
}

function member(object: JsonObject | undefined, key: string): JsonObject {
  const value: Json | undefined = object?.[key];
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? value : {};
}

function text(value: Json | undefined): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined;
}
