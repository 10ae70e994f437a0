// Wires and cells on a canvas. Level of detail: while the view moves only the strongest wires are drawn, and
// words only where they can be read, so that a hundred thousand wires stay fluid.

import type { Line, Seen } from "./graph";
import type { Box, Layout } from "./layout";
import { spell, type Algebra, scale, type Value } from "./model";

export interface View { x: number; y: number; k: number }
export interface Colours { ink: string; pale: string; paper: string; card: string; line: string; plus: string; minus: string; best: string; accent: string }

/** Wires that are drawn while the view moves, and labels that are drawn at all. */
export const MOVING = 4000;
const LABELS = 60;
const BUCKETS = 12;

export function colours(element: Element): Colours {
  const style = getComputedStyle(element);
  const of = (name: string) => style.getPropertyValue(`--${name}`).trim();
  return {
    ink: of("ink"), pale: of("pale"), paper: of("paper"), card: of("card"), line: of("line"), plus: of("plus"),
    minus: of("minus"), best: of("best"), accent: of("accent"),
  };
}

/** A scene that is ready to be drawn again and again: lines sorted into buckets of one width and colour. */
export class Scene {
  private buckets: { lines: Line[]; width: number; colour: keyof Colours; alpha: number; best: boolean }[] = [];
  readonly strong: (value: Value) => number;
  readonly strongNode: (value: Value) => number;
  readonly count: number;
  private styles = new Map<Line, Scene["buckets"][number]>();

  constructor(readonly seen: Seen, readonly layout: Layout, algebra: Algebra, readonly gates: boolean) {
    const known = seen.lines.map((line) => line.value).filter((value): value is Value => value !== null);
    this.strong = scale(known, algebra);
    const nodes = [...seen.items.values()].map((item) => item.value).filter((value): value is Value => value !== null);
    this.strongNode = scale(nodes, algebra);
    this.count = seen.lines.length;
    const held = new Map<string, Scene["buckets"][number]>();
    for (const line of seen.lines) {
      const s = line.value === null ? 0.3 : this.strong(line.value);
      const step = Math.ceil(Math.abs(s) * BUCKETS);
      const colour: keyof Colours = line.best ? "best" : !line.alive || step === 0 ? "pale" : s < 0 ? "minus" : "plus";
      const key = `${step} ${colour} ${line.alive}`;
      let bucket = held.get(key);
      if (!bucket) {
        const alpha = line.best ? 1 : !line.alive ? 0.12 : step === 0 ? 0.22 : 0.3 + (0.6 * step) / BUCKETS;
        held.set(key, (bucket = { lines: [], width: line.best ? Math.max(2.5, widthOf(step)) : widthOf(step), colour, alpha, best: line.best }));
      }
      bucket.lines.push(line);
      this.styles.set(line, bucket);
    }
    // The faint first, so that the strong lie above them.
    this.buckets = [...held.values()].sort((a, b) => Number(a.best) - Number(b.best) || a.width - b.width || a.alpha - b.alpha);
  }

