/**
 * A `fetch` with which hedging is as good as off: a request that is under way already waits until that one
 * is answered.
 *
 * @module
 */

const underWay = new Map<string, Promise<unknown>>();

/** Asks, unless the same range of the same object is being asked for; then it waits for that answer first. */
export default async function unhedgedFetch(url: string, init: RequestInit): Promise<Response> {
  const name = `${url} ${new Headers(init.headers).get("range")}`;
  await underWay.get(name);
  const answer = fetch(url, init); // its signal has aborted where the first answer was the one that counted
  const settled = answer.catch(() => {}).finally(() => underWay.delete(name));
  underWay.set(name, settled);
  return await answer;
}
