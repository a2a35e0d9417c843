import type { HostTmemStatistics } from './tmem-api.ts';

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: 'gauge' | 'counter';
  readonly values: readonly (readonly [labels: string, value: number])[];
}

/** The statistics in the text format of Prometheus 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). */
export function prometheusText(statistics: HostTmemStatistics): string {
  const { clients } = statistics;
  const single = (name: string, help: string, value: number, type: Metric['type'] = 'gauge'): Metric => ({
    name,
    help,
    type,
    values: [['', value]],
  });
  const each = (
    name: string,
    help: string,
    type: Metric['type'],
    valueOf: (client: HostTmemStatistics['clients'][number]) => number,
  ): Metric => ({
    name,
    help,
    type,
    values: clients.map((client) => [`{guest="${label(client.guest ?? `client ${client.client}`)}"}`, valueOf(client)]),
  });
  const metrics: readonly Metric[] = [
    single('limit_bytes', 'Most bytes that pages may be charged for.', statistics.limitBytes),
    single('charged_bytes', 'Bytes that everything is charged for.', statistics.chargedBytes),
    single('slab_bytes', 'Bytes of slabs.', statistics.slabBytes),
    single('table_bytes', 'Bytes of tables.', statistics.tableBytes),
    single('freeable_bytes', 'Bytes that flushing all ephemeral pages would free.', statistics.freeableBytes),
    single('pages', 'Pages that guests can get.', statistics.pages),
    single('pinned_pages', 'Pages that only a save still holds.', statistics.pinnedPages),
    single('evictions_total', 'Pages evicted.', statistics.evictions, 'counter'),
    each('guest_ephemeral_pages', 'Ephemeral pages of a guest.', 'gauge', (client) => client.ephemeralPages),
    each('guest_persistent_pages', 'Persistent pages of a guest.', 'gauge', (client) => client.persistentPages),
    each('guest_weight', 'Weight of a guest.', 'gauge', (client) => client.weight),
    each('guest_frozen', 'Whether a guest is frozen.', 'gauge', (client) => Number(client.frozen)),
    each('guest_ephemeral_gets_total', 'Ephemeral pages a guest got.', 'counter', (client) => client.ephemeralGets),
    each('guest_persistent_puts_total', 'Persistent pages put.', 'counter', (client) => client.persistentPuts),
    each('guest_persistent_gets_total', 'Persistent pages got.', 'counter', (client) => client.persistentGets),
  ];
  return metrics.map(textOf).join('');
}

function textOf({ name, help, type, values }: Metric): string {
  const full = `transmigrate_tmem_${name}`;
  const lines = values.map(([labels, value]) => `${full}${labels} ${value}\n`);
  return `# HELP ${full} ${help}\n# TYPE ${full} ${type}\n${lines.join('')}`;
}

/** Backslash, quote and line feed are what a label's value escapes. */
function label(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}
