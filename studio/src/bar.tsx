// The bar: which question is asked, θ, search, and what to do with the page.

import type { RefObject } from "preact";
import { useState } from "preact/hooks";
import { download, dot, json, png, svg } from "./export";
import { spell, type Hit } from "./model";
import type { Colours } from "./paint";
import type { Session } from "./session";

interface Given {
  session: Session; search: RefObject<HTMLInputElement | null>; fit: () => void; help: () => void;
  theme: string; setTheme: (theme: string) => void; paint: () => Colours;
}

export function Bar({ session, search, fit, help, theme, setTheme, paint }: Given) {
  const { question, choices, source, state } = session;
  if (!choices) return null;
  const fixed = source.live ? undefined : "This file answers one question; the live studio takes others.";
  return (
    <div class="controls" role="toolbar" aria-label="question">
      <Choice label="Semiring" value={question.semiring} options={choices.algebras.map((one) => one.name)}
        title={session.algebra.question} choose={(semiring) => session.ask({ semiring })} />
      {question.target !== "" && <>
      <Choice label="Rule" value={question.rule} options={choices.rules} title={fixed} disabled={!source.live}
        choose={(rule) => session.ask({ rule })} />
      <Target session={session} fixed={fixed} />
      <Choice label="Example" value={String(question.example)} title={fixed} disabled={!source.live || choices.examples < 2}
        options={source.live ? Array.from({ length: choices.examples }, (_, k) => String(k)) : [String(question.example)]}
        choose={(example) => session.ask({ example: Number(example) })} />
      </>}
      <Choice label="Order by" value={question.order} options={choices.algebras.map((one) => one.name)}
        title="The semiring in which the strongest wires come first" choose={(order) => session.ask({ order })} />
      <Slider session={session} />
      <Search session={session} input={search} />
      <div class="buttons">
        <button type="button" onClick={() => session.undo()} disabled={!session.canUndo} title="Undo (u)">Undo</button>
        <button type="button" onClick={() => session.undo(true)} disabled={!session.canRedo} title="Redo (r)">Redo</button>
        <button type="button" onClick={fit} title="Show all (0)">Fit</button>
        <button type="button" aria-pressed={state.gates} title="Name the gates: ⊕ at neurons, ⊗ with its variable on wires"
          onClick={() => session.change((s) => { s.gates = !s.gates; })}>Gates</button>
        <button type="button" aria-pressed={state.hide} title="Hide what falls below θ, instead of fading it"
          onClick={() => session.change((s) => { s.hide = !s.hide; })}>Hide below θ</button>
        <Export session={session} paint={paint} />
        <button type="button" title="Light, dark, or as the system has it"
          onClick={() => setTheme(theme === "auto" ? "dark" : theme === "dark" ? "light" : "auto")}>Theme: {theme}</button>
        <button type="button" onClick={help} title="Keys (?)">Help</button>
      </div>
    </div>
  );
}

interface ChoiceGiven {
  label: string; value: string; options: string[]; title?: string; disabled?: boolean; names?: (option: string) => string;
  choose: (value: string) => void;
}

function Choice({ label, value, options, title, disabled, names, choose }: ChoiceGiven) {
  return (
    <label title={title}>{label}
      <select aria-label={label} value={value} disabled={disabled} onChange={(event) => choose(event.currentTarget.value)}>
        {options.map((option) => <option key={option} value={option} selected={option === value}>{names ? names(option) : option}</option>)}
      </select>
    </label>
  );
}

