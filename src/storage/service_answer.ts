/**
 * The text of a service's answer, as long as such answers are.
 *
 * @module
 */

/** Tokens and keys are a few KiB. */
const ANSWER_BYTES_MAX = 256 * 1024;

/**
 * Reads a body, and no more of it than a service that gives credentials has to say.
 *
 * @throws {RangeError} it is longer
 * @throws whatever the connection fails with
 */
export async function serviceText({ body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  const reader = body?.getReader();
  let [text, size] = ["", 0];
  for (;;) {
    const { done, value } = await reader?.read() ?? { done: true, value: undefined };
    if (done) return text + decoder.decode();
    size += value.length;
    if (size > ANSWER_BYTES_MAX) {
      reader?.cancel().catch(() => {});
      throw new RangeError(`more than ${ANSWER_BYTES_MAX} bytes of answer`);
    }
    text += decoder.decode(value, { stream: true });
  }
}
