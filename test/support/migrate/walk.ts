/** Goes through the steps of a round, until `visit` returns false: then the round is left. @returns how many it did */
export async function walk(
  steps: AsyncGenerator<number, void>,
  visit: (bytes: number, step: number) => boolean | void | Promise<boolean | void> = () => undefined,
): Promise<number> {
  let step = 0;
  for await (const bytes of steps) if ((await visit(bytes, step++)) === false) break;
  return step;
}
