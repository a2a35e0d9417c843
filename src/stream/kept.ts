/** Keeps what `make` gives, and forgets what was used longest ago. */
export async function kept<K, V>(cache: Map<K, V>, key: K, most: number, make: () => Promise<V>): Promise<V> {
  const value = cache.get(key) ?? (await make());
  cache.delete(key);
  cache.set(key, value);
  if (cache.size > most) cache.delete(cache.keys().next().value!);
  return value;
}
