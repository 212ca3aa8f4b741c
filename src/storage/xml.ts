/**
 * A small strict XML reader: enough for the answers of S3 and its like, nothing more.
 *
 * @module
 */

/** One element: its local name, its own text, its child elements in order. */
export interface XmlElement {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

const DEPTH_MAX = 16;
/** Elements of one document, each of which takes 100 bytes or more in memory: about ten are one object of a WebDAV listing. */
const ELEMENTS_MAX = 5_000_000;
const LEAF = /<([A-Za-z][\w.-]*)>([^<]*)<\/\1>/y;
const ENTITIES: Readonly<Record<string, string>> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

/**
 * Parses a document without DTD: elements, text, entities, CDATA; attributes and namespace prefixes are dropped.
 *
 * @throws {SyntaxError} the document is not well-formed, has a DOCTYPE, is nested deeper than 16 elements, or has more than
 *   `elementsMax`
 */
export function parseXml(document: string, elementsMax = ELEMENTS_MAX): XmlElement {
  const root: XmlElement = { name: "", text: "", children: [] };
  const open: XmlElement[] = [root];
  let at = document.charCodeAt(0) === 0xfeff ? 1 : 0;
  let count = 0;
  while (at < document.length) {
    const tag = document.indexOf("<", at);
    addText(open, document.slice(at, tag < 0 ? document.length : tag), at);
    if (tag < 0) break;
    if (document[tag + 1] !== "/" && ++count > elementsMax) {
      throw new SyntaxError(`Cannot parse XML: more than ${elementsMax} elements, expected a listing's`);
    }
    at = readMarkup(document, tag, open);
  }
  const element = root.children[0];
  if (open.length !== 1 || element === undefined || root.children.length !== 1) {
    throw new SyntaxError(
      `Cannot parse XML: ${open.length - 1} open elements at the end, expected one whole document`,
    );
  }
  return element;
}

/** The text of the first child named `name`; undefined where there is none. */
export function childText(element: XmlElement, name: string): string | undefined {
  return element.children.find((child) => child.name === name)?.text;
}

/**
 * The same plain data, its texts in memory of their own. What an engine cuts out of a document keeps all of that alive: one
 * key that is kept would keep a listing of a thousand objects.
 */
export function withOwnTexts<T>(data: T): T {
  return JSON.parse(JSON.stringify(data));
}

/** Text as it stands in an element. */
export function escapeXml(text: string): string {
  return text.replace(/[&<>"'\r\n\t]/g, (character) => `&#${character.charCodeAt(0)};`);
}

function addText(open: XmlElement[], raw: string, at: number): void {
  if (raw === "") return;
  const element = open[open.length - 1] as XmlElement;
  if (open.length > 1) element.text += decodeEntities(raw, at);
  else if (raw.trim() !== "") throw new SyntaxError(`Cannot parse XML: text at ${at}, expected an element`);
}

/** Reads what begins with `<` at `tag`; returns the offset behind it. */
function readMarkup(document: string, tag: number, open: XmlElement[]): number {
  // Most of a listing is elements with text alone; taken at once, a page of 1,000 keys costs about 4 ms, not 12.
  LEAF.lastIndex = tag;
  const match = LEAF.exec(document);
  if (match === null || open.length === 1) return readOtherMarkup(document, tag, open);
  const [whole, name = "", raw = ""] = match;
  (open[open.length - 1] as XmlElement).children.push({ name, text: decodeEntities(raw, tag), children: [] });
  return tag + whole.length;
}

function readOtherMarkup(document: string, tag: number, open: XmlElement[]): number {
  if (document.startsWith("<?", tag)) return endOf(document, "?>", tag);
  if (document.startsWith("<!--", tag)) return endOf(document, "-->", tag + 4);
  if (document.startsWith("<![CDATA[", tag) && open.length > 1) {
    const end = endOf(document, "]]>", tag);
    (open[open.length - 1] as XmlElement).text += document.slice(tag + 9, end - 3);
    return end;
  }
  const end = endOf(document, ">", tag);
  const match = /^(\/?)(?:[\w.-]+:)?([\w.-]+)((?:\s+[\w.:-]+\s*=\s*(?:"[^"<]*"|'[^'<]*'))*)\s*(\/?)$/.exec(
    document.slice(tag + 1, end - 1),
  );
  if (match === null) throw new SyntaxError(`Cannot parse XML: markup at ${tag}, expected an element`);
  const [, closing, name = "", , empty] = match;
  if (closing === "/") closeElement(open, name, tag);
  else openElement(open, name, empty === "/");
  return end;
}

function openElement(open: XmlElement[], name: string, empty: boolean): void {
  const element: XmlElement = { name, text: "", children: [] };
  (open[open.length - 1] as XmlElement).children.push(element);
  if (empty) return;
  if (open.length > DEPTH_MAX) {
    throw new SyntaxError(`Cannot parse XML: nested deeper than ${DEPTH_MAX} elements`);
  }
  open.push(element);
}

function closeElement(open: XmlElement[], name: string, tag: number): void {
  const element = open.pop();
  if (open.length === 0 || element?.name !== name) {
    throw new SyntaxError(`Cannot parse XML: </${name}> at ${tag}, expected </${element?.name}>`);
  }
}

function endOf(document: string, mark: string, from: number): number {
  const at = document.indexOf(mark, from);
  if (at < 0) throw new SyntaxError(`Cannot parse XML: no "${mark}" after ${from}`);
  return at + mark.length;
}

function decodeEntities(raw: string, at: number): string {
  if (!raw.includes("&")) return raw;
  return raw.replace(/&([^;&]{0,10};)?/g, (whole, body: string | undefined) => {
    const name = body?.slice(0, -1) ?? "";
    const decimal = /^#(\d+)$/.exec(name);
    const hexadecimal = /^#x([0-9A-Fa-f]+)$/.exec(name);
    const code = decimal ? Number(decimal[1]) : hexadecimal ? parseInt(hexadecimal[1] ?? "", 16) : -1;
    const character = code > 0 && code <= 0x10ffff ? String.fromCodePoint(code) : ENTITIES[name];
    if (character === undefined) throw new SyntaxError(`Cannot parse XML: entity "${whole}" after ${at}`);
    return character;
  });
}
