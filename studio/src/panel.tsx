// The panel: the selected neuron, the input as a picture, layers and groups, where relevance went.

import { useEffect, useRef, useState } from "preact/hooks";
import { elementOf, type Item } from "./graph";
import { join, scale, spell, strength, type Message, type Picture, type Value } from "./model";
import type { Colours } from "./paint";
import { STEP, type Session } from "./session";
import { actions } from "./stage";

interface Given { session: Session; theme: string; colours: () => Colours | undefined }

export function Panel({ session, theme, colours }: Given) {
  return (
    <aside class="panel" aria-label="details">
      <Neuron session={session} />
      {session.all!.pictures.map((picture) => <Input key={picture.layer} session={session} picture={picture} theme={theme} colours={colours} />)}
      <Layers session={session} />
      <Groups session={session} />
      {session.source.live && <Account session={session} />}
    </aside>
  );
}

function Neuron({ session }: { session: Session }) {
  const { state, details, written, paths, source, algebra } = session;
  const id = state.selected;
  if (!id || !details || details.id !== id) {
    return <section class="neuron"><h2>Neuron</h2><p class="pale">{id ? "Looking …" : "Choose a neuron: click it, or Tab to the circuit and press Enter."}</p></section>;
  }
  const item = session.scene!.seen.items.get(id);
  const act = actions(session);
  const answers = details.answers.map((one) => {
    const sure = !source.live && session.theta !== null && one.semiring === "boolean";
    const node = session.pool.nodes.get(id);
    return sure && node ? { ...one, value: elementOf(node.values, "boolean", session.theta)! } : one;
  });
  return (
    <section class="neuron" data-neuron={id}>
      <h2>{details.name}</h2>
      <p class="pale">{details.aliases.join(" · ")}{details.activation !== null && <> activation <b data-activation={details.activation}>{spell(details.activation)}</b></>}</p>
      <div class="buttons">
        <button type="button" aria-pressed={state.pins.includes(id)} disabled={!item?.node} onClick={() => act.pin(item!)}>Pin</button>
        <button type="button" disabled={!item?.node} onClick={() => act.expand(item!, STEP, 0)}>More inputs</button>
        <button type="button" disabled={!item?.node} onClick={() => act.expand(item!, 0, STEP)}>More outputs</button>
        <button type="button" disabled={!item?.node} onClick={() => act.fold(item!)}>Hide them</button>
        <button type="button" aria-pressed={state.path > 0} disabled={!item?.node} onClick={() => act.best(item!)}>Best paths</button>
      </div>
      <table class="answers"><caption>In every semiring</caption><tbody>
        {answers.map((one) => (
          <tr key={one.semiring} class={one.semiring === session.question.semiring ? "chosen" : ""}>
            <th scope="row"><button type="button" class="link" onClick={() => session.ask({ semiring: one.semiring })}>{one.semiring}</button></th>
            <td data-semiring={one.semiring} data-value={String(one.value)}>{one.exact || one.value === null ? "" : "≈ "}{spell(one.value)}</td>
          </tr>
        ))}
      </tbody></table>
      {written && written.id === id ? <Formula session={session} /> : <p class="pale">Writing its formula …</p>}
      {paths && (
        <div class="paths"><h3>Best paths ({paths.semiring})</h3>
          {paths.remark && <p class="pale">{paths.remark}</p>}
          {paths.values.length === 0 && <p>No path leads to the target.</p>}
          <ol>{paths.variables.map((path, k) => <li key={k}><b data-path={String(paths.values[k])}>{spell(paths.values[k])}</b> <code>{path.join(" ⊗ ")}</code></li>)}</ol>
        </div>
      )}
      <Messages title="Passes to its inputs" count={details.passes_count} messages={details.passes} session={session} />
      <Messages title="Receives from its outputs" count={details.receives_count} messages={details.receives} session={session} />
      {details.account && (
        <dl class="account" aria-label="account">
          <div><dt>came</dt><dd data-came={String(details.account.came)}>{spell(details.account.came)}</dd></div>
          <div><dt>passed on</dt><dd data-passed={String(details.account.passed)}>{spell(details.account.passed)}</dd></div>
          {details.account.bias !== null && <div><dt>bias took</dt><dd>{spell(details.account.bias)}</dd></div>}
          {details.account.lost !== null && <div><dt>lost</dt><dd>{Math.abs(details.account.lost) < 1e-6 ? "nothing" : spell(details.account.lost)}</dd></div>}
        </dl>
      )}
      <label class="note">Note
        <textarea id="note" rows={2} value={state.notes[id] ?? ""} onChange={(event) => {
          const text = event.currentTarget.value.slice(0, 2000);
          void session.change((s) => { if (text) s.notes[id] = text; else delete s.notes[id]; });
        }} />
      </label>
      {algebra.question && <p class="pale">{session.question.semiring}: {algebra.question}</p>}
    </section>
  );
}

