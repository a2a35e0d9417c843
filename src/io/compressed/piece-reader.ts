/** Bytes of pieces, as many at once as a decoder asks for. */
export class PieceReader {
  readonly #pieces: AsyncIterator<Uint8Array>;
  #buffer = new Uint8Array(65_536);
  #start = 0;
  #end = 0;
  #offset = 0;
  #over = false;

  constructor(pieces: AsyncIterable<Uint8Array>) {
    this.#pieces = pieces[Symbol.asyncIterator]();
  }

  /** Place of the next byte in the input. */
  get offset(): number {
    return this.#offset;
  }

  /** What is there already: a view that is valid until the next {@link ensure}. */
  get ready(): Uint8Array {
    return this.#buffer.subarray(this.#start, this.#end);
  }

  /** Waits until `length` bytes are ready, or the input is at its end. @returns how many are ready */
  async ensure(length: number): Promise<number> {
    while (this.#end - this.#start < length && !this.#over) {
      const step = await this.#pieces.next();
      if (step.done === true) this.#over = true;
      else this.#add(step.value);
    }
    return this.#end - this.#start;
  }

  /** Passes over bytes that are ready. */
  skip(length: number): void {
    this.#start += length;
    this.#offset += length;
  }

  /** Ends reading: the input's own clean-up runs. */
  async stop(): Promise<void> {
    await this.#pieces.return?.();
  }

  #add(piece: Uint8Array): void {
    const used = this.#end - this.#start;
    if (this.#end + piece.byteLength > this.#buffer.byteLength) {
      const need = used + piece.byteLength;
      const target = need > this.#buffer.byteLength ? new Uint8Array(Math.max(need, 2 * used)) : this.#buffer;
      target.set(this.ready);
      this.#buffer = target;
      this.#start = 0;
      this.#end = used;
    }
    this.#buffer.set(piece, this.#end);
    this.#end += piece.byteLength;
  }
}
