import type { Argument, Command, Option } from 'commander';

/** The shells there is a script for. */
export const SHELLS = ['bash', 'zsh', 'fish'] as const;
/** One of them. */
export type Shell = (typeof SHELLS)[number];

/** What completes at a place: options with what they do, words with what they do, and whether files do. */
interface Place {
  /** The words that lead here, e.g. `host run`; empty before any command. */
  readonly name: string;
  readonly options: readonly Option[];
  readonly words: readonly { readonly word: string; readonly text: string }[];
  readonly files: boolean;
  /** Names of the commands below it. */
  readonly below: readonly string[];
}

const NAMES = ['transmigrate', 'tmig'];
/** The command that is meant where only a file is given. */
const IMPLIED = 'inspect';

/**
 * The completion script for a shell, made from the program's own commands. It is static: pressing the key starts no
 * process, and it completes files, which generators that ask the program do not.
 */
export function completionScript(program: Command, shell: Shell): string {
  const commands = commandPlaces(program);
  const implied = commands.find(({ name }) => name === IMPLIED);
  const first: Place = {
    name: '',
    options: [...optionsOf(program), ...(implied?.options ?? [])].filter(isFirstOfItsName),
    words: commands.filter(({ name }) => !name.includes(' ')).map(({ name, text }) => ({ word: name, text })),
    files: true,
    below: program
      .createHelp()
      .visibleCommands(program)
      .map((command) => command.name()),
  };
  const lines = { bash, zsh, fish }[shell](first, commands);
  return `${lines.join('\n')}\n`;
}

function commandPlaces(program: Command): (Place & { text: string })[] {
  const shared = program.options.filter((option) => !option.hidden && option.long !== '--version');
  const commands = program.createHelp().visibleCommands(program);
  const placesOf = (command: Command, before: string): (Place & { text: string })[] => {
    const name = `${before}${command.name()}`;
    const isHelp = command.name() === 'help';
    const argument = command.registeredArguments[0];
    const names = (some: readonly Command[]) => some.map((one) => ({ word: one.name(), text: one.summary() }));
    const below = command.commands.filter((one) => one.name() !== 'help');
    const place = {
      name,
      text: command.summary() || command.description(),
      options: isHelp ? [] : [...optionsOf(command), ...shared].filter(isFirstOfItsName),
      words: isHelp
        ? names(commands.filter((one) => one !== command))
        : below.length > 0
          ? names(below)
          : (argument?.argChoices ?? []).map((word) => ({ word, text: '' })),
      files: !isHelp && command.registeredArguments.some(takesFiles),
      below: below.map((one) => one.name()),
    };
    return [place, ...below.flatMap((one) => placesOf(one, `${name} `))];
  };
  return commands.flatMap((command) => placesOf(command, ''));
}

/** What completes after an option: nothing when it takes no value, files, one of some words, or what nobody knows. */
function valueOf(option: Option): 'none' | 'files' | 'any' | readonly string[] {
  if (!option.required) return 'none';
  if (option.argChoices !== undefined) return option.argChoices;
  return /<(?:file|path)>/.test(option.flags) ? 'files' : 'any';
}

/** Names of arguments that are files. */
const FILES: ReadonlySet<string> = new Set(['file', 'a', 'b', 'image', 'output']);

function takesFiles(argument: Argument): boolean {
  return FILES.has(argument.name());
}

function optionsOf(command: Command): Option[] {
  return command.createHelp().visibleOptions(command);
}

function isFirstOfItsName(option: Option, at: number, all: readonly Option[]): boolean {
  return all.findIndex((other) => other.long === option.long) === at;
}

function flagsOf(option: Option): string[] {
  return [option.short, option.long].filter((flag) => flag !== undefined);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", String.raw`'\''`)}'`;
}

