/**
 * What a run of a scenario has at hand, and what it has found so far.
 *
 * @module
 */
import type { TestedDriver } from "../support/all_drivers.ts";
import type { Answer } from "./answers.ts";
import { Oracle } from "./oracle.ts";
import { type Counts, type Difference, type DifferenceKind, noCounts } from "./outcome.ts";
import { Readers } from "./readers.ts";
import type { AskedMoment, ReaderSettings, Scenario } from "./scenario.ts";
import type { Place, World } from "./world.ts";

/** How a scenario is run. */
export interface RunOptions {
  /** Changes what ours answers: so that tests see a difference found. */
  readonly spoil?: (sql: string, answer: Answer) => Answer;
}

/** What one event reads. */
export interface Reading {
  /** Its place among the scenario's events. */
  readonly event: number;
  readonly reader: number;
  readonly settings: ReaderSettings;
  readonly driver: TestedDriver;
  readonly moment: AskedMoment;
  /** Draws what is asked. */
  readonly questions: number;
  readonly isHydrated: boolean;
}

/** What a reading is made of; the rest is plain. */
export type AskedReading =
  & Pick<Reading, "event" | "reader" | "moment">
  & Partial<Pick<Reading, "questions" | "isHydrated">>
  & { readonly driver?: number };

/** A run under way. */
export class RunState {
  readonly scenario: Scenario;
  readonly world: World;
  readonly readers: Readers;
  readonly spoil: (sql: string, answer: Answer) => Answer;
  readonly counts: Counts = noCounts();
  readonly differences: Difference[] = [];
  readonly notes: string[] = [];
  /** Whether nobody writes any more. */
  isSettled = false;
  readonly #drivers: readonly TestedDriver[];
  readonly #oracles: readonly Oracle[];

  constructor(scenario: Scenario, world: World, drivers: readonly TestedDriver[], options: RunOptions) {
    this.scenario = scenario;
    this.world = world;
    this.readers = new Readers(world, scenario.readers);
    this.spoil = options.spoil ?? ((_, answer) => answer);
    this.#drivers = drivers;
    this.#oracles = world.places.map((place) => new Oracle(place, world.env));
  }

  /** Completes what an event asks for. */
  reading({ event, reader, moment, driver = 0, questions = 0, isHydrated = false }: AskedReading): Reading {
    const settings = this.scenario.readers[reader]!;
    // what SQLite in WASM gives is compared with what the runtime's own gives
    const chosen = this.#drivers[settings.sqlite === "wasm" ? 0 : driver % this.#drivers.length]!;
    return { event, reader, settings, driver: chosen, moment, questions, isHydrated };
  }

  /** Where a reading's primary and replica lie. */
  placeOf({ settings }: Reading): Place {
    return this.world.places[settings.primary]!;
  }

  /** What is right for a reading's primary. */
  oracleOf({ settings }: Reading): Oracle {
    return this.#oracles[settings.primary]!;
  }

  /** Tells of a difference. */
  differ(kind: DifferenceKind, { event }: Pick<Reading, "event">, text: string): void {
    this.differences.push({ kind, event, text });
  }
}
