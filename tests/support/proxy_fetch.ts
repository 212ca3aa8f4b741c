/**
 * Fetch functions as a user might give them: each adds a header with the count of its requests.
 *
 * @module
 */

let count = 0;

function proxied(url: string, init: RequestInit): Promise<Response> {
  const headers = new Headers(init.headers);
  headers.set("proxied", String(++count));
  return fetch(url, { ...init, headers });
}

export default proxied;

export { proxied as named };

export const noFunction = "text";
