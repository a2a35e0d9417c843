import { Option } from 'commander';

/** `--from`: for formats that nothing in the image can tell. */
export function fromOption(): Option {
  return new Option('--from <format>', 'take it for this format, which its content can not tell').choices(['raw']);
}