function Formula({ session }: { session: Session }) {
  const found = session.written!;
  return (
    <div class="formula">
      <h3>Formula</h3>
      <p data-paths={found.paths}>{found.gates > 0 && `${counted(found.gates, "gate")}, ${counted(found.variables, "variable")}, `}{found.paths || "?"} {found.paths === "1" ? "path" : "paths"}</p>
      {found.remark && <p class="pale">{found.remark}</p>}
      {found.formula !== null && <details open={found.formula.length < 400}><summary>formula</summary><pre data-formula="">{found.formula}</pre></details>}
      {found.polynomial !== null && <details><summary>polynomial</summary><pre data-polynomial="">{found.polynomial}</pre></details>}
      {found.latex !== null && <details><summary>LaTeX</summary><pre data-latex="">{found.latex}</pre></details>}
    </div>
  );
}

function Messages({ title, count, messages, session }: { title: string; count: number; messages: Message[]; session: Session }) {
  if (!count) return null;
  const strong = scale(messages.map((one) => one.message), session.algebra);
  const go = (id: string) => {
    session.focus = id;
    void session.change((s) => { if (!s.extra.includes(id)) s.extra.push(id); s.selected = id; });
  };
  return (
    <details class="messages" open={count <= 12}>
      <summary>{title} ({count.toLocaleString("en")})</summary>
      <div class="wide"><table><thead><tr><th>neuron</th><th>variable</th><th>d</th><th>Θ(d)</th><th>message</th></tr></thead><tbody>
        {messages.map((one, k) => (
          <tr key={k}>
            <td><button type="button" class="link" onClick={() => go(one.id)}>{one.name}</button></td>
            <td><code>{one.variable}</code></td><td>{spell(one.coefficient)}</td><td>{spell(one.element)}</td>
            <td data-message={String(one.message)} style={{ "--share": Math.abs(strong(one.message)).toFixed(3) }} class={strength(one.message, session.algebra) ? "bar-cell" : ""}>{spell(one.message)}</td>
          </tr>
        ))}
      </tbody></table></div>
      {count > messages.length && <p class="pale">and {(count - messages.length).toLocaleString("en")} weaker</p>}
    </details>
  );
}

/** The input, and over it the relevance of each pixel; a pixel leads to its neuron and back. */
function Input({ session, picture, theme, colours }: { session: Session; picture: Picture; theme: string; colours: () => Colours | undefined }) {
  const plain = useRef<HTMLCanvasElement>(null);
  const over = useRef<HTMLCanvasElement>(null);
  const [at, setAt] = useState<number | null>(null);
  const { height, width, channels } = picture;
  const area = height * width;
  const algebra = session.algebra;
  const held = picture.relevance[session.question.semiring];
  const place = (id: string | null) => {
    if (!id || id.includes(":")) return null;
    const [layer, number] = id.split(".").map(Number);
    return layer === picture.layer ? number % area : null;
  };
  const values = pixelValues(session, picture);
  useEffect(() => {
    const paint = colours();
    if (!paint || !plain.current || !over.current) return;
    paintInput(plain.current, picture);
    const strong = scale(values.filter((v): v is Value => v !== null), algebra);
    const context = over.current.getContext("2d")!;
    context.clearRect(0, 0, width, height);
    values.forEach((value, pixel) => {
      const s = value === null ? 0 : strong(value);
      if (!s || Number.isNaN(s)) return;
      context.globalAlpha = Math.min(1, Math.abs(s));
      context.fillStyle = s < 0 ? paint.minus : paint.plus;
      context.fillRect(pixel % width, Math.floor(pixel / width), 1, 1);
    });
    context.globalAlpha = 1;
  });
  void theme;
  const name = session.layers.get(picture.layer)?.name ?? "input";
  const shown = at ?? place(session.state.selected) ?? place(session.focus);
  const pick = (pixel: number) => {
    const channel = strongestChannel(held, picture, pixel, session);
    const id = `${picture.layer}.${channel * area + pixel}`;
    session.focus = id;
    void session.change((s) => { if (!s.extra.includes(id)) s.extra.push(id); s.selected = id; s.path = 1; });
  };
  const pixelOf = (event: MouseEvent) => {
    const frame = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const x = Math.min(width - 1, Math.max(0, Math.floor(((event.clientX - frame.left) / frame.width) * width)));
    const y = Math.min(height - 1, Math.max(0, Math.floor(((event.clientY - frame.top) / frame.height) * height)));
    return y * width + x;
  };
  const onKey = (event: KeyboardEvent) => {
    const from = at ?? place(session.state.selected) ?? 0;
    const steps: Record<string, number> = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -width, ArrowDown: width };
    if (event.key in steps) {
      event.preventDefault();
      setAt(Math.min(area - 1, Math.max(0, from + steps[event.key])));
    } else if (event.key === "Enter") { event.preventDefault(); pick(from); }
  };
  const flat = height === 1 ? Math.max(0.04, Math.min(1, 1 / width) * 2) : height / width;
  return (
    <section class="input">
      <h2>{name}{channels > 1 && <small> {channels} channels joined</small>}</h2>
      <div class="pixels" role="application" tabIndex={0} aria-label={`${name} as a picture: arrows move, Enter selects the pixel's neuron`}
        style={{ aspectRatio: String(1 / flat) }} onKeyDown={onKey} onBlur={() => setAt(null)}
        onMouseMove={(event) => setAt(pixelOf(event))} onMouseLeave={() => setAt(null)} onClick={(event) => pick(pixelOf(event))}>
        <canvas ref={plain} width={width} height={height} /><canvas ref={over} width={width} height={height} class="over" />
        {shown !== null && <i class="cross" style={{ left: `${((shown % width) / width) * 100}%`, top: `${(Math.floor(shown / width) / height) * 100}%`, width: `${100 / width}%`, height: `${100 / height}%` }} />}
      </div>
      <p class="pale" aria-live="polite" data-pixel={shown ?? ""}>{shown !== null ? `[${Math.floor(shown / width)}, ${shown % width}] ${spell(values[shown])}` : `relevance over the input, ${session.question.semiring}`}</p>
    </section>
  );
}

