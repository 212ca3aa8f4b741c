import assert from "node:assert/strict";
import { resolve } from "node:path";
import { test } from "node:test";
import { environmentWarnings } from "../src/environment.ts";
import { parseDuration } from "../src/option_value.ts";
import type { FetchOption, OpenOptions, StorageOption } from "../src/options.ts";
import { makeConfig, plainCredentials } from "../src/replica_config.ts";
import { makeUriConfig } from "../src/uri_config.ts";
import type { GsLocation } from "../src/storage/backend_location.ts";
import type { S3Location } from "../src/storage/replica_url.ts";

const MiB = 1024 * 1024;

function s3(
  url: string | undefined,
  options: OpenOptions = {},
  environment: Record<string, string> = {},
): S3Location {
  const { location } = makeConfig(url, options, environment);
  assert.equal(location.scheme, "s3");
  return location as S3Location;
}

test("makeConfig() fills in every default", () => {
  const config = makeConfig("file:///var/replica", {}, {});
  assert.deepEqual(
    { ...config, location: config.location.name },
    {
      location: "file:///var/replica",
      credentials: undefined,
      fetch: undefined,
      cacheBytesMax: 64 * MiB,
      cacheDir: undefined,
      cacheDirBytesMax: 1024 * MiB,
      offline: "error",
      openTimeoutMs: 60_000,
      readTimeoutMs: 60_000,
      requestTimeoutMs: 9_000,
      waitForReplicaMs: 0,
      pollIntervalMs: 1_000,
      maxStaleMs: 0,
      onReplaced: "error",
      prefetch: "auto",
      prefetchBytesMax: 16 * MiB,
      maxRequests: 0,
      maxBytes: 0,
      write: undefined,
      hydrate: undefined,
    },
  );
  assert.ok(Object.isFrozen(config));
});

test("makeConfig() gives what can be posted to a worker", () => {
  const expiration = new Date(1_700_000_000_000);
  const credentials = { accessKeyId: "id", secretAccessKey: "secret", sessionToken: "token", expiration };
  const config = makeConfig("s3://bucket/path", { credentials, signal: AbortSignal.timeout(60_000) }, {});
  assert.deepEqual(structuredClone(config), { ...config });
  assert.deepEqual(config.credentials, {
    accessKeyId: "id",
    secretAccessKey: "secret",
    sessionToken: "token",
    expirationMs: 1_700_000_000_000,
  });
});

test("makeConfig() lets options stand over the URL, and the URL over the environment", () => {
  const environment = { LITESTREAM_REPLICA_URL: "s3://other/place", LITESTREAM_S3_ENDPOINT: "http://env:1" };
  const url = "s3://bucket/path?region=eu-west-1&endpoint=http://url:2&forcePathStyle=true";
  const byOption = s3(url, { region: "us-west-2", endpoint: "http://option:3" }, environment);
  assert.deepEqual([byOption.bucket, byOption.region, byOption.endpoint], [
    "bucket",
    "us-west-2",
    "http://option:3",
  ]);
  assert.equal(byOption.pathStyle, true);
  const byUrl = s3(url, {}, environment);
  assert.deepEqual([byUrl.region, byUrl.endpoint], ["eu-west-1", "http://url:2"]);
  assert.equal(s3("s3://bucket/path", {}, environment).endpoint, "http://env:1");
});

test("makeConfig() takes the environment's URL before its S3 variables", () => {
  const bucket = { LITESTREAM_S3_BUCKET: "b", LITESTREAM_S3_PATH: "p" };
  assert.equal(
    makeConfig(undefined, {}, { ...bucket, LITESTREAM_REPLICA_URL: "s3://url/path" }).location.name,
    "s3://url/path",
  );
  assert.equal(makeConfig(undefined, {}, bucket).location.name, "s3://b/p");
  assert.equal(makeConfig("s3://given/path", {}, bucket).location.name, "s3://given/path");
});