function Target({ session, fixed }: { session: Session; fixed: string | undefined }) {
  const { choices, question, source, all } = session;
  const targets = choices!.targets;
  const name = (option: string) => choices!.classes[option] ? `${option} ${choices!.classes[option]}` : option;
  if (targets.length && targets.length <= 120) {
    const spokenOf = (option: string) => option === "predicted"
      ? `predicted (${all!.targets.map((id) => all!.classes[id] ?? id.split(".")[1]).join()})` : name(option);
    return <Choice label="Target" value={question.target} title={fixed} disabled={!source.live} names={spokenOf}
      options={targets.includes(question.target) ? targets : [question.target, ...targets]} choose={(target) => session.ask({ target })} />;
  }
  return (
    <label title={fixed ?? "A class, a full index such as 1,0,2, or predicted"}>Target
      <input value={question.target} disabled={!source.live} size={9} onChange={(event) => session.ask({ target: event.currentTarget.value })} />
    </label>
  );
}

function Slider({ session }: { session: Session }) {
  const { steps, alive, pictures } = session.all!;
  if (!steps.length) return null;
  const total = pictures.reduce((sum, one) => sum + one.pixels.length, 0);
  const theta = session.theta;
  const at = theta === null ? 0 : steps.findIndex((step) => step >= theta) + 1 || steps.length;
  const words = theta === null ? "all" : `${spell(steps[at - 1])}: ${alive[at - 1].toLocaleString("en")} of ${total.toLocaleString("en")} inputs`;
  return (
    <label class="theta" title="A wire stays if a path over it has every coefficient at least θ; from one Bottleneck pass, exactly">θ
      <input type="range" min={0} max={steps.length} value={at} aria-valuetext={words}
        onInput={(event) => { const k = Number(event.currentTarget.value); session.slide(k ? steps[k - 1] : null); }}
        onChange={() => session.settle()} />
      <output data-theta={theta ?? ""}>{words}</output>
    </label>
  );
}

function Search({ session, input }: { session: Session; input: RefObject<HTMLInputElement | null> }) {
  const [hits, setHits] = useState<Hit[] | null>(null);
  const go = (hit: Hit) => {
    setHits(null);
    session.focus = hit.id;
    void session.change((s) => {
      if (!s.extra.includes(hit.id)) s.extra.push(hit.id);
      s.selected = hit.id;
      s.path = 1;
    });
  };
  const look = () => session.work(async () => setHits(await session.source.search(session.question, input.current!.value)));
  return (
    <form class="search" role="search" onSubmit={(event) => { event.preventDefault(); void look(); }}
      onKeyDown={(event) => { if (event.key === "Escape") setHits(null); }}>
      <label>Search <input ref={input} type="search" placeholder="fc1[3], a layer, a class" /></label>
      <button type="submit">Find</button>
      {hits && (
        <ul class="hits">
          {hits.length === 0 && <li>Nothing is called so.</li>}
          {hits.map((hit) => <li key={hit.id}><button type="button" onClick={() => go(hit)}>{hit.name} <span>{spell(hit.value)}</span></button></li>)}
        </ul>
      )}
    </form>
  );
}

function Export({ session, paint }: { session: Session; paint: () => Colours }) {
  const { scene } = session;
  const name = "circuit";
  const title = `${session.all!.model}: ${session.question.semiring}, ${session.question.rule}`;
  const kinds: [string, () => void][] = [
    ["SVG", () => download(`${name}.svg`, svg(scene!, paint(), title), "image/svg+xml")],
    ["PNG", () => void session.work(async () => download(`${name}.png`, await png(svg(scene!, paint(), title))))],
    ["JSON", () => download(`${name}.json`, json(session.all!, scene!.seen, session.asked), "application/json")],
    ["DOT", () => download(`${name}.dot`, dot(scene!.seen, scene!))],
    ["Formula", () => void session.work(async () => {
      const node = session.state.selected ?? session.all!.targets[0];
      const found = await session.source.written(session.asked, node);
      if (found.formula === null) throw new Error(found.remark || "this formula is too long");
      download(`${name}.txt`, `${found.formula}\n`);
    })],
  ];
  return (
    <details class="menu">
      <summary>Export</summary>
      <ul>{kinds.map(([kind, write]) => <li key={kind}><button type="button" onClick={write}>{kind}</button></li>)}</ul>
    </details>
  );
}
