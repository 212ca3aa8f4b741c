/**
 * What a crash may leave of files: a recorded trace of calls, and the states of the disk that it allows.
 *
 * What was synced is there. Of what was not, each sector of 512 bytes has any content that it had since, or
 * its old one, or zeros in a file that grew; a file has any size that it had since; names are there or not,
 * each for itself.
 *
 * @see tests/c/log_recorder.c, which writes the trace
 * @module
 */
import type { Random } from "../support/random.ts";

const SECTOR = 512;

/** One call. */
export type Operation =
  | { readonly kind: "create"; readonly file: string; readonly path: string }
  | { readonly kind: "write"; readonly file: string; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly kind: "truncate"; readonly file: string; readonly size: number }
  | { readonly kind: "sync"; readonly file: string }
  | { readonly kind: "folder"; readonly path: string }
  | { readonly kind: "link" | "rename"; readonly from: string; readonly to: string }
  | { readonly kind: "unlink"; readonly path: string };

/** Reads a trace. */
export function readTrace(trace: Uint8Array): Operation[] {
  const operations: Operation[] = [];
  const decoder = new TextDecoder();
  for (let at = 0; at < trace.length;) {
    const end = trace.indexOf(10, at);
    const [kind, ...words] = decoder.decode(trace.subarray(at, end)).split(" ");
    at = end + 1;
    const bytes = kind === "write" ? trace.subarray(at, at += Number(words[2])) : new Uint8Array(0);
    operations.push(operationOf(kind!, words as [string, string], bytes));
  }
  return operations;
}

function operationOf(kind: string, [first, second]: [string, string], bytes: Uint8Array): Operation {
  if (kind === "create") return { kind, file: first, path: second };
  if (kind === "write") return { kind, file: first, offset: Number(second), bytes };
  if (kind === "truncate") return { kind, file: first, size: Number(second) };
  if (kind === "sync") return { kind, file: first };
  if (kind === "folder" || kind === "unlink") return { kind, path: first };
  if (kind === "link" || kind === "rename") return { kind, from: first, to: second };
  throw new Error(`Cannot read a trace: its record is "${kind}", expected one of those in log_recorder.c`);
}

/** Content, and what may be of it. */
interface Change {
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** The file's size after it. */
  readonly size: number;
}

/** A file, whatever its names. */
class CrashFile {
  #synced = new Uint8Array(0);
  #syncedSize = 0;
  #pending: Change[] = [];

  get size(): number {
    return this.#pending.at(-1)?.size ?? this.#syncedSize;
  }

  write(offset: number, bytes: Uint8Array): void {
    this.#pending.push({ offset, bytes, size: Math.max(this.size, offset + bytes.length) });
  }

  truncate(size: number): void {
    const cut = new Uint8Array(Math.max(0, this.size - size));
    this.#pending.push({ offset: size, bytes: cut, size });
  }

  sync(): void {
    this.#synced = this.#applied(() => Infinity, this.size);
    this.#syncedSize = this.size;
    this.#pending = [];
  }

  /** As every process sees it. */
  now(): Uint8Array {
    return this.#applied(() => Infinity, this.size);
  }