test("makeConfig() reads all of LITESTREAM_S3_…", () => {
  const location = s3(undefined, {}, {
    LITESTREAM_S3_BUCKET: "sandwiches",
    LITESTREAM_S3_PATH: "/db/main",
    LITESTREAM_S3_REGION: "eu-central-1",
    LITESTREAM_S3_ENDPOINT: "https://store.example:9000",
    LITESTREAM_S3_FORCE_PATH_STYLE: "true",
    LITESTREAM_S3_SKIP_VERIFY: "true",
  });
  assert.equal(location.name, "s3://sandwiches/db/main");
  assert.equal(location.region, "eu-central-1");
  assert.equal(location.endpoint, "https://store.example:9000");
  assert.equal(location.pathStyle, true);
  assert.equal(location.skipVerify, true);
});

test("makeConfig() takes empty variables as absent", () => {
  const location = s3(undefined, {}, {
    LITESTREAM_REPLICA_URL: "",
    LITESTREAM_S3_BUCKET: "b",
    LITESTREAM_S3_PATH: "",
    LITESTREAM_S3_REGION: "",
    LITESTREAM_S3_ENDPOINT: "",
    LITESTREAM_S3_SKIP_VERIFY: "",
  });
  assert.equal(location.bucket, "b");
  assert.equal(location.endpoint, "");
  assert.equal(location.skipVerify, false);
});

test("makeConfig() keeps a path of the environment that URLs give a meaning to", () => {
  const location = s3(undefined, {}, { LITESTREAM_S3_BUCKET: "b", LITESTREAM_S3_PATH: "a b/50%/x?y#z" });
  assert.equal(location.name, "s3://b/a b/50%/x?y#z");
  assert.deepEqual(location.prefixes, ["a b/50%/x?y#z/"]);
});

test("makeConfig() without any replica says how to name one", () => {
  assert.throws(() => makeConfig(undefined, {}, {}), (error) => {
    assert.ok(error instanceof TypeError);
    assert.match(error.message, /LITESTREAM_REPLICA_URL.*LITESTREAM_S3_BUCKET/);
    return true;
  });
});

test("makeConfig() refuses region and endpoint for a folder", () => {
  assert.throws(() => makeConfig("file:///r", { region: "us-east-1" }, {}), TypeError);
  assert.throws(() => makeConfig("file:///r", { endpoint: "http://e" }, {}), TypeError);
});

test("makeConfig() refuses URLs it cannot understand", () => {
  for (
    const url of ["", "nonsense", "ftp://host/path", "s3://", "file://relative", "gs://", "sftp://host/x"]
  ) {
    assert.throws(() => makeConfig(url, {}, {}), TypeError, url);
  }
});

test("makeConfig() does not repeat secrets of a URL in errors", () => {
  for (
    const url of [
      "s3://key:sesame@bucket/path",
      "s3://bucket/path?partSize=sesame",
      "ftp://u:sesame@h/?t=sesame",
    ]
  ) {
    assert.throws(
      () => makeConfig(url, {}, {}),
      (error) => !(error as Error).message.includes("sesame:") && !/sesame@/.test((error as Error).message),
    );
  }
});

const numbers = [
  "cacheBytesMax",
  "openTimeoutMs",
  "readTimeoutMs",
  "requestTimeoutMs",
  "waitForReplicaMs",
] as const;

test("makeConfig() refuses numbers out of range, naming option, value and range", () => {
  for (const name of numbers) {
    for (
      const value of [-1, 1.5, NaN, Infinity, 2 ** 31, "5" as unknown as number, null as unknown as number]
    ) {
      assert.throws(() => makeConfig("file:///r", { [name]: value }, {}), (error) => {
        assert.ok(error instanceof RangeError, `${name} ${value}: ${error}`);
        assert.ok(error.message.includes(name) && error.message.includes(String(value)), error.message);
        return true;
      });
    }
  }
  assert.throws(() => makeConfig("file:///r", { cacheBytesMax: MiB - 1 }, {}), RangeError);
  assert.throws(() => makeConfig("file:///r", { openTimeoutMs: 0 }, {}), RangeError);
});

