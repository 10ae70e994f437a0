// The stage: wires on a canvas, neurons as buttons above it, both moved and scaled as one.

import type { RefObject } from "preact";
import { select } from "d3-selection";
import { zoom, zoomIdentity, type ZoomBehavior } from "d3-zoom";
import { useEffect, useImperativeHandle, useLayoutEffect, useRef, useState } from "preact/hooks";
import { channelOf, type Item } from "./graph";
import { numeric, spell } from "./model";
import { cellAt, colours, type Colours, type View } from "./paint";
import { STEP, type Session } from "./session";

export interface StageHandle { fit: () => void; colours: () => Colours }
interface Given { session: Session; theme: string; search: () => void; help: () => void; handle: RefObject<StageHandle | null> }

// The handle is a property: preact/compat, which passes references on, would make every `change` an `input`.
export function Stage({ session, theme, search, help, handle }: Given) {
  const root = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const nodes = useRef<HTMLDivElement>(null);
  const behaviour = useRef<ZoomBehavior<HTMLDivElement, unknown> | undefined>(undefined);
  const view = useRef<View>({ x: 0, y: 0, k: 1 });
  const paint = useRef<Colours | undefined>(undefined);
  const [hover, setHover] = useState<{ id: string; x: number; y: number } | null>(null);
  const scene = session.scene!;
  const now = useRef(session);
  now.current = session;

  const draw = (moving: boolean) => {
    const { x, y, k } = view.current;
    if (nodes.current) nodes.current.style.transform = `translate(${x}px, ${y}px) scale(${k})`;
    const at = now.current;
    if (!canvas.current || !at.scene) return;
    paint.current ??= colours(root.current!);
    const marked = new Set([at.focus, at.state.selected, ...at.state.pins].filter((id): id is string => id !== null));
    at.scene.draw(canvas.current, view.current, paint.current, moving, marked);
  };

  const fit = () => {
    if (!root.current || !behaviour.current || !now.current.scene) return;
    const { layout } = now.current.scene!;
    const { clientWidth: width, clientHeight: height } = root.current!;
    const room = 56;
    const k = Math.max(0.05, Math.min(1.2, (width - room) / Math.max(1, layout.width), (height - 2 * room) / Math.max(1, layout.height)));
    const to = zoomIdentity.translate((width - layout.width * k) / 2, height / 2 + 10).scale(k);
    behaviour.current!.transform(select(root.current!), to);
  };

  useEffect(() => {
    let frame = 0;
    let rest = 0;
    behaviour.current = zoom<HTMLDivElement, unknown>().scaleExtent([0.03, 6]).on("zoom", (event) => {
      view.current = event.transform;
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(() => draw(true));
      clearTimeout(rest);
      rest = window.setTimeout(() => draw(false), 140);
    });
    behaviour.current.filter((event: Event) => {
      if (event.type === "wheel") return true;
      return !(event.target as HTMLElement).closest("button") && !(event as MouseEvent).button;
    });
    select(root.current!).call(behaviour.current).on("dblclick.zoom", null);
    const watch = new ResizeObserver(() => draw(false));
    watch.observe(root.current!);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const repaint = () => { paint.current = undefined; draw(false); };
    dark.addEventListener("change", repaint);
    fit();
    return () => { watch.disconnect(); dark.removeEventListener("change", repaint); };
  }, []);
  useLayoutEffect(() => { paint.current = undefined; draw(false); }, [theme]);
  useLayoutEffect(() => { draw(false); });
  useImperativeHandle(handle, () => ({ fit, colours: () => colours(root.current!) }), []);

  const items = scene.seen.items;
  const act = actions(session);
  const focusOn = (id: string) => {
    session.focus = id;
    session.refresh();
    requestAnimationFrame(() => {
      root.current?.querySelector<HTMLElement>(`[data-id="${CSS.escape(id)}"] .body`)?.focus({ preventScroll: true });
      reveal(id);
    });
  };
  const reveal = (id: string) => {
    const box = now.current.scene!.layout.boxes.get(id);
    if (!box || !root.current) return;
    const { x, y, k } = view.current;
    const [left, top] = [box.x * k + x, box.y * k + y];
    const { clientWidth: width, clientHeight: height } = root.current;
    if (left < 8 || top < 8 || left + box.width * k > width - 8 || top + box.height * k > height - 8) {
      const to = zoomIdentity.translate(width / 2 - (box.x + box.width / 2) * k, height / 2 - (box.y + box.height / 2) * k).scale(k);
      behaviour.current!.transform(select(root.current), to);
    }
  };

  const onKey = (event: KeyboardEvent) => {
    const key = event.key;
    const item = session.focus ? items.get(session.focus) : undefined;
    if (event.ctrlKey || event.metaKey) {
      if (key === "z" || key === "y") { event.preventDefault(); void session.undo(key === "y"); }
      return;
    }
    if (event.altKey) return;
    if (key === "/") { event.preventDefault(); search(); return; }
    if (key === "?") { help(); return; }
    if (key === "u" || key === "r") { void session.undo(key === "r"); return; }
    if (key === "0") { fit(); return; }
    if (key === "+" || key === "=" || key === "_") { behaviour.current!.scaleBy(select(root.current!), key === "_" ? 0.8 : 1.25); return; }
    if (!item) return;
    const moves: Record<string, () => string | null> = {
      ArrowLeft: () => neighbour(session, item, false), ArrowRight: () => neighbour(session, item, true),
      ArrowUp: () => beside(session, item, -1), ArrowDown: () => beside(session, item, 1),
    };
    if (key in moves) {
      event.preventDefault();
      const to = moves[key]();
      if (to) focusOn(to);
      return;
    }
    const doings: Record<string, () => void> = {
      Enter: () => act.select(item), " ": () => act.select(item), e: () => act.expand(item, STEP, 0),
      E: () => act.expand(item, Infinity, 0), o: () => act.expand(item, 0, STEP), "-": () => act.fold(item),
      Backspace: () => act.fold(item), p: () => act.pin(item), b: () => act.best(item), g: () => act.layer(item),
      c: () => act.channel(item),
      n: () => { act.select(item); setTimeout(() => document.getElementById("note")?.focus(), 50); },
    };
    if (key in doings) { event.preventDefault(); doings[key](); }
  };

  // Where what had the focus has gone (a neuron into its layer), the keys go on here.
  const keys = useRef(onKey);
  keys.current = onKey;
  useEffect(() => {
    const lost = (event: KeyboardEvent) => { if (event.target === document.body) keys.current(event); };
    addEventListener("keydown", lost);
    return () => removeEventListener("keydown", lost);
  }, []);
  const pointed = (event: MouseEvent): string | null => {
    const frame = root.current!.getBoundingClientRect();
    const { x, y, k } = view.current;
    return cellAt(scene.layout, (event.clientX - frame.left - x) / k, (event.clientY - frame.top - y) / k);
  };
  const focused = session.focus ? items.get(session.focus) : undefined;
  const drawn = [...items.values()].filter((item) => !scene.layout.boxes.get(item.id)!.cell || item.id === session.focus || item.id === session.state.selected);
  return (
    <div ref={root} class="stage" role="application" aria-label="The circuit, inputs on the left, the target on the right"
      aria-describedby="spoken" tabIndex={-1} onKeyDown={onKey}
      onMouseMove={(event) => { const id = pointed(event); if (id !== hover?.id) setHover(id ? { id, x: event.offsetX, y: event.offsetY } : null); }}
      onMouseLeave={() => setHover(null)}
      onClick={(event) => { const id = pointed(event); if (id && !(event.target as HTMLElement).closest("button")) { session.focus = id; act.select(items.get(id)!); } }}>
      <canvas ref={canvas} aria-hidden="true" />
      <div ref={nodes} class="nodes">
        {scene.layout.columns.map((column) => (
          <span key={column.depth} class="column" style={{ left: px(column.x), top: px(-scene.layout.height / 2 - 34) }}>{column.title}</span>
        ))}
        {drawn.map((item) => <Neuron key={item.id} item={item} session={session} act={act} focus={focusOn} />)}
      </div>
      {hover && items.has(hover.id) && <div class="tip" style={{ left: px(hover.x + 14), top: px(hover.y + 14) }}>{items.get(hover.id)!.label}: {spell(items.get(hover.id)!.value)}</div>}
      <p id="spoken" class="spoken" aria-live="polite">{focused ? `${focused.label}: ${spell(focused.value)}` : ""}</p>
      <p class="count">{items.size.toLocaleString("en")} nodes, {scene.seen.lines.reduce((sum, line) => sum + line.wires.length, 0).toLocaleString("en")} wires</p>
    </div>
  );
}

