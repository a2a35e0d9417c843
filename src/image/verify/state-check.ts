/** Looks into state that the readers hand out as it is: what does not decode does not restore as it was. */
import { TransmigrateError } from '../../errors.ts';
import { decodePvExtended, decodePvMsrs, decodePvXsave } from '../../foreign/xen-libxc/pv-vcpu.ts';
import { parseXenopsdMetadata } from '../../foreign/xenopsd/metadata.ts';
import { DEVICE_FORMAT, VCPU_STATE, type ImageEvent } from '../model/event.ts';
import type { ImageFinding } from '../model/reader.ts';

/** Findings that are kept: a stream with many checkpoints may say the same of each. */
const KEPT_MOST = 32;

/** Checks one event after the other. */
export class StateCheck {
  readonly #findings: ImageFinding[] = [];

  /** @param offset of the image where the event ends. */
  see(event: ImageEvent, little: boolean, offset: number): void {
    if (event.kind === 'vcpu-state') {
      const { vcpu, stateKind, content } = event;
      const path = `vcpu ${vcpu}`;
      const place = { offset, path, section: 'foreign/xen-libxc 7' };
      if (stateKind === VCPU_STATE.xenPvExtended)
        this.#try('VCPU_EXTENDED', place, () => decodePvExtended(content, place, little));
      if (stateKind === VCPU_STATE.xenPvXsave)
        this.#try('VCPU_XSAVE', place, () => decodePvXsave(content, place, little));
      if (stateKind === VCPU_STATE.xenPvMsrs) this.#try('VCPU_MSRS', place, () => decodePvMsrs(content, place, little));
    }
    if (event.kind === 'device' && event.format === DEVICE_FORMAT.xenopsdSection && event.name === 'xenopsd-XENOPS') {
      const place = { offset, path: 'xenopsd XENOPS', section: 'foreign/xenopsd 3' };
      this.#try('XENOPSD_METADATA', place, () => parseXenopsdMetadata(event.content, offset));
    }
  }

  findings(): readonly ImageFinding[] {
    return this.#findings;
  }

  #try(code: string, place: { offset: number; path: string; section: string }, decode: () => unknown): void {
    try {
      decode();
    } catch (error) {
      if (!(error instanceof TransmigrateError)) throw error;
      if (this.#findings.length >= KEPT_MOST) return;
      const { offset, path, section } = { ...place, ...(error.section !== undefined && { section: error.section }) };
      const message = `it can't be decoded: ${error.message}`;
      this.#findings.push({ code, level: 'warning', message, offset, path, section, data: { cause: error.code } });
    }
  }
}