  draw(canvas: HTMLCanvasElement, view: View, paint: Colours, moving: boolean, marked: Set<string>) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    const context = canvas.getContext("2d")!;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(ratio * view.k, 0, 0, ratio * view.k, ratio * view.x, ratio * view.y);
    let left = moving ? MOVING : Infinity;
    const allowed: Scene["buckets"] = [];
    for (const bucket of [...this.buckets].reverse()) {
      if (left <= 0) break;
      allowed.push(bucket.lines.length > left ? { ...bucket, lines: bucket.lines.slice(0, left) } : bucket);
      left -= bucket.lines.length;
    }
    for (const bucket of allowed.reverse()) {
      context.beginPath();
      for (const line of bucket.lines) this.trace(context, line);
      context.globalAlpha = bucket.alpha;
      context.strokeStyle = paint[bucket.colour];
      context.lineWidth = bucket.width / Math.max(view.k, 0.6);
      context.stroke();
    }
    context.globalAlpha = 1;
    this.cells(context, paint, marked);
    if (view.k > 0.6 && this.count <= LABELS) this.labels(context, paint);
  }

  private ends(line: Line): [number, number, number, number] | null {
    const [from, to] = [this.layout.boxes.get(line.source), this.layout.boxes.get(line.target)];
    if (!from || !to) return null;
    return [from.right, from.y + from.height / 2, to.left, to.y + to.height / 2];
  }
  private trace(context: CanvasRenderingContext2D, line: Line) {
    const ends = this.ends(line);
    if (!ends) return;
    const [x0, y0, x1, y1] = ends;
    context.moveTo(x0, y0);
    if (this.count > 3000) context.lineTo(x1, y1);
    else context.bezierCurveTo((x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x1, y1);
  }
  private cells(context: CanvasRenderingContext2D, paint: Colours, marked: Set<string>) {
    for (const column of this.layout.columns) {
      if (!column.cells) continue;
      for (const item of column.items) {
        const box = this.layout.boxes.get(item.id)!;
        const s = item.value === null ? 0 : this.strongNode(item.value);
        context.globalAlpha = item.alive ? 1 : 0.35;
        context.fillStyle = paint.line;
        context.fillRect(box.x, box.y, box.width, box.height);
        context.globalAlpha = (item.alive ? 1 : 0.35) * Math.min(1, Math.abs(s) ** 0.7);
        context.fillStyle = s < 0 ? paint.minus : paint.plus;
        context.fillRect(box.x, box.y, box.width, box.height);
        if (marked.has(item.id)) {
          context.globalAlpha = 1;
          context.strokeStyle = paint.accent;
          context.lineWidth = 2;
          context.strokeRect(box.x - 1, box.y - 1, box.width + 2, box.height + 2);
        }
      }
    }
    context.globalAlpha = 1;
  }
  private labels(context: CanvasRenderingContext2D, paint: Colours) {
    context.font = "10px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (const { x, y, text } of this.words()) {
      const wide = context.measureText(text).width + 6;
      context.fillStyle = paint.paper;
      context.globalAlpha = 0.86;
      context.fillRect(x - wide / 2, y - 7, wide, 14);
      context.globalAlpha = 1;
      context.fillStyle = paint.ink;
      context.fillText(text, x, y);
    }
  }
  /** What stands on the wires: the message, or in the view of gates the ⊗ with its variable. */
  words(): { x: number; y: number; text: string; line: Line }[] {
    const found = [];
    for (const line of this.seen.lines) {
      const ends = this.ends(line);
      if (!ends) continue;
      const [x0, y0, x1, y1] = ends;
      const one = line.wires.length === 1 ? line.wires[0].variable : `${line.wires.length} wires`;
      const text = this.gates && one ? `⊗ ${one}` : spell(line.value);
      // Nearer to the input's end: there the curves have parted.
      const t = 0.4;
      const u = 1 - t;
      const y = u * u * u * y0 + 3 * u * u * t * y0 + 3 * u * t * t * y1 + t * t * t * y1;
      found.push({ x: x0 + (x1 - x0) * (u * u * u * 0 + 3 * u * u * t * 0.5 + 3 * u * t * t * 0.5 + t * t * t), y, text, line });
    }
    return found;
  }
  path(line: Line): string | null {
    const ends = this.ends(line);
    if (!ends) return null;
    const [x0, y0, x1, y1] = ends.map((x) => Math.round(x * 10) / 10);
    const middle = Math.round((x0 + x1) * 5) / 10;
    return this.count > 3000 ? `M${x0} ${y0}L${x1} ${y1}` : `M${x0} ${y0}C${middle} ${y0} ${middle} ${y1} ${x1} ${y1}`;
  }
  style(line: Line): { width: number; colour: keyof Colours; alpha: number } {
    const bucket = this.styles.get(line)!;
    return { width: bucket.width, colour: bucket.colour, alpha: bucket.alpha };
  }
}

function widthOf(step: number): number { return step === 0 ? 0.75 : 0.75 + (5.25 * step) / BUCKETS; }

/** The item under a point of the layout, among the cells that the canvas draws. */
export function cellAt(layout: Layout, x: number, y: number): string | null {
  for (const column of layout.columns) {
    if (!column.cells || x < column.x - 2 || x > column.x + column.width + 2) continue;
    for (const item of column.items) {
      const box: Box = layout.boxes.get(item.id)!;
      if (x >= box.x - 1 && x <= box.x + box.width + 1 && y >= box.y - 1 && y <= box.y + box.height + 1) return item.id;
    }
  }
  return null;
}
