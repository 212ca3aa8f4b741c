/**
 * Text that stands for itself: a part of a longer text keeps all of that in memory, in the engines of both runtimes.
 *
 * @module
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The same text as a copy, so that what it was cut out of can go. */
export function ownText(text: string): string {
  const own = decoder.decode(encoder.encode(text));
  return own === text ? own : text; // half of a surrogate pair has no bytes
}