/** Each pixel's element, its channels ⊕-ed; below θ nothing, where Bottleneck says so. */
function pixelValues(session: Session, picture: Picture): (Value | null)[] {
  const { semiring } = session.question;
  const held = picture.relevance[semiring];
  const floor = picture.relevance.bottleneck;
  const area = picture.height * picture.width;
  const zero = session.algebra.zero;
  const one = (n: number): Value | null => {
    if (!held) return null;
    const values: Record<string, Value> = { [semiring]: held[n] };
    if (floor) values.bottleneck = floor[n];
    const value = elementOf(values, semiring, session.theta);
    return session.theta !== null && floor && Number(floor[n]) < session.theta ? zero : value;
  };
  return Array.from({ length: area }, (_, pixel) => {
    if (picture.channels === 1) return one(pixel);
    const each = Array.from({ length: picture.channels }, (_, c) => one(c * area + pixel)).filter((v): v is Value => v !== null);
    return join(each, session.algebra);
  });
}

function strongestChannel(held: Value[] | undefined, picture: Picture, pixel: number, session: Session): number {
  let best = 0;
  if (!held) return 0;
  const area = picture.height * picture.width;
  for (let c = 1; c < picture.channels; c++) {
    if (strength(held[c * area + pixel], session.algebra) > strength(held[best * area + pixel], session.algebra)) best = c;
  }
  return best;
}

function paintInput(canvas: HTMLCanvasElement, picture: Picture) {
  const { height, width, channels, pixels } = picture;
  const area = height * width;
  const context = canvas.getContext("2d")!;
  const image = context.createImageData(width, height);
  let low = Infinity;
  let high = -Infinity;
  for (const x of pixels) { low = Math.min(low, x); high = Math.max(high, x); }
  const level = (x: number) => Math.round((255 * (x - low)) / (high - low || 1));
  for (let pixel = 0; pixel < area; pixel++) {
    const colour = channels === 3
      ? [0, 1, 2].map((c) => level(pixels[c * area + pixel]))
      : Array(3).fill(255 - level(pixels[pixel]) * 0.75);
    image.data.set([...colour, 255], pixel * 4);
  }
  context.putImageData(image, 0, 0);
}

