// The data that the page is given: provnet's `Inspection` (inspection.schema.json) and the answers of the live page.

/** An element: a number, a truth value, or a text where JSON has no such number. */
export type Value = number | boolean | string;

export interface Layer {
  id: number; name: string; aliases: string[]; op: string; shape: number[]; size: number; depth: number; source: boolean;
}
export interface Algebra {
  name: string; question: string; plus: string; selective: boolean; ring: boolean; zero: Value; theta: boolean; costs: boolean;
}
export interface Question {
  semiring: string; rule: string; target: string; example: number; theta: number | null; order: string;
}
export interface Node {
  id: string; name: string; layer: number; index: number; kind: string; values: Record<string, Value>;
  activation: number | null; inputs: number; outputs: number;
}
export interface Wires {
  source: number[]; target: number[]; variable: string[]; coefficient: (number | null)[];
  elements: Record<string, Value[]>; messages: Record<string, Value[]>;
}
export interface Picture {
  layer: number; channels: number; height: number; width: number; pixels: number[]; relevance: Record<string, Value[]>;
}
export interface Inspection {
  model: string; kind: string; fingerprint: string; question: Question; algebras: Algebra[]; layers: Layer[];
  nodes: Node[]; wires: Wires; targets: string[]; classes: Record<string, string>; pictures: Picture[];
  steps: number[]; alive: number[]; complete: boolean; format: number;
}
export interface Wire {
  key: string; source: string; target: string; variable: string; coefficient: number | null;
  elements: Record<string, Value>; messages: Record<string, Value>; place: number;
}
export interface Message {
  id: string; name: string; variable: string; coefficient: number | null; element: Value | null; message: Value;
}
export interface Details {
  id: string; name: string; aliases: string[]; activation: number | null;
  answers: { semiring: string; value: Value; exact: boolean }[];
  passes: Message[]; passes_count: number; receives: Message[]; receives_count: number;
  account: { came: Value; passed: Value; bias: Value | null; lost: number | null } | null;
}
export interface Written {
  id: string; name: string; gates: number; variables: number; paths: string;
  formula: string | null; latex: string | null; polynomial: string | null; remark: string;
}
export interface Paths {
  semiring: string; values: Value[]; variables: string[][]; wires: string[][]; inspection: Inspection; remark: string;
}
export interface Hit { id: string; name: string; value: Value }
export interface Report {
  semiring: string; start: Value; inputs: Value; sinks: Value; holds: boolean; named: Record<string, Value>;
  lines: { path: string; op: string; came: Value; passed: Value; bias: Value | null; lost: Value | null }[];
}
export interface Choices {
  algebras: Algebra[]; rules: string[]; examples: number; classes: Record<string, string>; targets: string[];
}

/** The number that an element stands for, as far as JavaScript holds it. */
export function numeric(value: Value | null | undefined): number {
  if (value === null || value === undefined) return NaN;
  return typeof value === "number" ? value : Number(value);
}

/** An element as people read it: four digits, whole numbers whole. */
export function spell(value: Value | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "boolean") return value ? "true" : "false";
  const x = numeric(value);
  if (x === 0) return "0"; // −0 too
  if (x === Infinity) return "∞";
  if (x === -Infinity) return "−∞";
  if (Number.isNaN(x)) return "NaN";
  if (Number.isInteger(x) && Math.abs(x) < 1e15) return x.toLocaleString("en").replace("-", "−");
  const size = Math.abs(x);
  const text = size >= 1e5 || size < 1e-3 ? x.toExponential(2) : String(Number(x.toPrecision(4)));
  return text.replace("-", "−").replace("e+", "e");
}

/** How strong an element is, the greatest first; as `Answers.strength` says in Python. */
export function strength(value: Value, algebra: Algebra | undefined): number {
  const x = numeric(value);
  if (!algebra) return x;
  if (algebra.ring) return Math.abs(x);
  return algebra.costs ? -x : x;
}

/** ⊕ of elements, null where the page does not know how. */
export function join(values: Value[], algebra: Algebra): Value | null {
  if (!values.length) return null;
  const numbers = values.map(numeric);
  switch (algebra.plus) {
    case "sum": return numbers.reduce((x, y) => x + y, 0);
    case "max": return numbers.reduce((x, y) => Math.max(x, y), -Infinity);
    case "min": return numbers.reduce((x, y) => Math.min(x, y), Infinity);
    case "or": return numbers.some((x) => x !== 0);
    default: return null;
  }
}

/** A function from elements to [-1, 1] for width and colour: the strongest of `values` is 1, opposing ones are negative. */
export function scale(values: Value[], algebra: Algebra): (value: Value) => number {
  const finite = values.map(numeric).filter(Number.isFinite);
  if (algebra.ring) {
    const top = finite.reduce((x, y) => Math.max(x, Math.abs(y)), 0) || 1;
    return (value) => Math.max(-1, Math.min(1, numeric(value) / top));
  }
  if (algebra.costs) {
    const low = finite.reduce((x, y) => Math.min(x, y), Infinity);
    const high = finite.reduce((x, y) => Math.max(x, y), -Infinity);
    const span = (high - low) * 1.05 || 1;
    return (value) => (Number.isFinite(numeric(value)) ? 1 - (numeric(value) - low) / span : 0);
  }
  const positive = finite.filter((x) => x > 0);
  const top = positive.reduce((x, y) => Math.max(x, y), 0) || 1;
  const counts = algebra.plus === "sum" && positive.every(Number.isInteger);
  const shape = (x: number) => (counts ? Math.log1p(x) / Math.log1p(top) : x / top);
  return (value) => {
    const x = numeric(value);
    return x === Infinity ? 1 : x > 0 ? Math.min(1, shape(x)) : 0;
  };
}