test("makeConfig() takes numbers at the ends of their ranges", () => {
  for (const name of numbers) {
    assert.equal(makeConfig("file:///r", { [name]: 2 ** 31 - 1 }, {})[name], 2 ** 31 - 1);
  }
  assert.equal(makeConfig("file:///r", { cacheBytesMax: MiB }, {}).cacheBytesMax, MiB);
  assert.equal(makeConfig("file:///r", { waitForReplicaMs: 0 }, {}).waitForReplicaMs, 0);
  assert.equal(makeConfig("file:///r", { openTimeoutMs: 1 }, {}).openTimeoutMs, 1);
});

test("makeConfig() passes anonymous on and leaves a function to the caller", () => {
  assert.equal(makeConfig("s3://b/p", { credentials: "anonymous" }, {}).credentials, "anonymous");
  assert.equal(
    makeConfig("s3://b/p", { credentials: () => ({ accessKeyId: "a", secretAccessKey: "b" }) }, {})
      .credentials,
    undefined,
  );
});

test("plainCredentials() refuses half a pair without repeating it", () => {
  for (
    const half of [{ accessKeyId: "AKIA", secretAccessKey: "" }, {
      accessKeyId: "",
      secretAccessKey: "sesame",
    }]
  ) {
    assert.throws(
      () => plainCredentials(half),
      (error) => error instanceof TypeError && !/AKIA|sesame/.test(error.message),
    );
  }
});

test("makeUriConfig() takes replica_url and cache_size, and passes over what it does not know", () => {
  const parameters = new Map([
    ["vfs", "litestream"],
    ["replica_url", "file:///r"],
    ["cache_size", "2097152"],
    ["mode", "ro"],
  ]);
  const config = makeUriConfig(parameters, { LITESTREAM_REPLICA_URL: "file:///other" });
  assert.equal(config.location.name, "file:///r");
  assert.equal(config.cacheBytesMax, 2 * MiB);
});

test("makeUriConfig() without replica_url takes the environment's", () => {
  const config = makeUriConfig(new Map([["vfs", "litestream"]]), { LITESTREAM_REPLICA_URL: "file:///other" });
  assert.equal(config.location.name, "file:///other");
  assert.equal(config.cacheBytesMax, 64 * MiB);
  assert.throws(() => makeUriConfig(new Map(), {}), TypeError);
});

test("makeUriConfig() takes the least there is for a small cache_size, and refuses what is no number", () => {
  const sized = (size: string) =>
    makeUriConfig(new Map([["replica_url", "file:///r"], ["cache_size", size]]), {});
  assert.equal(sized("0").cacheBytesMax, MiB);
  assert.equal(sized("4096").cacheBytesMax, MiB);
  for (const size of ["", "-1", "1e6", "64MB", "0x10", " 5", "99999999999"]) {
    assert.throws(() => sized(size), RangeError, size);
  }
});

test("makeConfig() makes plain data of the fetch option", () => {
  const of = (fetch: FetchOption) => makeConfig("s3://b/p", { fetch }, {}).fetch;
  const url = new URL("file:///srv/proxy.ts");
  assert.deepEqual(of({ module: url }), { module: "file:///srv/proxy.ts", export: "default" });
  assert.deepEqual(of({ module: "https://host/proxy.ts", export: "own" }), {
    module: "https://host/proxy.ts",
    export: "own",
  });
  assert.deepEqual(structuredClone(of({ module: url })), of({ module: url }));
});

test("makeConfig() refuses a fetch option that names no module or export", () => {
  const given: [fetch: unknown, words: RegExp][] = [
    [fetch, /a function, expected \{ module, export \}/],
    [{ module: "./proxy.ts" }, /module is "\.\/proxy\.ts", expected an absolute URL/],
    [{ module: "/srv/proxy.ts" }, /expected an absolute URL/],
    [{ module: "" }, /expected an absolute URL/],
    [{}, /module is "undefined"/],
    [{ module: "file:///x.ts", export: "" }, /export is ""/],
    [{ module: "file:///x.ts", export: 5 }, /export is "5"/],
  ];
  for (const [option, message] of given) {
    assert.throws(() => makeConfig("s3://b/p", { fetch: option as FetchOption }, {}), {
      name: "TypeError",
      message,
    });
  }
});