function px(length: number): string { return `${length}px`; }

type Acts = ReturnType<typeof actions>;

function Neuron({ item, session, act, focus }: { item: Item; session: Session; act: Acts; focus: (id: string) => void }) {
  const box = session.scene!.layout.boxes.get(item.id)!;
  const { state } = session;
  const s = item.value === null ? 0 : session.scene!.strongNode(item.value);
  const note = item.node && state.notes[item.id];
  const classes = ["node", box.cell ? "cell" : "", item.node ? item.node.kind : "group", item.alive ? "" : "below",
    state.selected === item.id ? "selected" : "", state.pins.includes(item.id) ? "pinned" : "", s < 0 ? "against" : "for"];
  const target = session.all!.targets.includes(item.id);
  return (
    <div class={classes.filter(Boolean).join(" ")} data-id={item.id} style={{ left: px(box.x), top: px(box.y), width: px(box.width), height: px(box.height), "--share": Math.abs(s).toFixed(3) }}>
      <button type="button" class="body" tabIndex={session.focus === item.id ? 0 : -1} data-value={String(item.value)}
        aria-label={`${item.label}, ${spell(item.value)}${target ? ", target" : ""}${state.pins.includes(item.id) ? ", pinned" : ""}`}
        aria-pressed={state.selected === item.id} title={note ? `${item.label}\n${note}` : item.label}
        onFocus={() => { if (session.focus !== item.id) { session.focus = item.id; session.refresh(); } }}
        onClick={() => act.select(item)} onDblClick={() => act.expand(item, STEP, 0)}>
        {!box.cell && <><b>{target ? "◎ " : ""}{state.gates && item.node?.kind === "neuron" && item.node.outputs > 1 ? "⊕ " : ""}{item.label}</b>
          <span>{spell(item.value)}{state.pins.includes(item.id) ? " · pinned" : ""}{note ? " · note" : ""}</span></>}
      </button>
      {!box.cell && item.moreIn > 0 && (
        <button type="button" class="more in" tabIndex={-1} title={`${item.moreIn.toLocaleString("en")} more inputs (e)`} aria-label={`show more inputs of ${item.label}, ${item.moreIn} hidden`}
          onClick={() => { focus(item.id); act.expand(item, STEP, 0); }}>+{short(item.moreIn)}</button>
      )}
      {!box.cell && item.moreOut > 0 && !target && (
        <button type="button" class="more out" tabIndex={-1} title={`${item.moreOut.toLocaleString("en")} more outputs (o)`} aria-label={`show more outputs of ${item.label}, ${item.moreOut} hidden`}
          onClick={() => { focus(item.id); act.expand(item, 0, STEP); }}>+{short(item.moreOut)}</button>
      )}
    </div>
  );
}