function bash(first: Place, commands: readonly Place[]): string[] {
  const list = (words: readonly string[]) => `$'${words.join(String.raw`\n`)}'`;
  const label = (place: Place) => place.name.replaceAll(' ', String.raw`\ `);
  const options = (place: Place) => list(place.options.flatMap(flagsOf).filter((flag) => flag.startsWith('--')));
  const cases = commands.flatMap((place) => {
    const words = place.files
      ? []
      : [
          `    ${label(place)}/*)`,
          '      compopt +o default 2> /dev/null',
          `      COMPREPLY=($(compgen -W ${list(place.words.map(({ word }) => word))} -- "$cur")) ;;`,
        ];
    return [`    ${label(place)}/-*) COMPREPLY=($(compgen -W ${options(place)} -- "$cur")) ;;`, ...words];
  });
  const values = [first, ...commands].flatMap(({ options: some }) => some).filter(isFirstOfItsName);
  const valued = values.flatMap((option) => {
    const value = valueOf(option);
    if (value === 'none') return [];
    const words = list(value === 'any' || value === 'files' ? [] : value);
    const offer = `compopt +o default 2> /dev/null; COMPREPLY=($(compgen -W ${words} -- "$cur")); return`;
    const what = value === 'files' ? 'return' : offer;
    return [`    ${flagsOf(option).join(' | ')}) ${what} ;;`];
  });
  const steps = [first, ...commands].flatMap((place) =>
    place.below.map((word) => {
      const to = place.name === '' ? word : `${place.name} ${word}`;
      return `      ${label(place)}/${word}) command='${to}' ;;`;
    }),
  );
  return [
    '# Completes transmigrate and tmig in bash: source <(transmigrate completion bash)',
    '_transmigrate() {',
    "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} command='' i IFS=$'\\n'",
    '  COMPREPLY=()',
    '  for ((i = 1; i < COMP_CWORD; i++)); do',
    '    [[ ${COMP_WORDS[i]} == -?* ]] && continue',
    '    case $command/${COMP_WORDS[i]} in',
    ...steps,
    `      /*) command=${IMPLIED}; break ;;`,
    '      *) break ;;',
    '    esac',
    '  done',
    '  # After an option that takes a value comes the value.',
    '  case $prev in',
    ...valued,
    '  esac',
    '  case $command/$cur in',
    `    /-*) COMPREPLY=($(compgen -W ${options(first)} -- "$cur")) ;;`,
    '    /*)',
    '      compopt -o filenames 2> /dev/null',
    `      COMPREPLY=($(compgen -W ${list(first.words.map(({ word }) => word))} -- "$cur"; compgen -f -- "$cur")) ;;`,
    ...cases,
    '  esac',
    '}',
    '# Where nothing is offered, files are.',
    `complete -o default -F _transmigrate ${NAMES.join(' ')}`,
  ];
}

