// Where answers come from: the circuit behind a live page, or the inspection that lies in a static one.

import {
  numeric, strength, type Algebra, type Choices, type Details, type Hit, type Inspection, type Message, type Paths, type Question,
  type Report, type Value, type Written,
} from "./model";

export type Asked = [string, number, number][];

export interface Source {
  readonly live: boolean;
  open(question: Partial<Question>): Promise<{ inspection: Inspection; choices: Choices }>;
  view(question: Question, shown: Asked, nodes: string[]): Promise<Inspection>;
  neuron(question: Question, node: string): Promise<Details>;
  written(question: Question, node: string): Promise<Written>;
  paths(question: Question, node: string, k: number): Promise<Paths>;
  search(question: Question, text: string): Promise<Hit[]>;
  layer(question: Question, layer: number, count: number): Promise<string[]>;
  conservation(question: Question): Promise<Report>;
}

export class Refused extends Error {}

export class Live implements Source {
  readonly live = true;
  constructor(private base: string) {}

  private async call<T>(name: string, given: object): Promise<T> {
    let answer: Response;
    try {
      answer = await fetch(`${this.base}/api/${name}`, {
        method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
      });
    } catch {
      throw new Refused("The studio does not answer: the program that serves this page has ended. Your address keeps all you did; start the studio again.");
    }
    const found = await answer.json().catch(() => ({ error: `The studio answered with ${answer.status}.` }));
    if (!answer.ok) throw new Refused(found.error ?? `The studio answered with ${answer.status}.`);
    return found as T;
  }
  open(question: Partial<Question>) { return this.call<{ inspection: Inspection; choices: Choices }>("open", { question }); }
  view(question: Question, shown: Asked, nodes: string[]) { return this.call<Inspection>("view", { question, shown, nodes }); }
  neuron(question: Question, node: string) { return this.call<Details>("neuron", { question, node }); }
  written(question: Question, node: string) { return this.call<Written>("written", { question, node }); }
  paths(question: Question, node: string, k: number) { return this.call<Paths>("paths", { question, node, k }); }
  search(question: Question, text: string) { return this.call<Hit[]>("search", { question, text }); }
  layer(question: Question, layer: number, count: number) { return this.call<string[]>("layer", { question, layer, count }); }
  conservation(question: Question) { return this.call<Report>("conservation", { question }); }
}

/** A page of one file: everything is here already, and nothing else can be asked. */
export class Static implements Source {
  readonly live = false;
  private into = new Map<number, number[]>();
  private out = new Map<number, number[]>();
  private place = new Map<string, number>();

  constructor(private all: Inspection, private formulas: Record<string, Written>) {
    all.nodes.forEach((node, position) => this.place.set(node.id, position));
    for (let wire = 0; wire < all.wires.source.length; wire++) {
      push(this.into, all.wires.target[wire], wire);
      push(this.out, all.wires.source[wire], wire);
    }
  }
  private algebra(name: string): Algebra | undefined { return this.all.algebras.find((one) => one.name === name); }

  async open(question: Partial<Question>) {
    if (question.semiring && !this.algebra(question.semiring)) {
      throw new Refused(`this page holds no values in ${question.semiring}`);
    }
    for (const key of ["rule", "target", "example"] as const) {
      if (question[key] !== undefined && question[key] !== this.all.question[key]) {
        throw new Refused(`this page answers one ${key} only; the live studio takes others`);
      }
    }
    const asked = { ...this.all.question, ...question };
    const choices = {
      algebras: this.all.algebras, rules: [asked.rule], examples: 1, classes: this.all.classes, targets: [asked.target],
    };
    return { inspection: { ...(await this.view(asked, this.first(), [])), pictures: this.all.pictures }, choices };
  }
  private first(): Asked { return this.all.targets.map((id) => [id, 8, 0]); }

