import { toHex } from '../../bytes/hex.ts';
import { Sha256 } from '../../codec/platform.ts';
import { TransmigrateError } from '../../errors.ts';
import type { ByteSource } from '../../io/source.ts';
import { headJson } from '../head-json.ts';
import type { Identified } from '../identify/identify.ts';
import { DEVICE_FORMAT, type DeviceEvent, type ImageEvent } from '../model/event.ts';
import type { ImageReader, NativeRecord } from '../model/reader.ts';
import { PageClassCounts } from '../page-class-counts.ts';
import { policiesJson } from '../policies.ts';
import { fieldsOf, vcpuJson } from '../record-json.ts';
import { lookingReader } from '../readers/looking-reader.ts';
import {
  newInspection,
  type Inspection,
  type InspectOptions,
  type LayerJson,
  type NativeRecordJson,
} from '../inspection.ts';
import type { CpuidLeaf, Msr } from '../../stream/records/vcpu.ts';
import type { JsonObject } from '../../bytes/bounded-json.ts';

/** Devices that are listed: a stream may name any number of them. */
const DEVICES_MOST = 65_536;

/**
 * Says what an image of others is, by reading all of it: no such image has an index. Nothing is made for a page.
 * @throws READ_FAILED, CANCELLED
 */
export async function inspectForeign(
  source: ByteSource,
  { format, nesting, image }: Identified,
  options: InspectOptions,
): Promise<Inspection> {
  const gathered = new Gathered(options.records === true);
  const result = newInspection(source);
  result.format = format;
  result.nesting = [...nesting];
  let reader: ImageReader | undefined;
  try {
    reader = await lookingReader(format, image, { signal: options.signal, onNative: gathered.native });
    for await (const event of reader.events()) await gathered.event(event);
  } catch (error) {
    if (!(error instanceof TransmigrateError) || ['READ_FAILED', 'CANCELLED'].includes(error.code)) throw error;
    result.error = error.toJSON();
    result.ok = false;
  }
  gathered.into(result);
  if (reader !== undefined) {
    const { complete, end } = reader.checkpoints;
    result.bytesRead = reader.offset;
    result.counts.checkpoints = complete;
    result.checkpoint = complete === 0 ? null : { number: complete, offset: end };
    result.trailing = { ...reader.trailing };
    result.permissionGiven = permissionOf(reader);
  }
  return result;
}

/** Whether the source of `xl migrate` gave the machine away; null of what is no such wire, as far as can be told. */
function permissionOf(reader: ImageReader): boolean | null {
  return 'permissionGiven' in reader && reader.format === 'xl' ? reader.permissionGiven === true : null;
}

/** What is said of an image. */
class Gathered {
  readonly #keeps: boolean;
  readonly #records: NativeRecordJson[] = [];
  readonly #layers = new Map<string, LayerJson>();
  readonly #vcpus = new Map<number, JsonObject>();
  readonly #devices = new Map<string, JsonObject>();
  readonly #disks: JsonObject[] = [];
  readonly #pages = new PageClassCounts();
  #head: Extract<ImageEvent, { kind: 'head' }> | undefined;
  #cpuid: readonly CpuidLeaf[] | null = null;
  #msrs: readonly Msr[] | null = null;
  #count = 0;
  #rounds = 0;
  #optional = 0;
  #complete = false;

  constructor(keeps: boolean) {
    this.#keeps = keeps;
  }

  readonly native = (record: NativeRecord): void => {
    const { layer, name, offset, bytes, section, fields } = record;
    this.#count++;
    let known = this.#layers.get(layer);
    if (known === undefined) this.#layers.set(layer, (known = { layer, offset, header: {}, records: {} }));
    // The header of a layer says what the layer is, and is no record.
    if (name === 'HEADER' || name === 'SIGNATURE') known.header = fields;
    else known.records[name] = (known.records[name] ?? 0) + 1;
    if (this.#keeps) this.#records.push({ layer, name, offset, length: bytes, section, fields });
  };

  async event(event: ImageEvent): Promise<void> {
    switch (event.kind) {
      case 'head':
        this.#head = event;
        break;
      case 'pages':
        for (const { firstPfn, pages, pageClass } of event.runs()) this.#pages.add(firstPfn, pages, pageClass);
        break;
      case 'vcpu':
        this.#vcpus.set(event.vcpu.vcpu, vcpuJson({ ...event.vcpu, kind: 'VCPU_X86' }));
        break;
      case 'cpuid':
        this.#cpuid = event.leaves;
        break;
      case 'msrs':
        this.#msrs = event.msrs;
        break;
      case 'device':
        this.#device(event);
        break;
      case 'long-device': {
        const { name, format, version, fingerprint, bytes, sha256 } = event.device;
        for await (const chunk of event.chunks()) void chunk;
        this.#add(name, { format, version, bytes, fingerprint: toHex(fingerprint), sha256: toHex(sha256) });
        break;
      }
      case 'disk':
        this.#disks.push(fieldsOf({ ...event.disk, kind: 'DISK' }, new Uint8Array(0)));
        break;
      case 'round':
        this.#rounds++;
        break;
      case 'end':
        this.#complete = true;
        break;
      default:
        break;
    }
  }

  #device({ name, format, version, fingerprint, content }: DeviceEvent): void {
    if (format === DEVICE_FORMAT.xenOptional) this.#optional++;
    const hash = new Sha256();
    hash.update(content);
    const sha256 = toHex(hash.digest());
    this.#add(name, { format, version, bytes: content.byteLength, fingerprint: toHex(fingerprint), sha256 });
  }

  #add(name: string, fields: JsonObject): void {
    const known = this.#devices.get(name);
    if (known === undefined && this.#devices.size >= DEVICES_MOST) return;
    this.#devices.set(name, { device: known?.['device'] ?? this.#devices.size, name, ...fields });
  }

  into(result: Inspection): void {
    result.head = this.#head === undefined ? null : headJson(this.#head);
    result.about = this.#head?.about ?? null;
    result.complete = this.#complete;
    const { pages, absentPages, distinctPages, resentPages } = this.#pages;
    const pageSize = this.#head?.pageSize ?? 0;
    Object.assign(result.memory, {
      pageSize,
      pages,
      distinctPages,
      resentPages,
      rawPages: pages,
      absentPages,
      storedBytes: pages * pageSize,
      codecs: pages === 0 ? {} : { raw: pages },
      classes: this.#pages.classes(),
    });
    result.vcpus = [...this.#vcpus].toSorted(([a], [b]) => a - b).map(([, vcpu]) => vcpu);
    result.devices = [...this.#devices.values()];
    result.disks = this.#disks;
    result.policies = policiesJson(this.#cpuid, this.#msrs);
    result.layers = [...this.#layers.values()];
    result.counts.records = this.#count;
    result.counts.rounds = this.#rounds;
    result.counts.unknownOptional = this.#optional;
    if (this.#keeps) result.records = this.#records;
  }
}
