/**
 * The `orders` database: as an application leaves it that has never run VACUUM.
 *
 * All rows come in shuffled order with their indexes in place, so that every B-tree's neighbours lie scattered over the
 * file, its pages two thirds full.
 *
 * `customers(id, name, city)` · `orders(id, customer, created_at, amount, note)`, `created_at` rising with the id, one
 * scattered index (`by_customer`) and one clustered (`by_created`) · `attachments(id, order_id, body)`, 1,500 blobs of
 * 1 to 32 KB · `notes`, FTS5 over the notes of the first sixth of the orders, which has their text from `orders`.
 *
 * @module
 */
import { rm } from "node:fs/promises";
import { openLocal } from "../../tests/support/local_database.ts";
import { Random } from "../../tests/support/random.ts";

/** Orders a customer has, on average. */
export const ORDERS_EACH = 50;
/** Blobs with overflow chains. */
export const ATTACHMENTS = 1_500;
/** Words that notes are made of: {@link word} names them, the first ones are frequent. */
export const WORDS = 4_000;
/** `created_at` of an order: seconds since the Unix epoch. */
export const createdAt = (id: number): number => 1_700_000_000 + id * 37;

const SYLLABLES = ["ba", "ke", "lo", "mi", "nu", "pra", "ste", "tor", "vi", "wen", "zu", "gri"];

/** The word of a number. */
export function word(number: number): string {
  const last = SYLLABLES.length;
  let text = SYLLABLES[number % last]!;
  for (let rest = Math.floor(number / last); rest > 0; rest = Math.floor(rest / last)) {
    text += SYLLABLES[rest % last];
  }
  return text;
}

/** Makes it at `path`, the same for the same number of orders: 1,200,000 give 200 MB in half a minute. */
export async function makeOrdersDatabase(path: string, orders: number): Promise<void> {
  await rm(path, { force: true });
  const database = await openLocal(path);
  database.exec(
    `PRAGMA page_size=4096; PRAGMA journal_mode=off; PRAGMA synchronous=off; PRAGMA cache_size=-1000000;
    CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT, city TEXT);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER, created_at INTEGER, amount REAL, note TEXT);
    CREATE INDEX by_customer ON orders(customer);
    CREATE INDEX by_created ON orders(created_at);
    CREATE TABLE attachments(id INTEGER PRIMARY KEY, order_id INTEGER, body BLOB);
    CREATE VIRTUAL TABLE notes USING fts5(note, content='orders', content_rowid='id');
    BEGIN`,
  );
  const random = new Random(4);
  const customers = Math.floor(orders / ORDERS_EACH);
  const insertCustomer = database.prepare("INSERT INTO customers VALUES (?, ?, ?)");
  const insertOrder = database.prepare("INSERT INTO orders VALUES (?, ?, ?, ?, ?)");
  const insertBlob = database.prepare("INSERT INTO attachments VALUES (?, ?, ?)");
  const customerIds = shuffled(customers, random);
  const blobIds = shuffled(ATTACHMENTS, random);
  const blobEvery = Math.floor(orders / ATTACHMENTS);
  shuffled(orders, random).forEach((id, i) => {
    if (i % ORDERS_EACH === 0 && i / ORDERS_EACH < customers) {
      const name = `${word(random.next(WORDS))} ${word(random.next(WORDS))}`;
      insertCustomer.get(customerIds[i / ORDERS_EACH]!, name, word(random.next(100)));
    }
    insertOrder.get(
      id,
      1 + random.next(customers),
      createdAt(id),
      random.next(1_000_000) / 100,
      note(random),
    );
    if (i % blobEvery === 0 && i / blobEvery < ATTACHMENTS) {
      insertBlob.get(blobIds[i / blobEvery]!, id, random.bytes(1_000 + random.next(31_000)));
    }
  });
  database.exec(
    `INSERT INTO notes(rowid, note) SELECT id, note FROM orders WHERE id <= ${Math.floor(orders / 6)};
    COMMIT`,
  );
  database.close();
}

/** Six to eleven words, the frequent ones more often, and a number. */
function note(random: Random): string {
  const words = Array.from({ length: 6 + random.next(6) }, () => word(random.next(1 + random.next(WORDS))));
  return `${words.join(" ")} ${random.next(100_000)}`;
}

/** The numbers 1 … count in an order of their own. */
function shuffled(count: number, random: Random): Uint32Array {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i + 1);
  for (let i = count - 1; i > 0; i--) {
    const j = random.next(i + 1);
    const kept = numbers[i]!;
    numbers[i] = numbers[j]!;
    numbers[j] = kept;
  }
  return numbers;
}
