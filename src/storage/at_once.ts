/**
 * Work on many things, a few at once.
 *
 * @module
 */

/** Maps items, at most `count` of them at once; the first failure ends it, after those that were begun. */
export async function mapAtOnce<T, R>(
  items: readonly T[],
  count: number,
  map: (item: T) => Promise<R>,
): Promise<R[]> {
  const results = new Array<R>(items.length);
  let next = 0;
  let isFailed = false;
  const work = async () => {
    while (next < items.length && !isFailed) {
      const i = next++;
      try {
        results[i] = await map(items[i]!);
      } catch (error) {
        isFailed = true;
        throw error;
      }
    }
  };
  const ended = await Promise.allSettled(Array.from({ length: Math.min(count, items.length) }, work));
  const failed = ended.find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
  return results;
}
