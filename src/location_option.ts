/**
 * Options that say where the replica lies, or how it is reached, as plain data.
 *
 * @module
 */
import { oneOf, shownKind } from "./option_value.ts";
import type { FetchOption, OpenOptions, StorageOption } from "./options.ts";
import type { FetchModule } from "./storage/fetch_function.ts";
import { cleanRegion } from "./storage/region.ts";
import type { LayoutName } from "./storage/object_store.ts";
import type { ModuleLocation } from "./storage/replica_url.ts";

/** Schemes of URLs for which an option means something. */
const SCHEMES_WITH = { region: ["s3", "oss"], endpoint: ["s3", "gs", "abs", "oss"] };

/** The URL with what options say more exactly. */
export function completeUrl(url: string, { region, endpoint }: OpenOptions): string {
  const given = { region: region === undefined ? undefined : cleanRegion("option region", region), endpoint };
  const names = (["region", "endpoint"] as const).filter((name) => given[name] !== undefined);
  if (names.length === 0) return url;
  for (const name of names) {
    const scheme = (/^[A-Za-z][A-Za-z0-9+.-]*(?=:)/.exec(url)?.[0] ?? "").toLowerCase();
    if (SCHEMES_WITH[name].includes(scheme)) continue;
    const wanted = SCHEMES_WITH[name].map((each) => `${each}://`).join(", ");
    throw new TypeError(
      `Cannot use option ${name}: the URL begins with "${scheme}:", expected one of ${wanted}`,
    );
  }
  const extra = names.map((name) => `${name}=${encodeURIComponent(given[name]!)}`);
  const [before, query = ""] = url.replace(/#.*$/s, "").split("?", 2) as [string, string?];
  const kept = query.split("&").filter((part) =>
    part && !extra.some((e) => e.split("=")[0] === part.split("=")[0])
  );
  return `${before}?${[...kept, ...extra].join("&")}`;
}

export function plainFetch(given: FetchOption | undefined): FetchModule | undefined {
  return given === undefined ? undefined : plainModule("fetch", given);
}

/** Where a function of the user's stands, as plain data. */
function plainModule(option: string, given: FetchOption): FetchModule {
  const wanted = `an absolute URL, such as new URL("./${option}.ts", import.meta.url)`;
  if (typeof given !== "object" || given === null) {
    throw new TypeError(
      `Cannot use option ${option}: ${
        shownKind(given)
      }, expected { module, export }, since it runs on another thread`,
    );
  }
  const { module, export: name = "default" } = given;
  if (!(module instanceof URL) && (typeof module !== "string" || !URL.canParse(module))) {
    throw new TypeError(`Cannot use option ${option}: module is "${String(module)}", expected ${wanted}`);
  }
  if (typeof name !== "string" || name === "") {
    throw new TypeError(`Cannot use option ${option}: export is "${name}", expected the name of an export`);
  }
  return { module: String(module), export: name };
}

export function moduleLocation(url: string, given: StorageOption): ModuleLocation {
  const at = plainModule("storage", given);
  const layout: LayoutName = oneOf("storage.layout", given.layout, ["folder", "s3"], "folder");
  try {
    structuredClone(given.options);
  } catch (cause) {
    throw new TypeError("Cannot use option storage: its options cannot be cloned, expected plain data", {
      cause,
    });
  }
  const { name = "", options } = given;
  if (typeof name !== "string" || (name === "" && given.name !== undefined)) {
    throw new TypeError(`Cannot use option storage: name is "${name}", expected what the place is called`);
  }
  const shown = shownUrl(url) || `${shownUrl(at.module)}#${at.export}`;
  const isWhole = name !== "" ||
    (options === undefined && shown === (url || `${at.module}#${at.export}`));
  return { scheme: "module", ...at, name: name || shown, isWhole, layout, prefixes: [""], url, options };
}

/** A URL without what may be secret: its user, its parameters. Who wrote it may not have minded its rules. */
function shownUrl(url: string): string {
  if (url.startsWith("data:")) return "data:";
  const [, scheme = "", rest = ""] = /^([a-z][a-z0-9+.-]*:\/*)?(.*)$/is.exec(url) ?? [];
  return scheme + rest.slice(rest.lastIndexOf("@") + 1).replace(/[?#].*$/s, "");
}
