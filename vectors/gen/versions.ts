// Section 16: versions and features to come.
import { noise, u32 } from './lib/bytes.ts';
import { asBytes, dictionary, unknown } from './lib/own.ts';
import { bad, good } from './lib/vector.ts';
import type { Vector } from './lib/vector.ts';

const features = ['ENCRYPTED', 'PAGE_REFERENCES', 'DELTAS', 'INCREMENTAL'];
const binding = {
  record: 0x70,
  name: 'org.transmigrate.weather',
  version: 1,
  text: 'A record that version 1.9 has',
  schema: { fields: [{ name: 'degrees', type: 'u32' }] },
};

export const versionVectors = (): Vector[] => [
  good(
    'version-1-9-optional',
    'S3 S2',
    '16.1',
    'Version 1.9 with unknown optional records.',
    { minor: 9 },
    (channel) => {
      channel.add(unknown(0x70, noise('future', 40), asBytes(noise('future', 40))));
      channel.add(unknown(0x3fff, noise('future', 0)));
    },
  ),
  good(
    'version-1-9-described',
    'S3 S4',
    '16.3',
    'Version 1.9 describes its optional record.',
    { minor: 9 },
    (channel) => {
      channel.add(dictionary(binding));
      channel.add(unknown(0x70, u32(21), { degrees: 21 }, binding.name));
    },
  ),
  bad(
    'version-1-9-mandatory',
    'S3 S4',
    '16.3',
    'A mandatory record of 1.9, refused by name.',
    { minor: 9 },
    (channel) => {
      channel.add(dictionary(binding));
      channel.bad('UNKNOWN_RECORD', unknown(0x70, u32(21), { degrees: 21 }, binding.name, false));
      channel.naming(binding.name);
    },
  ),
  bad('version-2-0', 'S1 S2', '16.2', 'Version 2.0: its ABOUT is shown, then it is refused.', { major: 2 }, (channel) =>
    channel.refuse('UNSUPPORTED_VERSION'),
  ),
  ...features.map((feature, bit) =>
    bad(
      `feature-${feature.toLowerCase().replace('_', '-')}`,
      'S12',
      '16.4',
      `Must-know feature ${feature} is refused by name.`,
      { mustKnow: 1n << BigInt(bit), ...(bit === 3 && { kind: 3 }) },
      (channel) => channel.refuse('UNSUPPORTED_FEATURE', feature),
    ),
  ),
  bad('feature-unknown', 'S12', '16.4', 'A must-know feature without a name.', { mustKnow: 1n << 40n }, (channel) =>
    channel.refuse('UNSUPPORTED_FEATURE', 'bit 40'),
  ),
  good(
    'feature-may-ignore',
    'S12 S1',
    '16.4',
    'Unknown may-ignore features are ignored.',
    { mayIgnore: 1n << 40n },
    () => {
      // Only the preamble is special.
    },
  ),
];
