/**
 * Makes what the demo reads, in the folder given: a database of sandwich ratings, `source.db`, and its replica as
 * Litestream would leave it, a snapshot and three files of later transactions.
 *
 * @module
 */
import process from "node:process";
import { Primary, SNAPSHOT_LEVEL } from "./demo_primary.ts";

/** Each is one transaction, with the minutes it lies back. */
const TRANSACTIONS: readonly (readonly [number, string])[] = [
  [
    12,
    `CREATE TABLE sandwiches (id INTEGER PRIMARY KEY, name TEXT, bread TEXT);
   CREATE TABLE ratings (id INTEGER PRIMARY KEY, sandwich_id INTEGER, stars INTEGER, taster TEXT, comment TEXT);
   WITH RECURSIVE
     bread(b, name) AS (VALUES (0, 'rye'), (1, 'sourdough'), (2, 'ciabatta'), (3, 'bagel'), (4, 'baguette')),
     filling(f, name) AS (VALUES (0, 'Reuben'), (1, 'Cubano'), (2, 'Banh mi'), (3, 'Caprese'), (4, 'Pastrami'),
       (5, 'Egg salad'), (6, 'Tuna melt'), (7, 'Falafel'))
   INSERT INTO sandwiches SELECT f * 5 + b + 1, filling.name || ' on ' || bread.name, bread.name FROM filling, bread;
   WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 60000)
   INSERT INTO ratings SELECT i, i * 7919 % 40 + 1, min(5, 1 + i * 31 % 97 % 5 + (i * 7919 % 40 % 9 = 4)),
     printf('taster %04d', i * 13 % 5003),
     printf('%s %s, %s (visit %x-%x)', '["Wonderfully", "A bit", "Nicely", "Hardly", "Oddly"]' ->> (i * 31 % 5),
       '["crisp", "dry", "fresh", "warm", "tangy", "soggy", "crunchy"]' ->> (i * 17 % 7),
       '["would order again", "shared it with a friend", "too small for me"]' ->> (i * 11 % 3),
       i * 2654435761 % 4294967291, i * 40503 % 65521)
     FROM n;
   CREATE INDEX ratings_of ON ratings (sandwich_id, stars);`,
  ],
  [9, "UPDATE ratings SET stars = 5, comment = 'changed my mind' WHERE id % 4999 = 0"],
  [7, "INSERT INTO ratings VALUES (60001, 1, 5, 'taster 0001', 'the best one yet')"],
  [4, "INSERT INTO ratings VALUES (60002, 1, 1, 'taster 0002', 'too much cabbage')"],
  [2, "UPDATE sandwiches SET name = name || ' (new recipe)' WHERE id = 1"],
];

/** The files of the replica: level, first and last transaction. */
const FILES = [[SNAPSHOT_LEVEL, 1, 1], [1, 2, 3], [0, 4, 4], [0, 5, 5]] as const;

const primary = await Primary.open(process.argv[2]!, 0);
for (const [minutesAgo, sql] of TRANSACTIONS) primary.perform(sql, Date.now() - minutesAgo * 60_000);
primary.close();
const pages = primary.size / 4096;
console.log(`\nA database of ${(primary.size / 1e6).toFixed(1)} MB, ${pages} pages, and its replica:`);
for (const [level, first, last] of FILES) {
  const { key, size } = primary.write(level, first, last);
  console.log(`  ${key}  ${(size / 1e3).toFixed(0).padStart(5)} kB`);
}