  async view(question: Question, shown: Asked, nodes: string[]): Promise<Inspection> {
    const chosen = new Set<number>();
    const order = this.algebra(question.order);
    for (const [id, down, up] of shown) {
      const at = this.find(id);
      for (const [most, from] of [[down, this.into], [up, this.out]] as const) {
        const wires = from.get(at) ?? [];
        for (const wire of this.strongest(wires, question.order, order).slice(0, most)) chosen.add(wire);
      }
    }
    return this.part(question, [...chosen], [...this.all.targets, ...nodes, ...shown.map(([id]) => id)]);
  }
  private strongest(wires: number[], name: string, algebra: Algebra | undefined): number[] {
    const held = this.all.wires.messages[name];
    if (!held) return wires;
    return [...wires].sort((a, b) => strength(held[b], algebra) - strength(held[a], algebra) || a - b);
  }
  private find(id: string): number {
    const at = this.place.get(id);
    if (at === undefined) throw new Refused(`the neuron ${id} is not on this page`);
    return at;
  }
  private part(question: Question, chosen: number[], ids: string[]): Inspection {
    const { wires, nodes } = this.all;
    const order = new Map<number, number>();
    for (const id of ids) if (!order.has(this.find(id))) order.set(this.find(id), order.size);
    for (const wire of chosen) {
      for (const end of [wires.source[wire], wires.target[wire]]) if (!order.has(end)) order.set(end, order.size);
    }
    const pick = <T>(column: T[]) => chosen.map((wire) => column[wire]);
    const each = (columns: Record<string, Value[]>) =>
      Object.fromEntries(Object.entries(columns).map(([name, column]) => [name, pick(column)]));
    return {
      ...this.all, question, nodes: [...order.keys()].map((at) => nodes[at]), complete: false,
      wires: {
        source: pick(wires.source).map((at) => order.get(at)!), target: pick(wires.target).map((at) => order.get(at)!),
        variable: pick(wires.variable), coefficient: pick(wires.coefficient),
        elements: each(wires.elements), messages: each(wires.messages),
      },
    };
  }
  async neuron(question: Question, id: string): Promise<Details> {
    const at = this.find(id);
    const node = this.all.nodes[at];
    const algebra = this.algebra(question.semiring);
    const list = (wires: number[], end: number[]): Message[] =>
      this.strongest(wires, question.semiring, algebra).map((wire) => ({
        id: this.all.nodes[end[wire]].id, name: this.all.nodes[end[wire]].name, variable: this.all.wires.variable[wire],
        coefficient: this.all.wires.coefficient[wire], element: this.all.wires.elements[question.semiring]?.[wire] ?? null,
        message: this.all.wires.messages[question.semiring][wire],
      }));
    const passes = list(this.into.get(at) ?? [], this.all.wires.source);
    const receives = list(this.out.get(at) ?? [], this.all.wires.target);
    const layer = this.all.layers.find((one) => one.id === node.layer);
    const aliases = layer && this.all.kind === "neurons"
      ? layer.aliases.map((name) => name + node.name.slice(layer.name.length)) : [];
    if (this.all.classes[id]) aliases.unshift(this.all.classes[id]);
    return {
      id, name: node.name, aliases, activation: node.activation,
      answers: Object.entries(node.values).map(([semiring, value]) => ({ semiring, value, exact: true })),
      passes: passes.slice(0, 12), passes_count: passes.length, receives: receives.slice(0, 12),
      receives_count: receives.length, account: null,
    };
  }
  async written(_: Question, id: string): Promise<Written> {
    const found = this.formulas[id];
    if (found) return found;
    const name = this.all.nodes[this.find(id)].name;
    return {
      id, name, gates: 0, variables: 0, paths: String(this.count(this.find(id))), formula: null, latex: null,
      polynomial: null, remark: "This file keeps no formula of it; the live studio writes it.",
    };
  }
  /** How many paths lead from a node up to a target, each wire once. */
  private count(at: number, held = new Map<number, bigint>()): bigint {
    const known = held.get(at);
    if (known !== undefined) return known;
    const ups = this.out.get(at) ?? [];
    let total = this.all.targets.includes(this.all.nodes[at].id) ? 1n : 0n;
    for (const wire of ups) total += this.count(this.all.wires.target[wire], held);
    held.set(at, total);
    return total;
  }
  /** The best path by walking up: in a selective semiring, a neuron's relevance is one of its messages. */
  async paths(question: Question, id: string): Promise<Paths> {
    const asked = this.algebra(question.semiring);
    const name = asked?.selective && asked.name !== "boolean" ? asked.name : "viterbi";
    const algebra = this.algebra(name);
    if (!algebra) throw new Refused("this page holds no values in a semiring that chooses a path, such as viterbi");
    const wires: number[] = [];
    let at = this.find(id);
    const value = this.all.nodes[at].values[name];
    while (!this.all.targets.includes(this.all.nodes[at].id)) {
      const best = this.strongest(this.out.get(at) ?? [], name, algebra)[0];
      if (best === undefined || numeric(this.all.wires.messages[name][best]) === numeric(algebra.zero)) {
        return { semiring: name, values: [], variables: [], wires: [], inspection: this.part(question, [], [id]), remark: "" };
      }
      wires.push(best);
      at = this.all.wires.target[best];
    }
    const ids = wires.map((wire) => `${this.all.nodes[this.all.wires.source[wire]].id} ${this.all.nodes[this.all.wires.target[wire]].id}`);
    return {
      semiring: name, values: [value], variables: [wires.map((wire) => this.all.wires.variable[wire])], wires: [ids],
      inspection: this.part(question, wires, [id]), remark: name === question.semiring ? "" : `${question.semiring} chooses no path: this is Viterbi's.`,
    };
  }
  async search(question: Question, text: string): Promise<Hit[]> {
    const wanted = text.trim().toLowerCase().replace(/\s+/g, "");
    if (!wanted) return [];
    const named = (name: string) => name.toLowerCase().replace(/\s+/g, "");
    const hits = this.all.nodes.filter((node) =>
      named(node.name).includes(wanted) || named(this.all.classes[node.id] ?? "").includes(wanted));
    hits.sort((a, b) => Number(named(b.name) === wanted) - Number(named(a.name) === wanted));
    return hits.slice(0, 20).map((node) => ({ id: node.id, name: node.name, value: node.values[question.semiring] }));
  }
  async layer(question: Question, layer: number, count: number): Promise<string[]> {
    const algebra = this.algebra(question.order);
    const mine = this.all.nodes.filter((node) => node.layer === layer);
    mine.sort((a, b) => strength(b.values[question.order], algebra) - strength(a.values[question.order], algebra) || a.index - b.index);
    return mine.slice(0, count).map((node) => node.id);
  }
  async conservation(): Promise<Report> { throw new Refused("The conservation report needs the circuit: the live studio gives it."); }
}

function push(into: Map<number, number[]>, key: number, wire: number) {
  const held = into.get(key);
  if (held) held.push(wire);
  else into.set(key, [wire]);
}