test("makeConfig() makes a location of the storage option, and takes secrets out of its name", () => {
  const module = new URL("file:///srv/own.ts");
  const of = (storage: StorageOption, url?: string) => makeConfig(url, { storage }, {}).location;
  assert.deepEqual(of({ module }), {
    scheme: "module",
    isWhole: true,
    module: "file:///srv/own.ts",
    export: "default",
    name: "file:///srv/own.ts#default",
    layout: "folder",
    prefixes: [""],
    url: "",
    options: undefined,
  });
  const named = of(
    { module, export: "make", layout: "s3", options: { a: [1] } },
    "own://me:hush@host/x?key=hush",
  );
  assert.equal(named.name, "own://host/x");
  assert.equal(named.layout, "s3");
  assert.deepEqual(structuredClone(named), named);
  assert.equal(of({ module, name: "mine" }, "own://host/x").name, "mine");
  for (const url of ["own://me:hu/sh@host/x", "own://me:hu#sh@host/x", "own://me:hu?sh@host/x"]) {
    assert.equal(of({ module }, url).name, "own://host/x");
  }
  const secretModule = "https://me:hush@host/own.ts?key=hush";
  assert.equal(of({ module: secretModule }).name, "https://host/own.ts#default");
  assert.equal(of({ module: "data:text/javascript,hush" }).name, "data:#default");
});

test("makeConfig() refuses a storage option that cannot be used", () => {
  const module = "file:///srv/own.ts";
  const given: [storage: unknown, words: RegExp][] = [
    [{}, /option storage: module is "undefined", expected an absolute URL/],
    [{ module, name: "" }, /option storage: name is "", expected what the place is called/],
    [{ module, name: 5 }, /option storage: name is "5", expected/],
    [{ list() {}, read() {} }, /option storage: module is "undefined"/],
    [() => {}, /option storage: a function, expected \{ module, export \}, since it runs on another thread/],
    [{ module, options: { act() {} } }, /option storage: its options cannot be cloned, expected plain data/],
  ];
  for (const [storage, message] of given) {
    assert.throws(() => makeConfig(undefined, { storage: storage as StorageOption }, {}), {
      name: "TypeError",
      message,
    });
  }
  const layout = "ltx" as "s3";
  assert.throws(
    () => makeConfig(undefined, { storage: { module, layout } }, {}),
    /storage.layout: "ltx", expected/,
  );
});

test("makeConfig() puts endpoint and region where they mean something", () => {
  const endpoint = "http://localhost:4443";
  assert.equal((makeConfig("gs://b/p", { endpoint }, {}).location as GsLocation).endpoint, endpoint);
  assert.throws(() => makeConfig("sftp://u@h/p", { endpoint }, {}), /option endpoint: .*, expected/);
  assert.throws(() => makeConfig("gs://b/p", { region: "eu" }, {}), /option region: .*, expected/);
});

test("makeConfig() bounds what is loaded ahead by a quarter of the pool, or by what is said", () => {
  const bound = (options: OpenOptions) => makeConfig("file:///r", options, {}).prefetchBytesMax;
  assert.equal(bound({ cacheBytesMax: 256 * MiB }), 64 * MiB);
  assert.equal(bound({ cacheBytesMax: 256 * MiB, prefetchBytesMax: MiB }), MiB);
  assert.throws(() => bound({ prefetchBytesMax: 65 * MiB }), /prefetchBytesMax: 68157440, expected/);
  assert.throws(() => bound({ prefetchBytesMax: 1024 }), /prefetchBytesMax: 1024, expected/);
});

test("makeConfig() knows prefetch by two names", () => {
  const prefetch = "on" as "off";
  assert.throws(() => makeConfig("file:///r", { prefetch }, {}), /"on", expected "auto" or "off"/);
  assert.equal(makeConfig("file:///r", { prefetch: "off" }, {}).prefetch, "off");
});