function zsh(first: Place, commands: readonly Place[]): string[] {
  const optionSpecs = (place: Place) =>
    place.options.map((option) => {
      const flags = flagsOf(option);
      const value = valueOf(option);
      const after =
        value === 'none'
          ? ''
          : value === 'files'
            ? ':file:_files'
            : `:value:${value === 'any' ? ' ' : `(${value.join(' ')})`}`;
      const text = `[${option.description.replace(/[[\]\\:]/g, String.raw`\$&`)}]${after}`;
      return flags.length === 1
        ? quote(`${flags.join('')}${text}`)
        : `${quote(`(${flags.join(' ')})`)}{${flags.join(',')}}${quote(text)}`;
    });
  const functionOf = (name: string) => `_transmigrate_${name.replaceAll(' ', '_')}`;
  const described = (place: Place) =>
    place.words.map(({ word, text }) => quote(text === '' ? word : `${word}:${text.replaceAll(':', String.raw`\:`)}`));
  const describe = (place: Place, tag: string) => [
    `    local -a words=(${described(place).join(' ')})`,
    `    _describe -t ${tag} ${tag} words`,
  ];
  const wordsOf = (place: Place) => [
    `${functionOf(place.name)}_words() {`,
    ...describe(place, 'words').map((line) => line.slice(2)),
    '}',
  ];
  /** Options, then a word that says which function goes on. */
  const going = (specs: readonly string[], word: string, cases: readonly string[]) => [
    '  local curcontext=$curcontext state line',
    '  typeset -A opt_args',
    `  _arguments -C ${[...specs, quote(`1: :${word}`), quote('*:: :->rest')].join(' \\\n    ')}`,
    '  [[ $state == rest ]] || return 0',
    '  case $line[1] in',
    ...cases,
    '  esac',
  ];
  const functions = commands.flatMap((place) => {
    const name = functionOf(place.name);
    if (place.below.length > 0) {
      const cases = [`    ${place.below.join('|')}) ${name}_$line[1] ;;`];
      return [`${name}() {`, ...going(optionSpecs(place), `${name}_words`, cases), '}', ...wordsOf(place)];
    }
    if (place.files || place.words.length === 0) {
      const specs = [...optionSpecs(place), ...(place.files ? [quote('*:image:_files')] : [])];
      return [`${name}() {`, `  _arguments ${specs.join(' \\\n    ')}`, '}'];
    }
    const specs = [...optionSpecs(place), quote(`1: :${name}_words`)];
    return [`${name}() {`, `  _arguments ${specs.join(' \\\n    ')}`, '}', ...wordsOf(place)];
  });
  return [
    `#compdef ${NAMES.join(' ')}`,
    '# Completes transmigrate and tmig in zsh: source <(transmigrate completion zsh)',
    ...functions,
    '_transmigrate_first() {',
    ...describe(first, 'commands').map((line) => line.slice(2)),
    '  _files',
    '}',
    '_transmigrate() {',
    ...going(optionSpecs(first), '_transmigrate_first', [
      `    ${first.below.join('|')}) _transmigrate_$line[1] ;;`,
      `    *) _transmigrate_${IMPLIED} ;;`,
    ]),
    '}',
    '# Autoloaded, this file is the function; sourced, it must name it.',
    'if [[ $funcstack[1] == _transmigrate ]]; then',
    '  _transmigrate "$@"',
    'else',
    `  compdef _transmigrate ${NAMES.join(' ')}`,
    'fi',
  ];
}

function fish(first: Place, commands: readonly Place[]): string[] {
  const condition = (place: Place) =>
    quote(`test (__transmigrate_command) = ${place.name === '' ? 'none' : `"${place.name}"`}`);
  const complete = (place: Place, rest: string) => `complete -c transmigrate -n ${condition(place)} ${rest}`;
  const escape = (text: string) => `'${text.replace(/[\\']/g, String.raw`\$&`)}'`;
  const valued = (option: Option): string => {
    const value = valueOf(option);
    if (value === 'none') return '';
    return value === 'files' ? '-r -F ' : value === 'any' ? '-x ' : `-x -a ${escape(value.join(' '))} `;
  };
  const places = [first, ...commands].flatMap((place) => [
    ...(place.files ? [] : [complete(place, '-f')]),
    ...place.words.map(({ word, text }) => complete(place, `-a ${word}${text === '' ? '' : ` -d ${escape(text)}`}`)),
    ...place.options.map((option) => {
      const short = option.short === undefined ? '' : `-s ${option.short.slice(1)} `;
      const long = (option.long ?? '').slice(2);
      return complete(place, `${short}-l ${long} ${valued(option)}-d ${escape(option.description)}`);
    }),
  ]);
  const steps = [first, ...commands].flatMap((place) =>
    place.below.flatMap((word) => {
      const to = place.name === '' ? word : `${place.name} ${word}`;
      return [`      case '${place.name}/${word}'`, `        set command '${to}'`];
    }),
  );
  return [
    '# Completes transmigrate and tmig in fish: transmigrate completion fish | source',
    'function __transmigrate_command',
    "  set -l command ''",
    '  for word in (commandline -opc)[2..-1]',
    "    string match -q -- '-?*' $word; and continue",
    '    switch "$command/$word"',
    ...steps,
    "      case '/*'",
    `        set command ${IMPLIED}`,
    '        break',
    "      case '*'",
    '        break',
    '    end',
    '  end',
    '  test "$command" = \'\'; and set command none',
    '  echo $command',
    'end',
    ...places,
    ...NAMES.slice(1).map((name) => `complete -c ${name} -w ${NAMES[0]}`),
  ];
}