  /** Sectors that a crash may leave older, each with the number of contents that came since. */
  #unsure(): Map<number, number> {
    const counts = new Map<number, number>();
    for (const { offset, bytes } of this.#pending) {
      const last = Math.floor((offset + bytes.length - 1) / SECTOR);
      for (let i = Math.floor(offset / SECTOR); i <= last; i++) counts.set(i, (counts.get(i) ?? 0) + 1);
    }
    return counts;
  }

  /** Content where of each sector's changes the first so many were written. */
  #applied(countOf: (sector: number) => number, size: number): Uint8Array<ArrayBuffer> {
    const sizes = this.#pending.map((change) => change.size);
    const found = new Uint8Array(Math.max(size, this.#syncedSize, ...sizes));
    found.set(this.#synced.subarray(0, this.#syncedSize));
    const done = new Map<number, number>();
    for (const { offset, bytes } of this.#pending) {
      for (let at = offset; at < offset + bytes.length;) {
        const sector = Math.floor(at / SECTOR);
        const end = Math.min((sector + 1) * SECTOR, offset + bytes.length);
        const count = done.get(sector) ?? 0;
        if (count < countOf(sector)) found.set(bytes.subarray(at - offset, end - offset), at);
        done.set(sector, count + 1);
        at = end;
      }
    }
    return found.slice(0, size);
  }

  /** One of the contents that a crash may leave. */
  afterCrash(random: Random): Uint8Array {
    if (this.#pending.length === 0) return this.now();
    return this.#applied(drawCounts(this.#unsure(), random), this.#drawSize(random));
  }

  #drawSize(random: Random): number {
    const draw = random.next(8);
    if (draw < 5) return this.size;
    const sizes = [this.#syncedSize, ...this.#pending.map(({ size }) => size)];
    const size = sizes[random.next(sizes.length)]!;
    if (draw < 7) return size;
    const least = Math.min(...sizes);
    return Math.min(this.size, least + SECTOR * random.next(1 + Math.ceil((this.size - least) / SECTOR)));
  }
}

/** Draws how many of its changes each sector has: in all ways, mostly those near to all and to none. */
function drawCounts(unsure: ReadonlyMap<number, number>, random: Random): (sector: number) => number {
  const one = [...unsure.keys()][random.next(unsure.size)];
  if (one === undefined) return () => 0;
  const all = (sector: number) => unsure.get(sector)!;
  switch (random.next(8)) {
    case 0:
      return () => 0;
    case 1:
      return all;
    case 2:
      return (sector) => sector < one ? all(sector) : 0;
    case 3:
      return (sector) => sector > one ? all(sector) : 0;
    case 4:
      return (sector) => sector === one ? 0 : all(sector);
    case 5:
      return (sector) => sector === one ? all(sector) : 0;
    case 6:
      return (sector) => random.next(10) === 0 ? 0 : all(sector);
    default:
      return (sector) => random.next(all(sector) + 1);
  }
}

/** A name that is made, or removed. */
interface Naming {
  readonly folder: string;
  readonly apply: (names: Map<string, CrashFile>) => void;
}

/** Files as they lie there after a crash, or as processes see them. */
export type Files = ReadonlyMap<string, Uint8Array>;

function folderOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf("/")));
}

/** A disk that operations are made on, one after the other. */
export class CrashDisk {
  readonly #files = new Map<string, CrashFile>();
  /** As every process sees them. */
  readonly #names = new Map<string, CrashFile>();
  readonly #syncedNames = new Map<string, CrashFile>();
  #pending: Naming[] = [];

  /** Names that processes see. */
  names(): string[] {
    return [...this.#names.keys()];
  }

  /** What processes see. */
  now(): Files {
    return new Map([...this.#names].map(([path, file]) => [path, file.now()]));
  }

  /** What of a folder a crash may leave: one state of the many. */
  afterCrash(folder: string, random: Random): Files {
    const names = new Map(this.#syncedNames);
    const draw = random.next(4);
    const until = random.next(this.#pending.length + 1);
    this.#pending.forEach(({ apply }, i) => {
      if (draw === 0 || (draw === 1 && i < until) || (draw > 1 && random.next(2) === 0)) apply(names);
    });
    const kept = [...names].filter(([path]) => folderOf(path) === folder);
    return new Map(kept.map(([path, file]) => [path, file.afterCrash(random)]));
  }

  /** Makes an operation. */
  apply(operation: Operation): void {
    switch (operation.kind) {
      case "create":
        this.#files.set(operation.file, new CrashFile());
        return this.#name(operation.path, this.#files.get(operation.file)!);
      case "write":
        return this.#files.get(operation.file)!.write(operation.offset, operation.bytes);
      case "truncate":
        return this.#files.get(operation.file)!.truncate(operation.size);
      case "sync":
        return this.#files.get(operation.file)!.sync();
      case "folder":
        return this.#syncNames(operation.path);
      case "link":
        return this.#name(operation.to, this.#names.get(operation.from)!);
      case "rename":
        return this.#rename(operation.from, operation.to);
      case "unlink":
        return this.#do(operation.path, (names) => names.delete(operation.path));
    }
  }

  #name(path: string, file: CrashFile): void {
    this.#do(path, (names) => names.set(path, file));
  }

  #rename(from: string, to: string): void {
    const file = this.#names.get(from)!;
    this.#do(to, (names) => {
      names.delete(from);
      names.set(to, file);
    });
  }

  #do(path: string, apply: Naming["apply"]): void {
    apply(this.#names);
    this.#pending.push({ folder: folderOf(path), apply });
  }

  #syncNames(folder: string): void {
    for (const naming of this.#pending) if (naming.folder === folder) naming.apply(this.#syncedNames);
    this.#pending = this.#pending.filter((naming) => naming.folder !== folder);
  }
}
