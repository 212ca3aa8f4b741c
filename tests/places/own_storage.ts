/**
 * A place of a user's own: a folder, spoken to by nothing but the public interface.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  link,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  unlink,
  utimes,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import type { Storage, StorageArguments, StoragePut, StorageTraits, StoredObject } from "../../mod.ts";

/** Makes it of the URL `own:/folder`, or of option `folder`; options may say that it knows no conditions. */
export default function makeStorage({ url, options }: StorageArguments): Storage {
  const given = (options ?? {}) as { conditionalPut?: boolean; folder?: string };
  const { conditionalPut = true, folder = url.replace(/^own:/, "") } = given;
  return new OwnStorage(folder, conditionalPut);
}

/** The same for readers. */
export function makeReader(given: StorageArguments): Storage {
  const storage = makeStorage(given);
  return {
    traits: storage.traits,
    list: (...asked) => storage.list(...asked),
    read: (...asked) => storage.read(...asked),
  };
}

/** No storage at all. */
export function makeNothing(): unknown {
  return { read() {} };
}

class OwnStorage implements Storage {
  readonly traits: StorageTraits;
  readonly #folder: string;

  constructor(folder: string, conditionalPut: boolean) {
    this.#folder = folder;
    this.traits = { conditionalPut, listsInOrder: false, cheapList: false };
  }

  async *list(prefix: string): AsyncGenerator<StoredObject[]> {
    const names = await readdir(this.#folder, { recursive: true, withFileTypes: true }).catch(() => []);
    for (const entry of names) {
      const path = join(entry.parentPath, entry.name);
      const key = path.slice(this.#folder.length + 1);
      if (!entry.isFile() || key.endsWith(".tmp") || !key.startsWith(prefix)) continue;
      const object = await this.#describe(key).catch(() => undefined);
      if (object) yield [object];
    }
  }

  async read(key: string, { offset, size }: { offset: number; size: number }) {
    const file = await open(join(this.#folder, key)).catch(absent);
    if (file === undefined) return undefined;
    try {
      const bytes = new Uint8Array(size);
      const { bytesRead } = await file.read(bytes, 0, size, offset);
      const { etag, size: objectSize } = await this.#describe(key);
      return { bytes: bytes.slice(0, bytesRead), etag, objectSize };
    } finally {
      await file.close();
    }
  }

  async put(key: string, bytes: Uint8Array, { ifAbsent, timestampMs }: StoragePut) {
    const path = join(this.#folder, key);
    await mkdir(dirname(path), { recursive: true });
    const temporary = `${path}.${crypto.randomUUID()}.tmp`;
    await writeFile(temporary, bytes);
    if (timestampMs !== undefined) await utimes(temporary, timestampMs / 1000, timestampMs / 1000);
    try {
      if (!ifAbsent || !this.traits.conditionalPut) await rename(temporary, path);
      else await link(temporary, path);
    } catch (error) {
      if ((error as { code?: string }).code === "EEXIST") return undefined;
      throw error;
    } finally {
      await rm(temporary, { force: true });
    }
    const { etag, modifiedMs } = await this.#describe(key);
    return { etag, modifiedMs };
  }

  async remove(keys: readonly string[]) {
    for (const key of keys) await unlink(join(this.#folder, key)).catch(absent);
  }

  async #describe(key: string): Promise<StoredObject> {
    const path = join(this.#folder, key);
    const etag = createHash("sha256").update(await readFile(path)).digest("hex");
    const { size, mtimeMs } = await stat(path);
    return { key, size, etag, modifiedMs: mtimeMs };
  }
}

function absent(error: { code?: string }): undefined {
  if (error.code !== "ENOENT") throw error;
}
