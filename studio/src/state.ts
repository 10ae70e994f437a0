// What the reader has made of the page: small, plain, and kept in the address, so that a link shows the same.

import type { Question } from "./model";

export interface Group { name: string; members: string[] }
export interface State {
  question: Partial<Question>;
  /** Neuron -> how many of its inputs and of its outputs are shown. */
  shown: Record<string, [number, number]>;
  extra: string[];
  pins: string[];
  notes: Record<string, string>;
  groups: Group[];
  /** "layer:3", "channel:3:0", "group:name". */
  collapsed: string[];
  selected: string | null;
  path: number;
  gates: boolean;
  hide: boolean;
}

export const EMPTY: State = {
  question: {}, shown: {}, extra: [], pins: [], notes: {}, groups: [], collapsed: [], selected: null, path: 0,
  gates: false, hide: false,
};
const VERSION = 1;
const LONGEST = 200_000;

class Damaged extends Error {}

/** Return the state as the text that stands behind # in the address. */
export function encode(state: State, fingerprint: string): string {
  const bytes = new TextEncoder().encode(JSON.stringify({ v: VERSION, f: fingerprint, s: state }));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}

/** Return the state that an address holds, or say what is wrong with it. Nothing of it is trusted. */
export function decode(text: string, fingerprint: string): { state: State } | { problem: string } {
  try {
    if (text.length > LONGEST) throw new Damaged("it is too long");
    const bytes = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const found = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    if (typeof found !== "object" || found === null) throw new Damaged("it is no state");
    if (found.v !== VERSION) throw new Damaged("it is of another version");
    if (found.f !== fingerprint) throw new Damaged("it belongs to another circuit");
    return { state: checked(found.s) };
  } catch (error) {
    return { problem: error instanceof Damaged ? error.message : "it cannot be read" };
  }
}

function checked(given: unknown): State {
  const s = record(given);
  return {
    question: question(record(s.question ?? {})),
    shown: Object.fromEntries(entries(s.shown).map(([id, pair]) => [neuron(id), counts(pair)])),
    extra: list(s.extra).map(neuron),
    pins: list(s.pins).map(neuron),
    notes: Object.fromEntries(entries(s.notes).map(([id, note]) => [neuron(id), string(note)])),
    groups: list(s.groups).map((one) => {
      const group = record(one);
      return { name: string(group.name), members: list(group.members).map(neuron) };
    }),
    collapsed: list(s.collapsed).map(string),
    selected: s.selected === null || s.selected === undefined ? null : neuron(s.selected),
    path: whole(s.path ?? 0, 100),
    gates: s.gates === true,
    hide: s.hide === true,
  };
}

function question(given: Record<string, unknown>): Partial<Question> {
  const found: Partial<Question> = {};
  for (const key of ["semiring", "rule", "target", "order"] as const) {
    if (given[key] !== undefined) found[key] = string(given[key]);
  }
  if (given.example !== undefined) found.example = whole(given.example, 1e9);
  if (given.theta !== undefined && given.theta !== null) {
    if (typeof given.theta !== "number" || !Number.isFinite(given.theta)) throw new Damaged("θ is no number");
    found.theta = given.theta;
  }
  return found;
}

function record(given: unknown): Record<string, unknown> {
  if (typeof given !== "object" || given === null || Array.isArray(given)) throw new Damaged("a part is missing");
  return given as Record<string, unknown>;
}
function entries(given: unknown): [string, unknown][] {
  return Object.entries(record(given ?? {}));
}
function list(given: unknown): unknown[] {
  if (!Array.isArray(given ?? [])) throw new Damaged("a list is none");
  return (given ?? []) as unknown[];
}
function string(given: unknown): string {
  if (typeof given !== "string" || given.length > 10_000) throw new Damaged("a text is none");
  return given;
}
function neuron(given: unknown): string {
  const id = string(given);
  if (!/^\d{1,9}\.\d{1,12}$/.test(id)) throw new Damaged("a neuron is none");
  return id;
}
function whole(given: unknown, most: number): number {
  if (typeof given !== "number" || !Number.isInteger(given) || given < 0 || given > most) throw new Damaged("a number is none");
  return given;
}
function counts(given: unknown): [number, number] {
  const pair = list(given);
  if (pair.length !== 2) throw new Damaged("a number of wires is none");
  return [whole(pair[0], 1e9), whole(pair[1], 1e9)];
}

/** States before and after the present one. */
export class History {
  private past: string[] = [];
  private future: string[] = [];
  get canUndo() { return this.past.length > 0; }
  get canRedo() { return this.future.length > 0; }
  push(before: State) {
    this.past.push(JSON.stringify(before));
    if (this.past.length > 200) this.past.shift();
    this.future = [];
  }
  undo(now: State): State | null {
    const found = this.past.pop();
    if (found === undefined) return null;
    this.future.push(JSON.stringify(now));
    return JSON.parse(found) as State;
  }
  redo(now: State): State | null {
    const found = this.future.pop();
    if (found === undefined) return null;
    this.past.push(JSON.stringify(now));
    return JSON.parse(found) as State;
  }
}
