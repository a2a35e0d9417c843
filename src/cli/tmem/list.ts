import { Command } from 'commander';
import type { HostTmemStatistics } from '../../host/tmem-api.ts';
import { prometheusText } from '../../host/tmem-prometheus.ts';
import { layoutOf, type Context } from '../context.ts';
import { escapeText } from '../escape.ts';
import { addExamples } from '../examples.ts';
import { addHostOptions, hostOf, type HostOptions } from '../host-connection.ts';
import { formatBytes, formatCount, plural } from '../text/format.ts';
import type { Layout } from '../text/style.ts';
import { tableLines, type Column } from '../text/table.ts';

interface ListOptions extends HostOptions {
  readonly prometheus?: boolean;
}

const COLUMNS: readonly Column[] = [
  { title: 'guest' },
  { title: 'weight', align: 'right', rank: 4 },
  { title: 'cap', align: 'right', rank: 5 },
  { title: 'allowance', align: 'right', rank: 6 },
  { title: 'ephemeral', align: 'right' },
  { title: 'persistent', align: 'right' },
  { title: 'gets', align: 'right', rank: 2 },
  { title: 'puts', align: 'right', rank: 3 },
  { title: 'pools', rank: 7 },
  { title: 'state', rank: 1 },
];

/** `transmigrate tmem list`. */
export function tmemListCommand(context: Context): Command {
  const command = new Command('list')
    .summary('show what guests keep in tmem')
    .description('Shows the tmem of the host and of each guest: pages, settings and counts.')
    .option('-a, --all', 'all guests, which is what is shown anyway: for those who know xl')
    .option('-l, --long', 'everything, as JSON')
    .option('--prometheus', 'in the text format of Prometheus')
    .action(async (_options: unknown, self: Command) => {
      const options = self.optsWithGlobals<ListOptions & { long?: boolean }>();
      const statistics = await (await hostOf(context, options)).tmem();
      if (options.prometheus === true) await context.stdout.write(prometheusText(statistics));
      else if (options.json === true || options.long === true) await context.stdout.writeJson(statistics);
      else await context.stdout.writeLines(tmemLines(statistics, layoutOf(context, options)));
    });
  return addExamples(addHostOptions(command), [
    { line: 'transmigrate tmem list', what: 'What is kept there, and for whom?' },
    { line: 'transmigrate tmem list --prometheus', what: 'For a collector of metrics.' },
  ]);
}

function tmemLines(statistics: HostTmemStatistics, layout: Layout): string[] {
  const { chargedBytes, limitBytes, freeableBytes, pages, pinnedPages, evictions, clients } = statistics;
  const pinned = pinnedPages === 0 ? '' : `, ${plural(pinnedPages, 'page')} held by saves alone`;
  const lines = [
    `${formatBytes(chargedBytes)} of ${formatBytes(limitBytes)}, ${formatBytes(freeableBytes)} freeable`,
    `${plural(pages, 'page')}${pinned}, ${plural(evictions, 'eviction')}`,
  ];
  const rows = clients.map((client) => [
    escapeText(client.guest ?? `client ${client.client}`),
    formatCount(client.weight),
    client.cap === 0 ? 'none' : formatCount(client.cap),
    client.allowance === 0 ? 'none' : formatCount(client.allowance),
    formatCount(client.ephemeralPages),
    formatCount(client.persistentPages),
    formatCount(client.ephemeralGets + client.persistentGets),
    formatCount(client.persistentPuts),
    client.pools
      .map(({ slot, persistent, shared }) => `${slot}${persistent ? 'p' : 'e'}${shared ? 's' : ''}`)
      .join(' '),
    [client.frozen ? 'frozen' : '', client.compress ? 'compresses' : '', client.sharing ? 'shares' : '']
      .filter((word) => word !== '')
      .join(', '),
  ]);
  return clients.length === 0 ? [...lines, 'no guest uses it'] : [...lines, ...tableLines(COLUMNS, rows, layout)];
}
