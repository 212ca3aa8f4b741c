/**
 * Web servers on loopback over temporary folders: Apache and rclone speak WebDAV, nginx and Python serve
 * them.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort, program, start, untilReady } from "./real.ts";

/** A running server. */
export interface WebServer {
  /** `http://127.0.0.1:PORT` */
  readonly origin: string;
  /** What it serves. */
  readonly folder: string;
  close(): Promise<void>;
}

/** Who may ask, where not everybody may. */
export interface Account {
  readonly user: string;
  readonly password: string;
  /** Digest in place of Basic. */
  readonly digest?: boolean;
}

const REALM = "replicas";
const APACHE_MODULES = "/usr/lib/apache2/modules";

/** Apache, or APACHE_BIN. */
export function apacheBinary(): string | undefined {
  const given = program(process.env.APACHE_BIN, "none");
  return given ?? (existsSync(APACHE_MODULES) ? "/usr/sbin/apache2" : undefined);
}

/** rclone, or RCLONE_BIN. */
export function rcloneBinary(): string | undefined {
  return program(process.env.RCLONE_BIN, "rclone-1.75.2/bin/rclone");
}

/** nginx, or NGINX_BIN. */
export function nginxBinary(): string | undefined {
  const given = program(process.env.NGINX_BIN, "none");
  return given ?? (existsSync("/usr/sbin/nginx") ? "/usr/sbin/nginx" : undefined);
}

/** Starts Apache with mod_dav over a folder, and mod_autoindex where it is not asked by WebDAV. */
export async function startApache(account?: Account): Promise<WebServer> {
  return await serve("apache", apacheBinary(), async ({ port, home, folder }) => {
    const config = join(home, "apache.conf");
    await writeFile(config, apacheConfig({ port, home, folder, account }));
    if (account) await writeFile(join(home, "users"), accountLine(account));
    return ["-f", config, "-DFOREGROUND"];
  });
}

/** Starts rclone's WebDAV server over a folder. */
export async function startRclone(): Promise<WebServer> {
  return await serve(
    "rclone",
    rcloneBinary(),
    ({ port, home, folder }) => [
      "serve",
      "webdav",
      `--addr=127.0.0.1:${port}`,
      `--config=${join(home, "rclone.conf")}`,
      `--cache-dir=${join(home, "cache")}`,
      folder,
    ],
  );
}

/** Starts nginx over a folder, with listings in a form of its own. */
export async function startNginx(listings: "html" | "json" | "off"): Promise<WebServer> {
  return await serve("nginx", nginxBinary(), async ({ port, home, folder }) => {
    const config = join(home, "nginx.conf");
    await writeFile(config, nginxConfig({ port, home, folder }, listings));
    return ["-c", config, "-e", join(home, "error.log")];
  });
}

/** Starts `python3 -m http.server` over a folder, which stays. */
export async function startPythonServer(folder: string): Promise<WebServer> {
  return await serve("python", "python3", ({ port }) => [
    ...["-m", "http.server", "--bind", "127.0.0.1"],
    ...["--directory", folder, String(port)],
  ]);
}

interface Place {
  readonly port: number;
  /** For the server's own files. */
  readonly home: string;
  readonly folder: string;
}

async function serve(
  name: string,
  binary: string | undefined,
  argumentsOf: (place: Place) => Promise<string[]> | string[],
): Promise<WebServer> {
  if (binary === undefined) throw new Error(`Cannot start ${name}: it is not installed`);
  const home = await mkdtemp(join(tmpdir(), `${name}-`));
  const place = { port: await freePort(), home, folder: join(home, "files") };
  await mkdir(place.folder);
  for (const path of [home, place.folder]) await chmod(path, 0o777); // Apache started by root is another user
  const origin = `http://127.0.0.1:${place.port}`;
  const server = start(binary, await argumentsOf(place));
  await untilReady(`${name} answers`, server, home, async () => {
    const answer = await fetch(origin).catch(() => undefined);
    await answer?.body?.cancel();
    return answer !== undefined;
  });
  return {
    origin,
    folder: place.folder,
    async close() {
      await server.stop("SIGTERM");
      await rm(home, { recursive: true, force: true });
    },
  };
}

function apacheConfig({ port, home, folder, account }: Place & { account: Account | undefined }): string {
  const modules = [
    ...["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic", "auth_digest"],
    ...["alias", "autoindex", "dav", "dav_fs", "dir"],
  ].map((module) => `LoadModule ${module}_module ${APACHE_MODULES}/mod_${module}.so`);
  const access = account === undefined ? ["Require all granted"] : [
    `AuthType ${account.digest ? "Digest" : "Basic"}`,
    `AuthName "${REALM}"`,
    `AuthUserFile ${join(home, "users")}`,
    "Require valid-user",
  ];
  return [
    `Listen 127.0.0.1:${port}`,
    "ServerName localhost",
    `ServerRoot ${home}`,
    `DefaultRuntimeDir ${home}`,
    `PidFile ${join(home, "pid")}`,
    `ErrorLog ${join(home, "error.log")}`,
    ...modules,
    "User www-data",
    "Group www-data",
    ...["ServerLimit 2", "StartServers 2", "ThreadsPerChild 32", "MaxRequestWorkers 64"],
    ...["MinSpareThreads 1", "MaxSpareThreads 64"], // no process ends while others are served
    "KeepAliveTimeout 60",
    "MaxKeepAliveRequests 0",
    `DocumentRoot ${folder}`,
    `DavLockDB ${join(home, "lock")}`,
    `<Directory ${folder}>`,
    "Dav On",
    "Options +Indexes",
    "IndexOptions FancyIndexing NameWidth=*",
    ...access,
    "</Directory>",
    "",
  ].join("\n");
}

/** A line as `htpasswd -s` or `htdigest` writes it. */
function accountLine({ user, password, digest = false }: Account): string {
  if (!digest) return `${user}:{SHA}${createHash("sha1").update(password).digest("base64")}\n`;
  return `${user}:${REALM}:${createHash("md5").update(`${user}:${REALM}:${password}`).digest("hex")}\n`;
}

function nginxConfig({ port, home, folder }: Place, listings: "html" | "json" | "off"): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((name) => `${name}_temp_path ${join(home, name)};`);
  const autoindex = listings === "off" ? "autoindex off;" : `autoindex on; autoindex_format ${listings};`;
  return [
    "daemon off;",
    ...(process.getuid?.() === 0 ? ["user root;"] : []), // what Litestream writes only its user may read
    "worker_processes 1;",
    `pid ${join(home, "pid")};`,
    "events { worker_connections 256; }",
    "http {",
    ...temporary,
    "access_log off;",
    "types { application/json json; text/html html; }",
    "default_type application/octet-stream;",
    `server { listen 127.0.0.1:${port}; root ${folder}; ${autoindex} }`,
    "}",
    "",
  ].join("\n");
}
