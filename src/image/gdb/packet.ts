/** Packets of gdb's remote protocol: bytes in, packets out (debug 4.1). */

/** Longest content of a packet, either way; `PacketSize` says it. */
export const PACKET_BYTES = 16_384;

const DOLLAR = 0x24;
const HASH = 0x23;
const STAR = 0x2a;
const PLUS = 0x2b;
const MINUS = 0x2d;
const ESCAPE = 0x7d;
const ESCAPE_XOR = 0x20;
const INTERRUPT = 0x03;

/** What came: a packet, with its escapes undone; an acknowledgement; Ctrl-C; or a packet that is no good. */
export type Incoming =
  | { readonly kind: 'packet'; readonly content: Uint8Array; readonly sound: boolean }
  | { readonly kind: 'ack' }
  | { readonly kind: 'nak' }
  | { readonly kind: 'interrupt' };

/** Takes bytes in pieces of any size. What is between packets and means nothing is dropped. */
export class PacketReader {
  readonly #content = new Uint8Array(PACKET_BYTES);
  #length = 0;
  #sum = 0;
  #escaped = false;
  #tooLong = false;
  #state: 'between' | 'content' | 'first-digit' | 'second-digit' = 'between';
  #digit = 0;

  /** @returns what is complete, in order; the content belongs to the caller. */
  *feed(bytes: Uint8Array): Generator<Incoming> {
    for (const byte of bytes) {
      const incoming = this.#take(byte);
      if (incoming !== undefined) yield incoming;
    }
  }

  #take(byte: number): Incoming | undefined {
    switch (this.#state) {
      case 'between':
        if (byte === PLUS) return { kind: 'ack' };
        if (byte === MINUS) return { kind: 'nak' };
        if (byte === INTERRUPT) return { kind: 'interrupt' };
        if (byte === DOLLAR) this.#begin();
        return undefined;
      case 'content':
        if (byte === HASH) this.#state = 'first-digit';
        // A packet that begins in another: the rest of the first was lost.
        else if (byte === DOLLAR) this.#begin();
        else this.#add(byte);
        return undefined;
      case 'first-digit':
        this.#digit = digitOf(byte);
        this.#state = 'second-digit';
        return undefined;
      case 'second-digit': {
        this.#state = 'between';
        const sound = !this.#tooLong && !this.#escaped && this.#digit * 16 + digitOf(byte) === this.#sum;
        return { kind: 'packet', content: this.#content.slice(0, this.#length), sound };
      }
    }
  }

  #begin(): void {
    this.#state = 'content';
    this.#length = 0;
    this.#sum = 0;
    this.#escaped = false;
    this.#tooLong = false;
  }

  #add(byte: number): void {
    this.#sum = (this.#sum + byte) & 0xff;
    if (byte === ESCAPE && !this.#escaped) {
      this.#escaped = true;
      return;
    }
    if (this.#length === PACKET_BYTES) this.#tooLong = true;
    else this.#content[this.#length++] = this.#escaped ? byte ^ ESCAPE_XOR : byte;
    this.#escaped = false;
  }
}

/** The value of a hex digit; something that fits no sum for what is none. */
function digitOf(byte: number): number {
  const digit = Number.parseInt(String.fromCharCode(byte), 16);
  return Number.isNaN(digit) ? 0x1000 : digit;
}

/** A packet around a content: escaped, with its sum. */
export function packet(content: Uint8Array): Uint8Array {
  const out = new Uint8Array(2 * content.byteLength + 4);
  let at = 0;
  let sum = 0;
  const put = (byte: number): void => {
    out[at++] = byte;
    sum = (sum + byte) & 0xff;
  };
  out[at++] = DOLLAR;
  for (const byte of content) {
    if (byte === DOLLAR || byte === HASH || byte === ESCAPE || byte === STAR) {
      put(ESCAPE);
      put(byte ^ ESCAPE_XOR);
    } else put(byte);
  }
  const digits = sum.toString(16).padStart(2, '0');
  out[at++] = HASH;
  out[at++] = digits.charCodeAt(0);
  out[at++] = digits.charCodeAt(1);
  return out.subarray(0, at);
}

/** The same around a text of one byte a character. */
export function textPacket(text: string): Uint8Array {
  return packet(latin1(text));
}

/** Bytes of a text of one byte a character. */
export function latin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}
