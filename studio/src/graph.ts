// What is known of the circuit, and which part of it is on the page.

import {
  join, numeric, spell, strength, type Algebra, type Inspection, type Layer, type Node, type Value, type Wire,
} from "./model";
import type { State } from "./state";

/** A node on the page: a neuron, or several that are collapsed into one. */
export interface Item {
  id: string;
  label: string;
  node: Node | null;
  members: Node[];
  depth: number;
  layer: number;
  value: Value | null;
  alive: boolean;
  moreIn: number;
  moreOut: number;
}
/** A line on the page: a wire, or several between collapsed nodes. */
export interface Line {
  source: string;
  target: string;
  wires: Wire[];
  value: Value | null;
  alive: boolean;
  best: boolean;
}
export interface Seen { items: Map<string, Item>; lines: Line[] }

/** Every node and wire that the page was told of, for one question. */
export class Pool {
  nodes = new Map<string, Node>();
  wires = new Map<string, Wire>();
  private into = new Map<string, Wire[]>();
  private out = new Map<string, Wire[]>();
  private sorted = new Set<string>();

  add(found: Inspection) {
    for (const node of found.nodes) this.nodes.set(node.id, node);
    const { source, target, variable, coefficient, elements, messages } = found.wires;
    const names = Object.keys(messages);
    for (let row = 0; row < source.length; row++) {
      const from = found.nodes[source[row]].id;
      const to = found.nodes[target[row]].id;
      const key = variable[row] || `${from}>${to}#${row}`;
      if (this.wires.has(key)) continue;
      const wire: Wire = {
        key, source: from, target: to, variable: variable[row], coefficient: coefficient[row], place: row,
        elements: Object.fromEntries(Object.keys(elements).map((name) => [name, elements[name][row]])),
        messages: Object.fromEntries(names.map((name) => [name, messages[name][row]])),
      };
      this.wires.set(key, wire);
      push(this.into, to, wire);
      push(this.out, from, wire);
      this.sorted.delete(`i${to}`);
      this.sorted.delete(`o${from}`);
    }
  }
  /** The wires into (or out of) a node, strongest first. */
  ranked(id: string, up: boolean, order: string, algebra: Algebra | undefined): Wire[] {
    const held = (up ? this.out : this.into).get(id) ?? [];
    const mark = (up ? "o" : "i") + id;
    if (!this.sorted.has(mark)) {
      const far = (wire: Wire) => this.nodes.get(up ? wire.target : wire.source)?.index ?? 0;
      held.sort((a, b) => strength(b.messages[order], algebra) - strength(a.messages[order], algebra) || far(a) - far(b) || a.place - b.place);
      this.sorted.add(mark);
    }
    return held;
  }
}

/** Return the group that a node is collapsed into, if any: the user's before channel before layer. */
export function groupOf(node: Node, layers: Map<number, Layer>, state: State): string | null {
  for (const group of state.groups) {
    if (state.collapsed.includes(`group:${group.name}`) && group.members.includes(node.id)) return `group:${group.name}`;
  }
  const channel = channelOf(node, layers);
  if (channel !== null && state.collapsed.includes(channel)) return channel;
  const layer = `layer:${node.layer}`;
  return state.collapsed.includes(layer) ? layer : null;
}

/** A node's channel, where its layer has any: the first axis of two or more. */
export function channelOf(node: Node, layers: Map<number, Layer>): string | null {
  const layer = layers.get(node.layer);
  if (!layer || layer.shape.length < 2) return null;
  return `channel:${node.layer}:${Math.floor(node.index / (layer.size / layer.shape[0]))}`;
}

/** Whether an element passes θ; without one, everything does. Exact, for both are numbers of the circuit's dtype. */
export function passes(bottleneck: Value | undefined, theta: number | null): boolean {
  return theta === null || bottleneck === undefined || numeric(bottleneck) >= theta;
}

/** A node's element: in Boolean, θ is answered from its Bottleneck value, without another evaluation. */
export function elementOf(values: Record<string, Value>, semiring: string, theta: number | null): Value | null {
  if (semiring === "boolean" && theta !== null && values.bottleneck !== undefined) return passes(values.bottleneck, theta);
  return values[semiring] ?? null;
}

export interface Setting {
  state: State;
  pool: Pool;
  targets: string[];
  layers: Map<number, Layer>;
  classes: Record<string, string>;
  algebras: Map<string, Algebra>;
  semiring: string;
  order: string;
  theta: number | null;
  best: Set<string>;
}

