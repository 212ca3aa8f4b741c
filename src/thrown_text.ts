/**
 * What anybody's code may throw, in words.
 *
 * @module
 */

/** A value as text, whatever it is; `""` where there is none. */
export function textOf(value: unknown): string {
  try {
    return String(value ?? "");
  } catch {
    return ""; // an object without a prototype, or one that will not be text
  }
}

/** The message of what was thrown, or itself: an Error's message may be `null`, and not all that is thrown is an Error. */
export function thrownText(thrown: unknown): string {
  const { message } = Object(thrown) as { message?: unknown };
  return textOf(message) || textOf(thrown ?? String(thrown)) || "it does not say what is wrong";
}
