import { Command } from 'commander';
import { EXIT } from '../errors.ts';
import { layoutOf, startProgress, type Context, type GlobalOptions } from './context.ts';
import { escapeText } from './escape.ts';
import { addExamples } from './examples.ts';

interface DemoOptions extends GlobalOptions {
  readonly json?: boolean;
}

/** `transmigrate demo`. */
export function demoCommand(context: Context): Command {
  const command = new Command('demo')
    .summary('show the main job: a running guest saved, restored, and moved')
    .description(
      'Boots the small guest on a host of its own, saves it while it runs, verifies the file, restores it in ' +
        'a new process, has the guest check all of its memory and tmem, and moves it to another process while it ' +
        'works. Needs no privileges, leaves nothing behind.',
    )
    .option('--json', 'print one JSON object')
    .action(async (_options: unknown, self: Command) => {
      await demo(context, self.optsWithGlobals<DemoOptions>());
    });
  return addExamples(command, [{ line: 'transmigrate demo', what: 'See it work.' }]);
}

async function demo(context: Context, options: DemoOptions): Promise<void> {
  const { style } = layoutOf(context, options);
  // Its hosts and files go before it does.
  context.endsItself = true;
  const progress = startProgress(context, options, 'the guest moves');
  const steps = [];
  for await (const step of await context.library.demonstrate(context.signal, progress.update)) {
    progress.clear();
    steps.push(step);
    if (!step.ok) context.exitCode = EXIT.failed;
    if (options.json === true) continue;
    const mark = step.ok ? style.good('ok') : style.bad('WRONG');
    await context.stdout.writeLines([
      `${steps.length}. ${style.strong(escapeText(step.title))}: ${mark}`,
      ...step.lines.map((line) => `   ${escapeText(line)}`),
    ]);
    if (!step.ok) break;
  }
  if (options.json === true) await context.stdout.writeJson({ ok: context.exitCode === EXIT.ok, steps });
}
