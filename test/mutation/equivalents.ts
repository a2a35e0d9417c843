/**
 * Mutants that change nothing that a test could see, each with its reason. They are tried all the same: one that is
 * killed, and one that is no longer there, is named at the end of a whole run, so that the table stays true.
 */
export interface Equivalent {
  /** What `changeOf` says of it, after the path of its file and a blank: all that match are meant. */
  readonly change: RegExp;
  readonly why: string;
}

export const EQUIVALENTS: readonly Equivalent[] = [
  {
    change: / -> (\d+) as: .*new ByteWriter\([^)]*\b\1\b/,
    why: 'room that a writer may or need not use; bodies at their limits are tested',
  },
  { change: /^src\/stream\/limits\.ts .* as: records: /, why: 'to see it takes 2^32 records' },
  {
    change:
      /^src\/stream\/(?:chain\.ts (?:512 ->|this.#used === this|=== -> !== as: if \(this.#used)|decoder\.ts 4096 ->)/,
    why: 'when a block is hashed, and how large a buffer is at first, changes no result',
  },
  {
    change: /^src\/stream\/decoder\.ts (?:> -> >= as: if \(used|2 -> 3 as: Math.min)/,
    why: 'how fast a buffer grows changes no result; its bounds are tested',
  },
  { change: /^src\/stream\/decoder\.ts 0 -> 1 as: #rootOffset = 1/, why: 'it is set before it is read' },
  {
    change: /^src\/stream\/decoder\.ts throw new RangeError\('(?:not a batch|the order rules accept)/,
    why: 'an assertion that no input reaches',
  },
  {
    change: /^src\/stream\/decoder\.ts (?:&& -> \|\||\+ -> -) as: if \(!RECORDS\.has\(record\.record/,
    why: 'a name for a number of the specification is kept, and never asked for',
  },
  {
    change: /^src\/stream\/decoder\.ts this\.#deviceHashes\.delete/,
    why: 'the order rules let no data follow a device that is complete',
  },
  {
    change: /^src\/stream\/decoder\.ts >= -> > as: const otherForm/,
    why: 'number 0 is refused before its form is looked at',
  },
  {
    change: /^src\/stream\/index-builder\.ts .* as: if \((?:compareFirstWord.* (?:<=|>=) 0|compareFirstWord.* < 1)/,
    why: 'of equal words any is the lowest; halves differ by whole numbers',
  },
  {
    change: /^src\/stream\/index-builder\.ts .* as: if \(index (?:<=|>=)/,
    why: 'the lowest of equal indexes is any of them',
  },
  {
    change: /^src\/stream\/(?:indexed-image|record-store)\.ts \d+ -> \d+ as: .*(?:KEPT_|keep = |RecordStore\(|#kept\()/,
    why: 'how many records are kept besides changes no result',
  },
  {
    change: /^src\/stream\/order\.ts false -> true as: #(?:inMeeting|dirty) = true/,
    why: 'ABOUT, and the first checkpoint, set them before they are asked for',
  },
  {
    change: /^src\/stream\/order\.ts true -> false as: this\.#rootSeen = false/,
    why: 'what follows the index root is read as a footer, and by no rule of order',
  },
  {
    change: /^src\/stream\/preamble\.ts .*VERSION\.minor/,
    why: 'the minor version is 0, and so is what stands there else',
  },
  {
    change: /^src\/stream\/ram-packer\.ts .* as: (?:this\.#record = allocate\(|const MAX_UNITS)/,
    why: 'room that is not used',
  },
  {
    change: /^src\/stream\/ram-packer\.ts 32 -> 33 as: .*first % /,
    why: 'what is stored in 32 bits is taken modulo 2^32 anyway',
  },
  {
    change: /^src\/stream\/ram-packer\.ts < -> <= as: for \(let page = 0; page <= pages/,
    why: 'the entry behind the last page is written again when there is one more page',
  },
  {
    change: /^src\/stream\/records\/control\.ts 0 -> 1 as: (?:records: 1|parseJsonObject)/,
    why: 'END sets it before it is compared; and a writer has no place in a stream to name',
  },
  { change: /^src\/stream\/records\/device\.ts .* as: const LONGEST/, why: 'room that a writer need not use' },
  { change: /^src\/stream\/order\.ts 1 -> 2 as: #previous = -2/, why: 'no type is negative' },
  { change: /^src\/stream\/order\.ts === -> !== as: return type !== TYPE\.about \? '/, why: 'the text of a message' },
  {
    change: /^src\/stream\/records\/ram\.ts < -> <= as: if \(at <= padded/,
    why: 'the CRC of no bytes changes nothing',
  },
  {
    change: /^src\/stream\/records\/ram\.ts throw new RangeError\('a page beyond/,
    why: 'the constructor has checked it',
  },
  { change: /^src\/stream\/records\/ram\.ts < -> <= as: for \(let unit = 0; unit <= this\.units/, why: 'the same' },
  { change: /^src\/stream\/records\/ram\.ts 0 -> 1 as: let at = 1;/, why: 'it is set before it is read' },
];
