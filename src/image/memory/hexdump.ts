/** Bytes as people read them. */
import { hexNumber } from '../../bytes/hex.ts';

const ROW = 16;
/** Printable ASCII: nothing of it moves a cursor. */
const FIRST_SHOWN = 0x20;
const LAST_SHOWN = 0x7e;

/**
 * Lines of 16 bytes: address, hex digits, text. What comes in parts is printed as if it came at once, when all parts
 * but the last are whole lines. Lines that are equal to the one before become one `*`.
 */
export class Hexdump {
  #last = '';
  #repeats = false;

  *lines(address: bigint, bytes: Uint8Array): Generator<string> {
    for (let at = 0; at < bytes.byteLength; at += ROW) {
      const row = rowText(bytes.subarray(at, at + ROW));
      if (row === this.#last) {
        if (!this.#repeats) yield '*';
        this.#repeats = true;
        continue;
      }
      this.#last = row;
      this.#repeats = false;
      yield `${hexNumber(address + BigInt(at), 16)}  ${row}`;
    }
  }

  /** The address where it ended, if that does not show: the last lines were equal. */
  *end(address: bigint): Generator<string> {
    if (this.#repeats) yield hexNumber(address, 16);
    this.#repeats = false;
  }
}

function rowText(row: Uint8Array): string {
  let hex = '';
  let text = '';
  for (let i = 0; i < ROW; i++) {
    const byte = row[i];
    if (i === ROW / 2) hex += ' ';
    hex += byte === undefined ? '   ' : `${hexNumber(byte, 2)} `;
    if (byte !== undefined) text += byte >= FIRST_SHOWN && byte <= LAST_SHOWN ? String.fromCharCode(byte) : '.';
  }
  return `${hex} |${text}|`;
}
