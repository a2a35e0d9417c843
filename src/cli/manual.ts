import { Command } from 'commander';
import type { Option } from 'commander';
import { ERRORS, EXIT } from '../errors.ts';
import type { Context } from './context.ts';
import { examplesOf } from './examples.ts';
import { packageVersion } from '../host/version.ts';

/** `transmigrate manual`: hidden, since `man transmigrate` is what people look for; it makes that page. */
export function manualCommand(context: Context, program: Command): Command {
  return new Command('manual').description('Prints the manual page, for "man -l -".').action(async () => {
    await context.stdout.write(manualPage(program));
  });
}

const EXIT_MEANINGS: Readonly<Record<keyof typeof EXIT, string>> = {
  ok: 'Nothing is wrong.',
  failed: 'The answer is no: "diff" found a difference. Or something else failed: mostly a defect of transmigrate.',
  usage: 'The command line is wrong.',
  format: 'The image is damaged, or was written against the specification.',
  unsupported: 'The image is of a format, version or feature that this transmigrate does not have.',
  refused: 'The other side refused.',
  transport: 'The connection failed.',
  guest: 'The guest failed.',
  store: 'A file cannot be read or written.',
  ownershipUnknown: 'It is not known which side has the machine.',
  cancelled: 'Cancelled by Ctrl-C or SIGTERM. A second one ends it at once.',
};

/** The meanings of the exit codes that this version has an error for. */
function exitLines(): string[] {
  const classes: ReadonlySet<string> = new Set(['ok', ...Object.values(ERRORS).map((entry) => entry.class)]);
  const names = (Object.keys(EXIT) as (keyof typeof EXIT)[]).filter((name) => classes.has(name));
  return names.flatMap((name) => tagged(String(EXIT[name]), EXIT_MEANINGS[name]));
}

const ENVIRONMENT: readonly (readonly [name: string, what: string])[] = [
  ['NO_COLOR', 'When set to anything, output has no colours.'],
  ['TERM', 'With "dumb", output has no colours.'],
  ['TMPDIR', 'Where a pipe is put aside that must be read twice, as large as it is; nothing of it stays behind.'],
  ['TRANSMIGRATE_SOCKET', 'Where a host listens, and where commands look for one, when --socket does not say it.'],
  ['TRANSMIGRATE_DEBUG', 'When set to anything but 0, an error also prints where in the program it happened.'],
];

const DESCRIPTION = [
  'transmigrate runs virtual machines on a host, a process that belongs to you, saves them into images and makes ' +
    'machines of images again, their transcendent memory (tmem) too. Images are written in the Transmigrate stream ' +
    '(tmig); it shows what is in one, and says whether it will restore. tmig is a shorter name of the same command.',
  'A FILE without a command is inspected. "-" stands for standard input.',
  'Text out of an image is shown with control characters, bidirectional controls and everything ' +
    'invisible spelled out, so ' +
    'that an image cannot write to the terminal what it likes.',
  'Errors go to standard error in two lines: what is wrong with its code and place, and what to do ' +
    'next. With --json they ' +
    'are an object on standard output. Codes, and the JSON that commands print, are described in spec/errors.md and ' +
    'spec/cli-json.md of the package.',
];

/** The manual page, from the program's own commands, options and examples. */
export function manualPage(program: Command): string {
  const commands = program.createHelp().visibleCommands(program);
  const lines = [
    '.\\" Made from the command line definitions: do not edit.',
    `.TH TRANSMIGRATE 1 "" "transmigrate ${packageVersion()}" "User Commands"`,
    '.SH NAME',
    'transmigrate, tmig \\- save, restore, inspect and verify virtual machines',
    '.SH SYNOPSIS',
    '.B transmigrate',
    '.RI [ options ] " FILE"',
    '.br',
    '.B transmigrate',
    '.RI [ options ] " COMMAND ..."',
    '.SH DESCRIPTION',
    ...DESCRIPTION.flatMap((text, i) => [...(i === 0 ? [] : ['.PP']), ...fill(text)]),
    '.SH OPTIONS',
    'These can be given with every command.',
    ...program.createHelp().visibleOptions(program).flatMap(optionLines),
    '.SH COMMANDS',
    ...commands.filter((command) => command.name() !== 'help').flatMap((command) => commandLines(command)),
    '.SH EXIT STATUS',
    ...exitLines(),
    '.SH ENVIRONMENT',
    ...ENVIRONMENT.flatMap(([name, what]) => tagged(name, what)),
    '.SH EXAMPLES',
    ...exampleLines(program),
    '.SH SEE ALSO',
    '.BR file (1),',
    '.BR virsh (1),',
    '.BR xl (1)',
  ];
  return `${lines.join('\n')}\n`;
}

/** A command, or, of one that only gathers others, those. @param before the words before its name. */
function commandLines(command: Command, before = 'transmigrate'): string[] {
  if (command.commands.length > 0) {
    const within = `${before} ${command.name()}`;
    return command.commands.flatMap((one) => (one.name() === 'help' ? [] : commandLines(one, within)));
  }
  const usage = command.registeredArguments.map((argument) => {
    const name = argument.name().toUpperCase() + (argument.variadic ? '...' : '');
    return argument.required ? name : `[${name}]`;
  });
  const synopsis = [before, command.name(), '[options]', ...usage].join(' ');
  return [
    `.SS ${roff(synopsis)}`,
    ...fill(command.description() || capitalized(command.summary())),
    ...command.registeredArguments.flatMap((argument) => {
      const choices = argument.argChoices === undefined ? '' : `: ${argument.argChoices.join(', ')}`;
      return tagged(argument.name().toUpperCase(), `${argument.description}${choices}`, '.I');
    }),
    ...command.options.filter((option) => !option.hidden).flatMap(optionLines),
    ...(examplesOf(command).length === 0 ? [] : ['.PP', 'Examples:', '.PP', ...exampleLines(command)]),
  ];
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function optionLines(option: Option): string[] {
  return tagged(option.flags, option.description);
}

function exampleLines(command: Command): string[] {
  return examplesOf(command).flatMap(({ line, what }, i) => [
    ...(i === 0 ? [] : ['.PP']),
    ...fill(what),
    '.PP',
    '.RS',
    '.EX',
    roff(line),
    '.EE',
    '.RE',
  ]);
}

function tagged(tag: string, text: string, font = '.B'): string[] {
  return ['.TP', `${font} ${roff(tag)}`, ...fill(text)];
}

const WIDTH = 72;

/** Text as lines of bearable length. */
function fill(text: string): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > WIDTH) {
      lines.push(roff(line));
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  return [...lines, roff(line)];
}

/** Text as roff takes it literally: backslashes, dashes that are to be copied, and what would be a request. */
function roff(text: string): string {
  const literal = text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replaceAll('~', '\\(ti')
    .replaceAll('^', '\\(ha')
    .replaceAll("'", '\\(aq')
    .replaceAll('`', '\\(ga')
    .replaceAll('"', '\\(dq');
  return /^[.']/.test(literal) ? `\\&${literal}` : literal;
}
