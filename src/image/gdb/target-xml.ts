/** The target description that gdb asks for (debug 4.3). */
import type { Architecture, Feature, FlagsType } from './architecture.ts';

/** gdb names x87 control registers in a group of their own, so that `info registers` leaves them out. */
const FLOAT_GROUP = /^f(?:ctrl|stat|tag|iseg|ioff|oseg|ooff|op)$/;

export function targetXml({ name, features }: Architecture): string {
  return [
    '<?xml version="1.0"?>',
    '<!DOCTYPE target SYSTEM "gdb-target.dtd">',
    '<target version="1.0">',
    `<architecture>${name}</architecture>`,
    // No system runs below another here; and gdb warns that it can't handle its own default on an 8086.
    '<osabi>none</osabi>',
    ...features.flatMap(featureXml),
    '</target>',
    '',
  ].join('\n');
}

function featureXml({ name, types, vectors, registers }: Feature): string[] {
  return [
    `<feature name="${name}">`,
    ...types.flatMap(flagsXml),
    ...(vectors ? VECTORS : []),
    ...registers.map(({ name: register, bytes, type }) => {
      const group = FLOAT_GROUP.test(register) ? ' group="float"' : '';
      return `<reg name="${register}" bitsize="${8 * bytes}" type="${type}"${group}/>`;
    }),
    '</feature>',
  ];
}

function flagsXml({ id, bytes, fields }: FlagsType): string[] {
  return [
    `<flags id="${id}" size="${bytes}">`,
    ...fields.map(([name, first, last]) => `<field name="${name}" start="${first}" end="${last ?? first}"/>`),
    '</flags>',
  ];
}

/** What an xmm register can be looked at as: gdb knows the union by the names of its members. */
const VECTORS: readonly string[] = [
  '<vector id="v4f" type="ieee_single" count="4"/>',
  '<vector id="v2d" type="ieee_double" count="2"/>',
  '<vector id="v16i8" type="int8" count="16"/>',
  '<vector id="v8i16" type="int16" count="8"/>',
  '<vector id="v4i32" type="int32" count="4"/>',
  '<vector id="v2i64" type="int64" count="2"/>',
  '<union id="vec128">',
  '<field name="v4_float" type="v4f"/>',
  '<field name="v2_double" type="v2d"/>',
  '<field name="v16_int8" type="v16i8"/>',
  '<field name="v8_int16" type="v8i16"/>',
  '<field name="v4_int32" type="v4i32"/>',
  '<field name="v2_int64" type="v2i64"/>',
  '<field name="uint128" type="uint128"/>',
  '</union>',
];
