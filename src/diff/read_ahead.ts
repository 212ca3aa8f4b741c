/** Reads under way at a time: enough that a store's latency is not paid page by page, few enough to bound memory. */
const READS_MAX = 8;

/** Gives what `read` makes of each item, in the items' order, with a few reads under way ahead of the one wanted. */
export async function* readAhead<T>(
  items: Iterable<number>,
  read: (item: number) => Promise<T>,
): AsyncGenerator<T> {
  const waiting: Promise<T>[] = [];
  for (const item of items) {
    const started = read(item);
    // A read that fails after the consumer has left has nobody to tell; the consumer still awaits `started` itself.
    started.catch(() => {});
    waiting.push(started);
    if (waiting.length === READS_MAX) yield await waiting.shift()!;
  }
  for (const started of waiting) yield await started;
}
