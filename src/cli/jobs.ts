import { Command, Option } from 'commander';
import { EXIT, TransmigrateError } from '../errors.ts';
import type { HostClient } from '../host/client.ts';
import type { JobInfo } from '../host/migration/jobs.ts';
import { layoutOf, type Context } from './context.ts';
import { addExamples } from './examples.ts';
import { addHostOptions, hostOf, type HostOptions } from './host-connection.ts';
import { addLimitOptions, limitsOf, type LimitOptions } from './limits.ts';
import { jobLines, jobSentence, ownerLine, storyLines } from './text/migration.ts';

/** `transmigrate jobs`, `transmigrate jobs show ID`. */
export function jobsCommand(context: Context): Command {
  const show = new Command('show')
    .summary('tell everything about a migration')
    .description('Tells everything about a migration: every message, round and reason, also afterwards.')
    .argument('<id>', 'its id, as `jobs list` shows it')
    .action(async (id: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const story = await (await hostOf(context, options)).job(id);
      if (options.json === true) await context.stdout.writeJson(story);
      else await context.stdout.writeLines(storyLines(story));
    });
  const list = new Command('list')
    .summary('list the migrations of the host')
    .description('Lists the migrations that the host knows of, both ways: those that go on, and those that ended.')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const jobs = await (await hostOf(context, options)).jobs();
      if (options.json === true) await context.stdout.writeJson({ jobs });
      else await context.stdout.writeLines(jobLines(jobs, layoutOf(context, options)));
    });
  return new Command('jobs')
    .summary('list migrations, or tell all about one')
    .description('What the host knows of live migrations, to it and from it.')
    .addCommand(
      addExamples(addHostOptions(list), [{ line: 'transmigrate jobs list', what: 'What moves, and what has moved?' }]),
      { isDefault: true },
    )
    .addCommand(addHostOptions(show));
}

/** `transmigrate cancel ID`. */
export function cancelCommand(context: Context): Command {
  const command = new Command('cancel')
    .summary('cancel a migration')
    .description('Cancels a migration that has not given its guest away: the guest runs on where it is.')
    .argument('<id>', 'of the migration: see `jobs`');
  return jobCommand(context, command, (host, id) => host.cancelJob(id));
}

/** `transmigrate set ID`. */
export function setCommand(context: Context): Command {
  const command = new Command('set')
    .summary('change the limits of a migration while it runs')
    .description('Changes the limits of a migration while it runs, on the host where its guest comes from.')
    .argument('<id>', 'of the migration: see `jobs`');
  return jobCommand(context, addLimitOptions(command), (host, id, options) => host.setJob(id, limitsOf(options)));
}

/** `transmigrate settle ID`. */
export function settleCommand(context: Context): Command {
  const command = new Command('settle')
    .summary('decide who owns a guest whose other host is lost')
    .description(
      'Decides who owns a guest that was given away when the other host does not come back: --take makes this host ' +
        'the owner, --abandon gives its claim up. Who takes what runs elsewhere makes two run until the hosts meet: ' +
        'nothing can prevent that. Then the higher epoch wins, and the other guest is stopped.',
    )
    .argument('<id>', 'of the migration: see `jobs`')
    .addOption(new Option('--take', 'this host owns it from now on').conflicts('abandon'))
    .option('--abandon', 'the other host owns it');
  return jobCommand(context, command, (host, id, options) => {
    if (options.take === true) return host.settle(id, 'take');
    if (options.abandon === true) return host.settle(id, 'abandon');
    throw new TransmigrateError('USAGE', 'settle decides nothing by itself: say --take or --abandon');
  });
}

interface JobOptions extends HostOptions, LimitOptions {
  readonly take?: boolean;
  readonly abandon?: boolean;
}

function jobCommand(
  context: Context,
  command: Command,
  act: (host: HostClient, id: string, options: JobOptions) => Promise<JobInfo>,
): Command {
  command.action(async (id: string, _options: unknown, self: Command) => {
    const options = self.optsWithGlobals<JobOptions>();
    const job = await act(await hostOf(context, options), id, options);
    if (options.json === true) await context.stdout.writeJson(job);
    else if (options.quiet !== true) await context.stdout.writeLines([jobSentence(job)]);
  });
  return addHostOptions(command);
}

/** `transmigrate owner ID`. */
export function ownerCommand(context: Context): Command {
  const command = new Command('owner')
    .summary('say who owns the guest of a migration')
    .description(
      'Says who owns the guest of a migration, by what this host knows and what the other one answers. Changes ' +
        'nothing. Ends with 16 while that is unknown.',
    )
    .argument('<id>', 'of the migration: see `jobs`')
    .action(async (id: string, _options: unknown, self: Command) => {
      const options = self.optsWithGlobals<HostOptions>();
      const owner = await (await hostOf(context, options)).owner(id);
      if (owner.owner === 'unknown') context.exitCode = EXIT.ownershipUnknown;
      if (options.json === true) await context.stdout.writeJson(owner);
      else await context.stdout.writeLines([ownerLine(owner)]);
    });
  return addHostOptions(command);
}