function Layers({ session }: { session: Session }) {
  const { all, state, scene } = session;
  const counts = new Map<number, number>();
  for (const item of scene!.seen.items.values()) for (const node of item.members) counts.set(node.layer, (counts.get(node.layer) ?? 0) + 1);
  const add = (layer: number) => session.work(async () => {
    const ids = await session.source.layer(session.question, layer, STEP);
    await session.change((s) => { for (const id of ids) if (!s.extra.includes(id)) s.extra.push(id); });
  });
  const all_of = (layer: number) => session.change((s) => {
    for (const item of scene!.seen.items.values()) {
      for (const node of item.members) if (node.layer === layer && node.inputs) s.shown[node.id] = [node.inputs, s.shown[node.id]?.[1] ?? 0];
    }
  });
  return (
    <details class="layers"><summary><h2>Layers</h2></summary>
      <div class="wide"><table><thead><tr><th>layer</th><th>shape</th><th>shown</th><th /></tr></thead><tbody>
        {all!.layers.map((layer) => (
          <tr key={layer.id} data-layer={layer.name}>
            <th scope="row" title={layer.op}>{layer.name}</th><td>{layer.shape.join("×") || "1"}</td><td>{counts.get(layer.id) ?? 0} of {layer.size.toLocaleString("en")}</td>
            <td class="buttons">
              <button type="button" title="Show its strongest neurons" onClick={() => add(layer.id)}>Strongest</button>
              <button type="button" title="Show every input of its neurons on the page" disabled={layer.source || !counts.get(layer.id)} onClick={() => all_of(layer.id)}>All inputs</button>
              <button type="button" aria-pressed={state.collapsed.includes(`layer:${layer.id}`)} onClick={() => session.change((s) => {
                const key = `layer:${layer.id}`;
                s.collapsed = s.collapsed.includes(key) ? s.collapsed.filter((one) => one !== key) : [...s.collapsed, key];
              })}>Collapse</button>
            </td>
          </tr>
        ))}
      </tbody></table></div>
    </details>
  );
}

function Groups({ session }: { session: Session }) {
  const { state } = session;
  const [name, setName] = useState("");
  const make = () => {
    const wanted = name.trim().slice(0, 80) || `group ${state.groups.length + 1}`;
    void session.change((s) => {
      s.groups = [...s.groups.filter((one) => one.name !== wanted), { name: wanted, members: [...s.pins] }];
      if (!s.collapsed.includes(`group:${wanted}`)) s.collapsed.push(`group:${wanted}`);
      s.extra.push(...s.pins.filter((id) => !s.extra.includes(id)));
      s.pins = [];
    });
    setName("");
  };
  const spokenOf = (id: string) => session.pool.nodes.get(id)?.name ?? id;
  return (
    <details class="groups"><summary><h2>Pins, groups, notes</h2></summary>
      <p>{state.pins.length ? state.pins.map(spokenOf).join(", ") : <span class="pale">No pins: press p on a neuron.</span>}</p>
      <form class="buttons" onSubmit={(event) => { event.preventDefault(); make(); }}>
        <label>Group of the pins <input value={name} size={12} onInput={(event) => setName(event.currentTarget.value)} /></label>
        <button type="submit" disabled={!state.pins.length}>Make</button>
      </form>
      <ul>{state.groups.map((group) => (
        <li key={group.name}>{group.name} ({group.members.length}) <button type="button" aria-pressed={state.collapsed.includes(`group:${group.name}`)}
          onClick={() => session.change((s) => {
            const key = `group:${group.name}`;
            s.collapsed = s.collapsed.includes(key) ? s.collapsed.filter((one) => one !== key) : [...s.collapsed, key];
          })}>Collapse</button> <button type="button" onClick={() => session.change((s) => {
            s.groups = s.groups.filter((one) => one.name !== group.name);
            s.collapsed = s.collapsed.filter((one) => one !== `group:${group.name}`);
          })}>Dissolve</button></li>
      ))}</ul>
      <ul>{Object.entries(state.notes).map(([id, note]) => <li key={id}><b>{spokenOf(id)}</b> {note}</li>)}</ul>
    </details>
  );
}

function Account({ session }: { session: Session }) {
  const { report } = session;
  return (
    <details class="conservation" onToggle={(event) => { if (event.currentTarget.open && !report) void session.account(); }}>
      <summary><h2>Where relevance went</h2></summary>
      {report && <>
        <p data-holds={String(report.holds)}>start {spell(report.start)}; inputs {spell(report.inputs)}; sinks {spell(report.sinks)}: {report.holds ? "all is accounted for" : "not all is accounted for"} ({report.semiring})</p>
        <div class="wide"><table><thead><tr><th>block</th><th>came</th><th>passed</th><th>bias</th><th>lost</th></tr></thead><tbody>
          {report.lines.map((line, k) => <tr key={k}><th scope="row" title={line.op}>{line.path}</th><td>{spell(line.came)}</td><td>{spell(line.passed)}</td><td>{spell(line.bias)}</td><td>{spell(line.lost)}</td></tr>)}
        </tbody></table></div>
      </>}
    </details>
  );
}

export type { Item };

function counted(number: number, thing: string): string {
  return `${number.toLocaleString("en")} ${thing}${number === 1 ? "" : "s"}`;
}
