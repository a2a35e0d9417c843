import type { Fields } from './fields.ts';
import { countField, integerField, listField, textField } from './fields.ts';
import { formatCount, formatHex, plural } from './format.ts';

/** What the tmem client asks of its next host. */
export function clientText(client: Fields): string {
  const allowance = integerField(client, 'allowancePages');
  const cap = integerField(client, 'cap');
  const authorised = listField(client, 'authorised').length;
  return [
    `weight ${countField(client, 'weight')}`,
    cap === null || String(cap) === '0' ? 'no cap' : `cap ${formatCount(cap)}`,
    allowance === null || String(allowance) === '0' ? '' : `allowance ${plural(allowance, 'page')}`,
    client.compress === true ? 'compresses' : '',
    client.frozen === true ? 'frozen by an operator' : '',
    authorised === 0 ? '' : `authorised for ${plural(authorised, 'shared pool')}`,
  ]
    .filter((text) => text !== '')
    .join(', ');
}

/** The number that a dictionary binds. */
export function recordNumber(binding: Fields): string {
  const number = integerField(binding, 'record');
  return number === null ? textField(binding, 'record') || '?' : formatHex(BigInt(number), 4);
}
