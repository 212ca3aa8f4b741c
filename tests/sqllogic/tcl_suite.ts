/**
 * Tests of SQLite's own TCL suite over write mode: its testfixture runs in this process, beside the core that serves it, and
 * each test.db, test2.db … that a test opens is a replica that is written, in a folder.
 *
 *     deno run -A --no-check tests/sqllogic/tcl_suite.ts --source FOLDER --library FILE [--plain] select1.test trans.test …
 *
 * FOLDER is SQLite's source with its test/, such as Debian's source package (`apt-get source sqlite3`); FILE is its
 * testfixture as a shared library: the compiler's line that `make -n testfixture` there prints, with `-fPIC -shared
 * -Wl,-Bsymbolic -o libtestfixture.so` in place of `-o testfixture`. It needs tcl8.6 and tcl-dev. `--plain` runs the same tests
 * over SQLite's own VFS, to tell what fails there, too. What a test does to database or journal as files, past SQLite, cannot pass.
 *
 * @module
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import { register } from "../../mod.ts";

const OPEN_READWRITE_CREATE = 0x6;
const { values, positionals: tests } = parseArgs({
  allowPositionals: true,
  options: {
    source: { type: "string", default: "" },
    library: { type: "string", default: "" },
    plain: { type: "boolean", default: false },
  },
});
const folder = join(values.source, "test");

const tcl = Deno.dlopen("libtcl8.6.so", {
  Tcl_FindExecutable: { parameters: ["buffer"], result: "void" },
  Tcl_CreateInterp: { parameters: [], result: "pointer" },
  Tcl_Eval: { parameters: ["pointer", "buffer"], result: "i32" },
  Tcl_GetStringResult: { parameters: ["pointer"], result: "pointer" },
}).symbols;
const fixture = Deno.dlopen(values.library, {
  Sqlite3_Init: { parameters: ["pointer"], result: "i32" },
  sqlite3TestInit: { parameters: ["pointer"], result: "pointer" },
  sqlite3_shutdown: { parameters: [], result: "i32" },
  sqlite3_open_v2: { parameters: ["buffer", "buffer", "i32", "pointer"], result: "i32" },
  sqlite3_close_v2: { parameters: ["pointer"], result: "i32" },
  sqlite3_enable_load_extension: { parameters: ["pointer", "i32"], result: "i32" },
  sqlite3_load_extension: { parameters: ["pointer", "buffer", "buffer", "buffer"], result: "i32" },
}).symbols;

function encode(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

function textAt(pointer: Deno.PointerValue): string {
  return pointer === null ? "" : Deno.UnsafePointerView.getCString(pointer);
}

/** The testfixture's SQLite with the members by which `@db/sqlite`'s class is recognised; all that registering needs. */
class FixtureDatabase {
  readonly #handle: Deno.PointerValue;

  constructor(path: string) {
    const out = new BigUint64Array(1);
    const code = fixture.sqlite3_open_v2(
      encode(path),
      new Uint8Array(out.buffer),
      OPEN_READWRITE_CREATE,
      null,
    );
    this.#handle = Deno.UnsafePointer.create(out[0]!);
    if (code !== 0) throw new Error(`Cannot open ${path}: SQLite answers ${code}, expected 0`);
  }

  get unsafeHandle(): Deno.PointerValue {
    return this.#handle;
  }

  set enableLoadExtension(on: boolean) {
    fixture.sqlite3_enable_load_extension(this.#handle, on ? 1 : 0);
  }

  loadExtension(path: string, entryPoint: string): void {
    const out = new BigUint64Array(1);
    const buffer = new Uint8Array(out.buffer);
    const code = fixture.sqlite3_load_extension(this.#handle, encode(path), encode(entryPoint), buffer);
    if (code !== 0) throw new Error(textAt(Deno.UnsafePointer.create(out[0]!)));
  }

  close(): void {
    fixture.sqlite3_close_v2(this.#handle);
  }
}

/** Has each test database be a replica; a deleted one is begun anew elsewhere. */
function replicaScript(home: string): string {
  return `
    db close
    rename sqlite_orig sqlite_native
    rename do_delete_file delete_native
    proc is_replica {name} { regexp {^test[0-9a-z_]*\\.db[0-9]*$} [file tail $name] }
    proc replica_of {name} {
      set tail [file tail $name]
      if {![info exists ::made($tail)]} { set ::made($tail) 1 }
      set key "$tail-$::made($tail)"
      return "file:$tail?vfs=litestream&replica_url=file://${home}/replicas/$key&write_enabled=true&buffer_path=${home}/log-$key"
    }
    proc sqlite_orig {args} {
      set name [lindex $args 1]
      if {[llength $args]>=2 && [string index [lindex $args 0] 0] ne "-" && [is_replica $name] && "-vfs" ni $args} {
        set args [concat [lreplace $args 1 1 [replica_of $name]] -uri 1]
        incr ::opened
      }
      uplevel 1 [list sqlite_native {*}$args]
    }
    proc do_delete_file {force args} {
      foreach name $args { if {[is_replica $name]} { replica_of $name; incr ::made([file tail $name]) } }
      delete_native $force {*}$args
    }`;
}

/** Keeps the process, and SQLite's extensions, where a test would end them. */
const GO_ON = `
  rename exit exit_native
  proc exit {args} { return -level 0 -code error "exit $args" }
  set ::SLAVE 1
  proc finalize_testing {} {}`;

const home = mkdtempSync(join(tmpdir(), "tcl-suite-"));
process.on("exit", () => rmSync(home, { recursive: true, force: true }));
Deno.chdir(home);
fixture.sqlite3_shutdown(); // as testfixture begins
tcl.Tcl_FindExecutable(encode("testfixture"));
const interpreter = tcl.Tcl_CreateInterp();
fixture.Sqlite3_Init(interpreter);
fixture.sqlite3TestInit(interpreter);

function evaluate(script: string): string {
  const code = tcl.Tcl_Eval(interpreter, encode(script));
  const result = textAt(tcl.Tcl_GetStringResult(interpreter));
  if (code !== 0) throw new Error(`Cannot evaluate TCL: ${result}`);
  return result;
}

evaluate(`set argv0 ${folder}/x.test; set argv {}; set argc 0; set tcl_interactive 0; set ::opened 0`);
evaluate(`set testdir ${folder}; source ${folder}/tester.tcl`);
// After tester.tcl, which shuts SQLite down once, and with that forgets extensions.
await using _registration = values.plain ? undefined : await register({ Database: FixtureDatabase });
if (!values.plain) evaluate(replicaScript(home));
evaluate(GO_ON);
for (const test of tests) {
  evaluate(
    `set argv0 ${folder}/${test}; foreach c {db db2 db3 db4} {catch {$c close}}; catch {unset ::SETUP_SQL}; reset_db`,
  );
  const counts = () =>
    evaluate("list [set_test_counter count] [set_test_counter errors]").split(" ").map(Number);
  const before = counts();
  const stopped = evaluate(`catch {source ${folder}/${test}} message; set message`);
  const [ran, failed] = counts().map((count, i) => count - before[i]!);
  evaluate("flush stdout");
  console.log(`RESULT ${test}: ${ran} tests, ${failed} errors; ended with "${stopped.slice(0, 120)}"`);
}
evaluate("foreach c {db db2 db3 db4} {catch {$c close}}");
console.log(`FAILED ${evaluate("set ::TC(fail_list)")}`);
console.log(`opened ${evaluate("set ::opened")} replicas`);
