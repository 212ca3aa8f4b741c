/** The command line cannot be understood; the message says what was found and what is expected, and no value of it. */
export class UsageError extends Error {
  /** The class's name. */
  override name = "UsageError";
}
