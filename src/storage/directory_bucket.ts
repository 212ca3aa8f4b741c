/**
 * Directory buckets of Amazon's S3 Express One Zone: what their names say.
 *
 * @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/directory-bucket-naming-rules.html
 * @module
 */

/** `NAME--ZONE--x-s3`, the zone such as `use1-az4`, or `usw2-lax1-az1`. */
const NAME = /^[a-z0-9][a-z0-9-]*--([a-z]+\d(?:-[a-z0-9]+)?-az\d+)--x-s3$/;

const DIRECTIONS: Readonly<Record<string, string>> = {
  c: "central",
  e: "east",
  n: "north",
  ne: "northeast",
  nw: "northwest",
  s: "south",
  se: "southeast",
  sw: "southwest",
  w: "west",
};

/** The zone in which a directory bucket lies; undefined for every other bucket. */
export function zoneOf(bucket: string): string | undefined {
  return NAME.exec(bucket)?.[1];
}

/** The region of a zone, as the zone abbreviates it; empty where it has another form. */
export function regionOfZone(zone: string): string {
  const [, area = "", gov = "", direction = "", number = ""] =
    /^([a-z]{2})(g(?=[nesw]))?([a-z]{1,2})(\d)/.exec(zone) ?? [];
  const name = DIRECTIONS[direction];
  return name === undefined ? "" : `${area}${gov === "" ? "" : "-gov"}-${name}-${number}`;
}
