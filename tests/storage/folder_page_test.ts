import assert from "node:assert/strict";
import { test } from "node:test";
import { parseFolderPage } from "../../src/storage/http/folder_page.ts";

const URL_OF_FOLDER = "http://h.example/r/ltx/0/?token=x";

function namesOf(page: string, url = URL_OF_FOLDER): string[] | undefined {
  return parseFolderPage(page, url)?.map(({ name, isFolder }) => name + (isFolder ? "/" : ""));
}

test("parseFolderPage() takes what lies in the folder itself, however it is linked", () => {
  const page =
    '<html><head><title>Index of /r</title></head><a href="?C=N;O=D">Name</a><a href="../">..</a>' +
    "<A class=x HREF='a%20b'>a b</A> 1K <a href=./c&amp;d>c&d</a> <a href=\"/r/ltx/0/e/\">e</a>" +
    '<a href="http://h.example/r/ltx/0/f?token=x">f</a>';
  assert.deepEqual(namesOf(page), ["a b", "c&d", "e/", "f"]);
});

test("parseFolderPage() leaves out what lies elsewhere", () => {
  const links = ["//other.example/r/ltx/0/a", "https://h.example/r/ltx/0/a", "a/b", "/r/ltx/a", "%2e%2e/a"];
  const more = ["javascript:a", "a%2Fb", "%E4", "#a", "mailto:a@b", ""];
  const page = `<title>Index of /r</title>${
    [...links, ...more].map((link) => `<a href="${link}">x</a>`).join("")
  }`;
  assert.deepEqual(namesOf(page), []);
});

test("parseFolderPage() tells a folder that is empty from a page that lists none", () => {
  for (const page of ["<title>Index of /r</title>", '<a href="../">up</a>', "[\n]", "null\n"]) {
    assert.deepEqual(namesOf(page), [], page);
  }
  for (
    const page of ["", '<a href="/">home</a><a href="/about">about</a>', "[half", '{"a":1}', "not found"]
  ) {
    assert.equal(namesOf(page), undefined, page);
  }
});

test("parseFolderPage() reads the JSON of nginx and of Caddy", () => {
  const nginx = '[{"name":"a","type":"file","mtime":"Sat, 21 Nov 2026 23:41:12 GMT","size":5},' +
    '{"name":"b","type":"directory","mtime":"Sat, 21 Nov 2026 23:41:12 GMT"},' +
    '{"name":"../x","size":1},7,null]';
  const modifiedMs = Date.UTC(2026, 10, 21, 23, 41, 12);
  assert.deepEqual(parseFolderPage(nginx, URL_OF_FOLDER), [
    { name: "a", isFolder: false, facts: { size: 5, modifiedMs }, row: "" },
    { name: "b", isFolder: true, facts: undefined, row: "" },
  ]);
  const caddy = '[{"name":"a","size":5,"url":"./a","mod_time":"2026-11-21T23:41:12Z","is_dir":false},' +
    '{"name":"b/","size":4096,"url":"./b/","mod_time":"2026-11-21T23:41:12Z","is_dir":true}]';
  assert.deepEqual(namesOf(caddy), ["a", "b/"]);
  assert.deepEqual(parseFolderPage(caddy, URL_OF_FOLDER)![0]!.facts, { size: 5, modifiedMs });
});

test("parseFolderPage() tells a row that changed", () => {
  const rowOf = (size: string) =>
    parseFolderPage(`<a href="a">a</a> <td>21-Nov ${size}</td><a href="b">b</a> 9`, URL_OF_FOLDER)![0]!.row;
  assert.notEqual(rowOf("5"), rowOf("6"));
  assert.equal(rowOf("5"), rowOf("5"));
});

test("parseFolderPage() takes no longer for a page without ends", () => {
  for (const piece of ["<a href=x ", "<a ", "<", "<a href=", '<a href="', "<a href =  "]) {
    const page = `<title>Index of</title><a href="x">x</a>${piece.repeat(100_000)}`;
    const [entry] = parseFolderPage(page, "http://h.example/r/") ?? [];
    assert.equal(entry?.name, "x");
  }
});
