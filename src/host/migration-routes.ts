/** Calls about live migration: spec/host-api.md 7. */
import { parse } from './api.ts';
import { answer, asEvents, readJson, type Call } from './http.ts';
import type { MessageOf } from '../migrate/protocol/messages.ts';
import {
  limitsSchema,
  listenSchema,
  migrateSchema,
  settleSchema,
  targetSchema,
  type CheckAnswer,
} from './migration/jobs.ts';

/** Moves a guest; progress tells how far the migration is. */
export async function migrate(call: Call): Promise<void> {
  const { host, request, name, signal } = call;
  const choice = parse(migrateSchema, await readJson(request));
  await asEvents(call, (onProgress) =>
    host.migrations.migrate(name, choice, signal, (state) => {
      const { ramBytes, tmemBytes } = state.progress!;
      onProgress(ramBytes + tmemBytes, null, state);
    }),
  );
}

export async function check({ host, request, response, name }: Call): Promise<void> {
  const { accepted, reasons } = await host.migrations.check(name, parse(targetSchema, await readJson(request)));
  const answered: CheckAnswer = {
    fits: reasons.length === 0,
    reasons,
    accepted: accepted === null ? null : open(accepted),
  };
  answer(response, answered);
}

/** Without what only the migration itself may know. */
function open({ secret: _secret, kind: _kind, ...granted }: MessageOf<'ACCEPT'>): CheckAnswer['accepted'] {
  return granted;
}

export async function listen({ host, request, response }: Call): Promise<void> {
  const { record, ...address } = parse(listenSchema, await readJson(request));
  answer(response, await host.migrations.listen(address, record));
}

export function jobs({ host, response }: Call): void {
  answer(response, { jobs: host.migrations.jobs() });
}

export function job({ host, response, name }: Call): void {
  answer(response, host.migrations.job(name));
}

export function cancelJob({ host, response, name }: Call): void {
  answer(response, host.migrations.cancel(name));
}

export async function setJob({ host, request, response, name }: Call): Promise<void> {
  answer(response, host.migrations.set(name, parse(limitsSchema, await readJson(request))));
}

export async function owner({ host, response, name }: Call): Promise<void> {
  answer(response, await host.migrations.owner(name));
}

export async function settle({ host, request, response, name }: Call): Promise<void> {
  answer(response, host.migrations.settle(name, parse(settleSchema, await readJson(request)).choice));
}