function short(count: number): string { return count < 10_000 ? String(count) : `${Math.round(count / 1000)}k`; }

/** What can be done with a node. */
export function actions(session: Session) {
  const toggle = (list: string[], id: string) => {
    const at = list.indexOf(id);
    if (at < 0) list.push(id);
    else list.splice(at, 1);
  };
  return {
    select: (item: Item) => {
      if (!item.node) return void session.change((s) => toggle(s.collapsed, item.id));
      void session.change((s) => {
        s.selected = s.selected === item.id ? null : item.id;
        if (!s.selected) s.path = 0;
      });
    },
    expand: (item: Item, down: number, up: number) => {
      if (!item.node) return void session.change((s) => toggle(s.collapsed, item.id));
      const { inputs, outputs } = item.node;
      void session.change((s) => {
        const [a, b] = s.shown[item.id] ?? [0, 0];
        s.shown[item.id] = [Math.min(inputs, a + down), Math.min(outputs, b + up)];
      });
    },
    fold: (item: Item) => {
      if (item.node) void session.change((s) => { s.shown[item.id] = [0, 0]; });
    },
    pin: (item: Item) => { if (item.node) void session.change((s) => toggle(s.pins, item.id)); },
    best: (item: Item) => {
      if (!item.node) return;
      void session.change((s) => {
        s.path = s.selected !== item.id ? 1 : s.path === 0 ? 1 : s.path === 1 ? 3 : 0;
        s.selected = item.id;
      });
    },
    layer: (item: Item) => void session.change((s) => toggle(s.collapsed, `layer:${item.layer}`)),
    channel: (item: Item) => {
      const channel = item.node ? channelOf(item.node, session.layers) : item.id;
      if (channel) void session.change((s) => toggle(s.collapsed, channel));
    },
  };
}

/** The strongest neighbour of an item on its left (inputs) or right (outputs). */
function neighbour(session: Session, item: Item, up: boolean): string | null {
  const { scene } = session;
  let best: { id: string; s: number } | null = null;
  for (const line of scene!.seen.lines) {
    if ((up ? line.source : line.target) !== item.id) continue;
    const s = line.value === null ? 0 : Math.abs(scene!.strong(line.value));
    if (!best || s > best.s) best = { id: up ? line.target : line.source, s: Number.isNaN(numeric(s)) ? 0 : s };
  }
  return best?.id ?? null;
}

function beside(session: Session, item: Item, step: number): string | null {
  const column = session.scene!.layout.columns.find((one) => one.items.some((other) => other.id === item.id))!;
  const at = column.items.findIndex((other) => other.id === item.id) + step;
  return column.items[at]?.id ?? null;
}
