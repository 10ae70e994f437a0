// Where things stand: a column for each layer, inputs on the left, the target on the right.
// The circuit gives the layers, so only the order within a column is to be found: by barycentres, as Sugiyama et al. 1981.

import type { Item, Seen } from "./graph";
import type { Layer } from "./model";

/** `left`, `right`: where wires end; those of a cell end at the edge of its column. */
export interface Box { x: number; y: number; width: number; height: number; cell: boolean; left: number; right: number }
export interface Layout {
  boxes: Map<string, Box>;
  columns: { depth: number; x: number; width: number; title: string; items: Item[]; cells: boolean }[];
  width: number;
  height: number;
}

export const NODE = { width: 168, height: 44, gap: 10 };
const CELL = 14;
const COLUMN_GAP = 130;
/** Nodes of a column up to which each is a box with words; above, a column is a grid of cells. */
export const BOXES = 48;

export function layOut(seen: Seen, layers: Map<number, Layer>): Layout {
  const byDepth = new Map<number, Item[]>();
  for (const item of seen.items.values()) {
    const held = byDepth.get(item.depth);
    if (held) held.push(item);
    else byDepth.set(item.depth, [item]);
  }
  const depths = [...byDepth.keys()].sort((a, b) => a - b);
  for (const depth of depths) byDepth.get(depth)!.sort((a, b) => a.layer - b.layer || index(a) - index(b));
  order(seen, depths, byDepth);

  const boxes = new Map<string, Box>();
  const columns: Layout["columns"] = [];
  let x = 0;
  let tallest = 0;
  for (const depth of depths) {
    const items = byDepth.get(depth)!;
    const cells = items.length > BOXES;
    const wide = cells ? grid(items, layers) : 1;
    const width = cells ? wide * CELL : NODE.width;
    const high = cells ? Math.ceil(items.length / wide) * CELL : items.length * (NODE.height + NODE.gap) - NODE.gap;
    items.forEach((item, place) => boxes.set(item.id, cells
      ? { x: x + (place % wide) * CELL, y: Math.floor(place / wide) * CELL - high / 2, width: CELL - 2, height: CELL - 2, cell: true, left: x, right: x + width }
      : { x, y: place * (NODE.height + NODE.gap) - high / 2, width: NODE.width, height: NODE.height, cell: false, left: x, right: x + NODE.width }));
    const names = [...new Set(items.map((item) => layers.get(item.layer)?.name ?? String(item.layer)))];
    columns.push({ depth, x, width, title: names.slice(0, 3).join(", ") + (names.length > 3 ? ", …" : ""), items, cells });
    tallest = Math.max(tallest, high);
    x += width + COLUMN_GAP;
  }
  return { boxes, columns, width: Math.max(0, x - COLUMN_GAP), height: tallest };
}

function index(item: Item): number { return item.node?.index ?? item.members[0].index; }

/** Order each column by the mean place of its neighbours, a few sweeps; grids keep the neurons' own order. */
function order(seen: Seen, depths: number[], columns: Map<number, Item[]>) {
  if (seen.lines.length > 5000) return;
  const neighbours = new Map<string, string[]>();
  for (const line of seen.lines) {
    for (const [one, other] of [[line.source, line.target], [line.target, line.source]]) {
      const held = neighbours.get(one);
      if (held) held.push(other);
      else neighbours.set(one, [other]);
    }
  }
  const place = new Map<string, number>();
  const note = (items: Item[]) => items.forEach((item, at) => place.set(item.id, at - items.length / 2));
  for (const items of columns.values()) note(items);
  for (let sweep = 0; sweep < 4; sweep++) {
    for (const depth of sweep % 2 ? depths : [...depths].reverse()) {
      const items = columns.get(depth)!;
      if (items.length > BOXES) continue;
      const mean = new Map(items.map((item) => {
        const known = (neighbours.get(item.id) ?? []).map((id) => place.get(id)!);
        return [item.id, known.length ? known.reduce((a, b) => a + b, 0) / known.length : place.get(item.id)!];
      }));
      items.sort((a, b) => mean.get(a.id)! - mean.get(b.id)! || a.layer - b.layer || index(a) - index(b));
      note(items);
    }
  }
}

/** How many cells wide a column is: a layer's own width where all of it is there, else about a square. */
function grid(items: Item[], layers: Map<number, Layer>): number {
  const layer = layers.get(items[0].layer);
  const whole = layer && items.length === layer.size && items.every((item) => item.layer === layer.id && item.node);
  if (whole && layer.shape.length >= 2) return Math.min(layer.shape[layer.shape.length - 1], 64);
  return Math.ceil(Math.sqrt(items.length));
}
