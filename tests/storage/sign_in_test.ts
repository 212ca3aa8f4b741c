import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { SignIn } from "../../src/storage/sign_in.ts";

const REALM = "Café 東京";

const md5 = (text: string) => createHash("md5").update(text, "utf8").digest("hex");

test("SignIn: Digest knows names of all languages, as UTF-8", async () => {
  const seen: string[] = [];
  const server = createServer(({ headers: { authorization } }, response) => {
    if (authorization !== undefined) seen.push(Buffer.from(authorization, "latin1").toString("utf8"));
    const asked = `Digest realm="${REALM}", nonce="n", charset=UTF-8`;
    response.writeHead(401, { "www-authenticate": Buffer.from(asked, "utf8").toString("latin1") }).end();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/a`;
  try {
    for (const user of ["jörg", "Łukasz", 'a"b']) {
      const signIn = new SignIn({ user, password: "пароль" }, false);
      signIn.hear((await fetch(url)).headers);
      assert.ok(signIn.renew(401));
      await fetch(url, { headers: { ...signIn.headers("GET", url) } });
      const told = seen.pop()!;
      assert.ok(told.includes(`username="${user.replace('"', '\\"')}", realm="${REALM}"`), told);
      const response = md5(`${md5(`${user}:${REALM}:пароль`)}:n:${md5("GET:/a")}`);
      assert.ok(told.includes(`response="${response}"`), told);
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
