/**
 * A source with pieces of it put into something else.
 *
 * @module
 */

/**
 * Rewrites a source by edits `{ start, end, wrap }`: what stands from `start` to `end`, edits inside it made already, is put
 * in place by `wrap(text)`. Of edits with the same bounds the first is the innermost. Bounds nest; an edit of no length
 * inserts before what begins there.
 */
export function rewritten(source, edits) {
  const order = new Map(edits.map((edit, i) => [edit, i]));
  const sorted = [...edits].sort((a, b) => a.start - b.start || b.end - a.end || order.get(b) - order.get(a));
  // an insertion comes before what begins at its place, so it must not be taken for a part of it
  const insertions = sorted.filter(({ start, end }) => start === end);
  const wraps = sorted.filter(({ start, end }) => start !== end);
  const all = mergedInsertions(insertions, wraps);
  let next = 0;
  const render = (start, end) => {
    let text = "";
    let at = start;
    while (next < all.length && all[next].start < end && all[next].end <= end) {
      const edit = all[next++];
      text += source.slice(at, edit.start);
      text += edit.start === edit.end ? edit.wrap("") : edit.wrap(render(edit.start, edit.end));
      at = edit.end;
    }
    if (next < all.length && all[next].start < end) {
      throw new Error(`Cannot rewrite source: edits cross at ${all[next].start}, expected them to nest`);
    }
    return text + source.slice(at, end);
  };
  return render(0, source.length);
}

/** Insertions in the order of the edits, each before all that begins at its place. */
function mergedInsertions(insertions, wraps) {
  const all = [];
  let next = 0;
  for (const wrap of wraps) {
    while (next < insertions.length && insertions[next].start <= wrap.start) all.push(insertions[next++]);
    all.push(wrap);
  }
  return [...all, ...insertions.slice(next)];
}