test("makeConfig() refuses an onReplaced of another name, and a poll interval that is too short", () => {
  const onReplaced = "ignore" as "error";
  assert.throws(() => makeConfig("file:///r", { onReplaced }, {}), /"ignore", expected "error" or "follow"/);
  assert.equal(makeConfig("file:///r", { onReplaced: "follow" }, {}).onReplaced, "follow");
  assert.throws(() => makeConfig("file:///r", { pollIntervalMs: 9 }, {}), RangeError);
  assert.equal(makeConfig("file:///r", { pollIntervalMs: 10 }, {}).pollIntervalMs, 10);
  assert.equal(makeConfig("file:///r", { pollIntervalMs: 0 }, {}).pollIntervalMs, 0);
});

test("environmentWarnings() tells what the URL of the environment stands over", () => {
  const both = {
    LITESTREAM_REPLICA_URL: "s3://b/p",
    LITESTREAM_S3_BUCKET: "other",
    LITESTREAM_S3_REGION: "r",
  };
  assert.deepEqual(environmentWarnings(undefined, both), [
    "LITESTREAM_S3_BUCKET, LITESTREAM_S3_REGION and LITESTREAM_REPLICA_URL are set: only the URL is used, " +
    "expected one of both ways",
  ]);
  assert.deepEqual(environmentWarnings("s3://given/p", both), []);
  const fine = [
    {},
    { LITESTREAM_REPLICA_URL: "s3://b/p", LITESTREAM_S3_ENDPOINT: "http://e", LITESTREAM_S3_BUCKET: "" },
    { LITESTREAM_S3_BUCKET: "b", LITESTREAM_S3_REGION: "r" },
  ];
  for (const environment of fine) assert.deepEqual(environmentWarnings(undefined, environment), []);
});

