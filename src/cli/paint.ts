/**
 * Colours, where a terminal shows them and nobody has said no.
 *
 * @module
 */

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;

/** A colour or weight. */
export type Paint = keyof typeof CODES;

/** The text in a colour, or as it is. */
export function paint(text: string, how: Paint, isColored: boolean): string {
  const [on, off] = CODES[how];
  return isColored && text !== "" ? `\x1b[${on}m${text}\x1b[${off}m` : text;
}

/** Whether colours are wanted on a stream: on a terminal, unless NO_COLOR is set or the terminal is a dumb one. */
export function wantsColor(
  stream: { readonly isTTY?: boolean },
  environment: Readonly<Record<string, string | undefined>>,
): boolean {
  if (stream.isTTY !== true) return false;
  try {
    return !environment.NO_COLOR && environment.TERM !== "dumb";
  } catch {
    return false; // Deno may not let us see what is wanted
  }
}
