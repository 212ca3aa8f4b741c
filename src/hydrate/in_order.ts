/**
 * Several things asked for at once, had in their order.
 *
 * @module
 */

/** What was asked for, with its answer. */
export interface Answered<T, R> {
  readonly item: T;
  readonly result: R;
}

/**
 * Calls `ask` for items, at most so many ahead of the one that is taken: two at first, one more with each that came. Gives the
 * answers in the items' order.
 */
export async function* inOrder<T, R>(
  items: AsyncIterable<T>,
  ask: (item: T) => Promise<R>,
  atOnce: number,
): AsyncGenerator<Answered<T, R>, void, undefined> {
  const asked: { readonly item: T; readonly answer: Promise<R> }[] = [];
  const iterator = items[Symbol.asyncIterator]();
  for (let most = Math.min(2, atOnce);; most = Math.min(most + 1, atOnce)) {
    while (asked.length < most) {
      const { done, value } = await iterator.next();
      if (done) break;
      const answer = ask(value);
      answer.catch(() => {}); // whoever takes it is told
      asked.push({ item: value, answer });
    }
    const next = asked.shift();
    if (next === undefined) return;
    yield { item: next.item, result: await next.answer };
  }
}