test("environmentWarnings() tells of two keys, by name only", () => {
  const keys = {
    AWS_ACCESS_KEY_ID: "one",
    AWS_SECRET_ACCESS_KEY: "sesame",
    LITESTREAM_ACCESS_KEY_ID: "two",
    LITESTREAM_SECRET_ACCESS_KEY: "sesame",
  };
  const [warning = "", ...more] = environmentWarnings("s3://b/p", keys);
  assert.match(warning, /^AWS_ACCESS_KEY_ID and LITESTREAM_ACCESS_KEY_ID name different keys/);
  assert.ok(!/one"|two|sesame/.test(warning) && more.length === 0);
  assert.deepEqual(environmentWarnings("s3://b/p", { ...keys, LITESTREAM_ACCESS_KEY_ID: "one" }), []);
  assert.deepEqual(environmentWarnings("s3://b/p", { ...keys, AWS_SECRET_ACCESS_KEY: "" }), []);
});

test("parseDuration() reads durations as upstream writes them", () => {
  const durations: [text: string, ms: number][] = [
    ["1s", 1_000],
    ["500ms", 500],
    ["1m30s", 90_000],
    ["1.5s", 1_500],
    [".5s", 500],
    ["1h", 3_600_000],
    ["2us", 1],
    ["0", 0],
    ["0s", 0],
  ];
  for (const [text, ms] of durations) assert.equal(parseDuration("x", text), ms, text);
  for (const text of ["", "1", "s", "1 s", "-1s", "1d", "1s!", "999999h", "1e3s"]) {
    assert.throws(() => parseDuration("URI parameter x", text), /Cannot use URI parameter x: /, text);
  }
});

test("makeUriConfig() takes poll_interval", () => {
  const of = (interval: string) =>
    makeUriConfig(new Map([["replica_url", "file:///r"], ["poll_interval", interval]]), {}).pollIntervalMs;
  assert.deepEqual([of("250ms"), of("0"), of("1m")], [250, 0, 60_000]);
  assert.throws(() => of("soon"), RangeError);
});

test("makeConfig() says where and how a writer keeps its log", () => {
  const write = (options: object, environment = {}) =>
    makeConfig("file:///var/replica", { write: true, ...options }, environment).write!;
  const given = write({
    bufferPath: "/var/log/x",
    syncIntervalMs: 0,
    unsyncedBytesMax: 2 * MiB,
    compact: false,
  });
  assert.deepEqual(given, {
    path: "/var/log/x",
    syncIntervalMs: 0,
    unsyncedBytesMax: 2 * MiB,
    isUnconditional: false,
    isCompacting: false,
    isLeased: false,
  });
  const named = write({}, { XDG_STATE_HOME: "/state", HOME: "/home/me" });
  assert.match(named.path, /^\/state\/litestream-vfs\/file-var-replica-[0-9a-f]{16}$/);
  assert.equal(named.syncIntervalMs, 1000);
  assert.equal(named.unsyncedBytesMax, 256 * MiB);
  assert.ok(named.isCompacting);
  assert.match(write({}, { HOME: "/home/me" }).path, /^\/home\/me\/\.local\/state\/litestream-vfs\//);
  assert.throws(() => write({}, {}), { name: "TypeError", message: /bufferPath/ });
  assert.throws(() => write({ bufferPath: "/x", unsyncedBytesMax: 5 }), { name: "RangeError" });
  const other = makeConfig("file:///var/replica2", { write: true }, { HOME: "/home/me" }).write!;
  assert.notEqual(other.path, write({}, { HOME: "/home/me" }).path);
});

test("makeConfig() takes a folder for what was fetched, and the last state from it where that is wanted", () => {
  const { cacheDir, cacheDirBytesMax, offline } = makeConfig("s3://bucket/path", {
    cacheDir: "cache/here",
    cacheDirBytesMax: 5 * MiB,
    offline: "serve-stale",
  }, {});
  assert.deepEqual([cacheDir, cacheDirBytesMax, offline], [resolve("cache/here"), 5 * MiB, "serve-stale"]);
  const wrong: [OpenOptions, RegExp][] = [
    [{ cacheDir: "" }, /option cacheDir: "", expected the path of a folder/],
    [{ cacheDir: 5 as unknown as string }, /option cacheDir: "5"/],
    [{ cacheDirBytesMax: MiB - 1 }, /option cacheDirBytesMax: 1048575, expected a whole number from 1048576/],
    [
      { offline: "serve-stale" },
      /option offline: "serve-stale" without a last state, expected option cacheDir/,
    ],
    [
      { cacheDir: "x", offline: "stale" as "error" },
      /option offline: "stale", expected "error" or "serve-stale"/,
    ],
  ];
  for (const [options, message] of wrong) {
    assert.throws(() => makeConfig("s3://bucket/path", options, {}), message);
  }
});

test("makeUriConfig() takes cache_dir, cache_dir_bytes_max and offline", () => {
  const of = (more: Record<string, string>) =>
    makeUriConfig(new Map(Object.entries({ replica_url: "s3://bucket/path", ...more })), {});
  const { cacheDir, cacheDirBytesMax, offline } = of({
    cache_dir: "/var/cache/db",
    cache_dir_bytes_max: "2000000",
    offline: "serve-stale",
  });
  assert.deepEqual([cacheDir, cacheDirBytesMax, offline], [
    resolve("/var/cache/db"),
    2_000_000,
    "serve-stale",
  ]);
  assert.deepEqual([of({}).cacheDir, of({ cache_dir: "" }).cacheDir], [undefined, undefined]);
  assert.throws(() => of({ cache_dir: "x", cache_dir_bytes_max: "2 MB" }), /cache_dir_bytes_max: "2 MB"/);
});

test("makeConfig() takes switches as true or false only, and says what it found", () => {
  const wrong: [value: unknown, shown: string][] = [
    ["false", '"false"'],
    ["", '""'],
    [0, "0"],
    [1n, "1n"],
    [null, "null"],
    [[], "an array"],
    [() => true, "a function"],
  ];
  for (const name of ["write", "allowUnconditional", "lease", "compact", "flushOnSignals"]) {
    for (const [value, shown] of wrong) {
      assert.throws(() => makeConfig("file:///r", { [name]: value }, {}), {
        name: "TypeError",
        message: `Cannot use option ${name}: ${shown}, expected true or false`,
      });
    }
  }
  for (const hydrate of [1, null, {}] as unknown as boolean[]) {
    assert.throws(
      () => makeConfig("file:///r", { hydrate }, {}),
      /option hydrate: .*, expected true, false or/,
    );
  }
});

test("makeConfig() refuses text, keys and modules of another kind in words", () => {
  const given: [options: object, words: RegExp][] = [
    [{ region: 5 }, /option region: 5, expected text/],
    [{ endpoint: new URL("http://h") }, /option endpoint: an object \(URL\), expected text/],
    [{ bufferPath: null, write: true }, /option bufferPath: null, expected text/],
    [{ shimPath: 5 }, /option shimPath: 5, expected text/],
    [{ credentials: null }, /credentials: found null, expected \{ accessKeyId, secretAccessKey \}/],
    [{ credentials: "sesame" }, /credentials: found a string, expected/],
    [{ fetch: null }, /option fetch: null, expected \{ module, export \}/],
    [{ fetch: "proxy" }, /option fetch: a string, expected/],
    [{ storage: null }, /option storage: null, expected \{ module, export \}/],
    [{ storage: "" }, /option storage: a string, expected/],
  ];
  for (const [options, message] of given) {
    assert.throws(() => makeConfig("s3://b/p", options, {}), { name: "TypeError", message });
  }
});

test("makeConfig() names maxStaleMs where that is no number, and pollIntervalMs where that is none", () => {
  for (const maxStaleMs of [NaN, -1, null, "soon"] as number[]) {
    assert.throws(() => makeConfig("file:///r", { maxStaleMs }, {}), {
      name: "RangeError",
      message:
        /^Cannot use option maxStaleMs: (NaN|-1|null|"soon"), expected a whole number from 0 to 2\^31 - 1$/,
    });
  }
  assert.throws(
    () => makeConfig("file:///r", { maxStaleMs: 5_000, pollIntervalMs: NaN }, {}),
    /pollIntervalMs: NaN/,
  );
  assert.throws(
    () => makeConfig("file:///r", { maxStaleMs: 1_999 }, {}),
    /at least twice pollIntervalMs \(1000\)/,
  );
  assert.equal(makeConfig("file:///r", { maxStaleMs: 2_000 }, {}).maxStaleMs, 2_000);
});

test("makeConfig() trims a region, and refuses one that is no name, naming who gave it", () => {
  assert.equal(s3("s3://b/p", { region: " us-east-1\n" }).region, "us-east-1");
  assert.equal(s3("s3://b/p?region=us-east-1%0A").region, "us-east-1");
  assert.equal(s3("s3://b/p?endpoint=h", { region: "my_own" }).region, "my_own");
  const bucket = { LITESTREAM_S3_BUCKET: "b" };
  assert.equal(s3(undefined, {}, { ...bucket, LITESTREAM_S3_REGION: "eu-west-1\n" }).region, "eu-west-1");
  const wrong: [act: () => unknown, message: string][] = [
    [() => s3("s3://b/p", { region: "eu west 1" }), 'option region: "eu west 1"'],
    [() => s3("s3://b/p", { region: "eu\nwest" }), 'option region: "eu\\nwest"'],
    [() => s3("s3://b/p?region=a/b"), 'the URL\'s parameter "region": "a/b"'],
    [() => makeConfig("oss://b/p?region=a.b", {}, {}), 'the URL\'s parameter "region": "a.b"'],
    [() => s3(undefined, {}, { ...bucket, LITESTREAM_S3_REGION: "ü" }), 'LITESTREAM_S3_REGION: "ü"'],
  ];
  for (const [act, message] of wrong) {
    assert.throws(act, {
      name: "TypeError",
      message: `Cannot use ${message}, expected a region such as eu-west-1`,
    });
  }
});
