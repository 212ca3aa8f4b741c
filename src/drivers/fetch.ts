/**
 * What runtimes' `fetch` do differently.
 *
 * @module
 */

/** Has what `fetch` needs set up now. Deno does it in a thread's first request, which takes 8 ms longer. */
export function warmFetch(): void {
  if (!("Deno" in globalThis)) return;
  fetch("data:,").then((answer) => answer.body?.cancel(), () => {}); // nothing is lost where it cannot be done
}

/** Whether `fetch` takes `{ tls: { rejectUnauthorized: false } }`. */
export function fetchSkipsVerify(): boolean {
  return "Bun" in globalThis;
}
