/**
 * What an image says of itself was written by somebody else. Before any of it reaches a terminal, everything that could
 * move the cursor, change colours, turn the reading direction, be invisible, or look like something else is spelled
 * out.
 */

/** Controls, formatting (bidi, zero width, tags), lone surrogates, private and unassigned, separators, odd spaces. */
const UNSAFE = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu;

const MARKS_IN_A_ROW = 3;
/** A mark with nothing to stand on joins our own text; a pile of them paints over other lines. */
const LOOSE_MARKS = new RegExp(String.raw`(?:^|(?<=\p{M}{${MARKS_IN_A_ROW}}))\p{M}+`, 'gu');

const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' };

/**
 * The text with everything unsafe spelled out as `\n`, `\x1b` or `\u{202e}`; a backslash is doubled, so that the
 * result can be read back without doubt.
 */
export function escapeText(text: string): string {
  return text.replaceAll('\\', '\\\\').replace(UNSAFE, spell).replace(LOOSE_MARKS, spellAll);
}

/** JSON text that is safe to show: what `escapeText` spells out becomes `\uXXXX`, which any JSON reader takes back. */
export function escapeJson(json: string): string {
  return json.replace(UNSAFE, spellJson);
}

function spell(character: string): string {
  const short = SHORT[character];
  if (short !== undefined) return short;
  const code = character.codePointAt(0) ?? 0;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u{${code.toString(16)}}`;
}

function spellAll(characters: string): string {
  return Array.from(characters, spell).join('');
}

function spellJson(character: string): string {
  let out = '';
  for (let i = 0; i < character.length; i++) out += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  return out;
}