/** Return what is on the page: what can be walked to from the targets, the pins and what was looked up. */
export function seen(given: Setting): Seen {
  const { state, pool } = given;
  const order = given.algebras.get(given.order);
  const chosen = new Map<string, Wire>();
  const here = new Set<string>();
  const waiting = [...given.targets, ...state.pins, ...state.extra].filter((id) => pool.nodes.has(id));
  const take = (wire: Wire) => {
    chosen.set(wire.key, wire);
    waiting.push(wire.source, wire.target);
  };
  for (const wire of pool.wires.values()) if (given.best.has(`${wire.source} ${wire.target}`)) take(wire);
  const left = new Map<string, [number, number]>();
  while (waiting.length) {
    const id = waiting.pop()!;
    if (here.has(id)) continue;
    here.add(id);
    const [down, up] = state.shown[id] ?? [0, 0];
    if (down) for (const wire of pool.ranked(id, false, given.order, order).slice(0, down)) take(wire);
    if (up) for (const wire of pool.ranked(id, true, given.order, order).slice(0, up)) take(wire);
  }
  for (const wire of chosen.values()) {
    count(left, wire.target)[0]++;
    count(left, wire.source)[1]++;
  }
  return grouped(given, here, [...chosen.values()], left);
}

function count(held: Map<string, [number, number]>, id: string): [number, number] {
  let found = held.get(id);
  if (!found) held.set(id, (found = [0, 0]));
  return found;
}

function grouped(given: Setting, here: Set<string>, wires: Wire[], left: Map<string, [number, number]>): Seen {
  const { state, pool, semiring, theta } = given;
  const algebra = given.algebras.get(semiring)!;
  const items = new Map<string, Item>();
  const place = new Map<string, string>();
  for (const id of here) {
    const node = pool.nodes.get(id)!;
    const alive = passes(node.values.bottleneck, theta);
    if (state.hide && !alive && !given.targets.includes(id)) continue;
    const group = groupOf(node, given.layers, state);
    const key = group ?? id;
    place.set(id, key);
    const held = items.get(key);
    if (held) {
      held.members.push(node);
      held.alive ||= alive;
      continue;
    }
    const depth = given.layers.get(node.layer)?.depth ?? node.layer;
    const [into, out] = left.get(id) ?? [0, 0];
    items.set(key, {
      id: key, label: given.classes[id] ? `${given.classes[id]} · ${node.name}` : node.name, node: group ? null : node,
      members: [node], depth, layer: node.layer, value: elementOf(node.values, semiring, theta), alive,
      moreIn: node.inputs - into, moreOut: node.outputs - out,
    });
  }
  for (const item of items.values()) if (!item.node) describe(item, given, algebra);
  return { items, lines: lines(given, wires, place, algebra) };
}

function describe(item: Item, given: Setting, algebra: Algebra) {
  const layer = given.layers.get(item.layer);
  const [kind, ...rest] = item.id.split(":");
  const name = kind === "group" ? rest.join(":") : kind === "channel" ? `${layer?.name} channel ${rest[1]}` : layer?.name;
  const of = kind === "layer" ? layer?.size : kind === "channel" && layer ? layer.size / layer.shape[0] : undefined;
  const known = given.state.groups.find((one) => `group:${one.name}` === item.id)?.members.length ?? of;
  item.label = `${name} (${item.members.length} of ${spell(known ?? item.members.length)})`;
  const values = item.members.map((node) => elementOf(node.values, given.semiring, given.theta));
  item.value = join(values.filter((value) => value !== null), algebra);
  item.moreIn = item.moreOut = 0;
}

function lines(given: Setting, wires: Wire[], place: Map<string, string>, algebra: Algebra): Seen["lines"] {
  const found = new Map<string, Line>();
  for (const wire of wires) {
    const [source, target] = [place.get(wire.source), place.get(wire.target)];
    if (source === undefined || target === undefined || source === target) continue;
    const alive = passes(wire.messages.bottleneck, given.theta);
    if (given.state.hide && !alive) continue;
    // Two wires between the same two single nodes (x + x) are two lines.
    const whole = source === wire.source && target === wire.target;
    const key = whole ? wire.key : `${source}>${target}`;
    const best = given.best.has(`${wire.source} ${wire.target}`);
    const held = found.get(key);
    if (held) {
      held.wires.push(wire);
      held.alive ||= alive;
      held.best ||= best;
    } else found.set(key, { source, target, wires: [wire], value: elementOf(wire.messages, given.semiring, given.theta), alive, best });
  }
  for (const line of found.values()) {
    if (line.wires.length > 1) {
      const values = line.wires.map((wire) => elementOf(wire.messages, given.semiring, given.theta)).filter((v) => v !== null);
      line.value = join(values, algebra);
    }
  }
  return [...found.values()];
}

function push(into: Map<string, Wire[]>, key: string, wire: Wire) {
  const held = into.get(key);
  if (held) held.push(wire);
  else into.set(key, [wire]);
}
