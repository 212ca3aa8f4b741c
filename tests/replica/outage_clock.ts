/**
 * A wall clock that tests set: a library that goes before the system's own in a child process, so that all its threads,
 * whatever they are written in, see the same wrong time. Clocks that only measure go on as they are.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

const SOURCE = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *pOffset;      /* seconds ahead, shared with whoever sets it */

__attribute__((constructor)) static void begin(void){
  const char *zFile = getenv("CLOCK_FILE");
  int fd = zFile ? open(zFile, O_RDONLY) : -1;
  void *p = fd<0 ? MAP_FAILED : mmap(0, sizeof(*pOffset), PROT_READ, MAP_SHARED, fd, 0);
  if( p!=MAP_FAILED ) pOffset = p;
}
int clock_gettime(clockid_t id, struct timespec *t){
  int rc = (int)syscall(SYS_clock_gettime, id, t);
  if( rc==0 && pOffset && (id==CLOCK_REALTIME || id==CLOCK_REALTIME_COARSE) ) t->tv_sec += (time_t)*pOffset;
  return rc;
}
int gettimeofday(struct timeval *restrict t, void *restrict pZone){
  struct timespec s;
  (void)pZone;
  if( clock_gettime(CLOCK_REALTIME, &s) ) return -1;
  t->tv_sec = s.tv_sec;
  t->tv_usec = s.tv_nsec/1000;
  return 0;
}
time_t time(time_t *p){
  struct timespec s;
  clock_gettime(CLOCK_REALTIME, &s);
  if( p ) *p = s.tv_sec;
  return s.tv_sec;
}
`;

const COMPILER = process.env.CC ?? "cc";

/** Why no clock can be set here, as `skip` of node:test takes it: `false` when one can. */
export const noClock: string | false = process.platform !== "linux"
  ? "setting a process's clock needs Linux"
  : spawnSync(COMPILER, ["--version"]).status === 0
  ? false
  : "setting a process's clock needs a C compiler";

/** The wall clock of child processes. */
export class SetClock {
  readonly #file: string;
  /** What makes a child process live by this clock. */
  readonly env: Record<string, string>;

  /** Makes a clock that is right; its files lie in `folder`. */
  constructor(folder: string) {
    this.#file = join(folder, "clock");
    const [source, library] = [join(folder, "clock.c"), join(folder, "clock.so")];
    writeFileSync(source, SOURCE);
    const { status, stderr } = spawnSync(COMPILER, ["-O1", "-shared", "-fPIC", "-o", library, source]);
    if (status !== 0) throw new Error(`Cannot compile a clock: ${stderr}`);
    this.env = { LD_PRELOAD: library, CLOCK_FILE: this.#file };
    writeFileSync(this.#file, new Uint8Array(8));
  }

  /** Has it go so many seconds ahead of the true time. */
  set(aheadSeconds: number): void {
    const offset = new BigInt64Array([BigInt(aheadSeconds)]);
    writeFileSync(this.#file, new Uint8Array(offset.buffer), { flag: "r+" });
  }
}
