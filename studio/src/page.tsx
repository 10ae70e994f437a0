// The page: the bar of questions, the stage with the circuit, the panel.

import { useEffect, useMemo, useReducer, useRef, useState } from "preact/hooks";
import { Bar } from "./bar";
import type { Question } from "./model";
import { Panel } from "./panel";
import { Session } from "./session";
import type { Source } from "./source";
import { Stage, type StageHandle } from "./stage";

export function Page({ source, start }: { source: Source; start: Partial<Question> }) {
  const [, redraw] = useReducer((count: number) => count + 1, 0);
  const session = useMemo(() => new Session(source, start, () => redraw(0)), []);
  const stage = useRef<StageHandle | null>(null);
  const search = useRef<HTMLInputElement | null>(null);
  const help = useRef<HTMLDialogElement>(null);
  const [theme, setTheme] = useState("auto");

  useEffect(() => {
    void session.open().then(() => stage.current?.fit());
    const pasted = () => void session.open().then(() => stage.current?.fit());
    addEventListener("hashchange", pasted);
    return () => removeEventListener("hashchange", pasted);
  }, []);
  useEffect(() => { document.documentElement.dataset.theme = theme; }, [theme]);

  const ready = session.all && session.scene;
  return (
    <div class="studio" data-busy={session.busy > 0 ? "yes" : "no"}>
      <header class="bar">
        <h1>provnet studio <small title={session.all?.fingerprint}>{session.all?.model}</small></h1>
        {ready && <Bar session={session} search={search} fit={() => stage.current?.fit()} help={() => help.current?.showModal()}
          theme={theme} setTheme={setTheme} paint={() => stage.current!.colours()} />}
      </header>
      {session.alert && (
        <div class="alert" role="alert">
          <span>{session.alert}.</span>
          <button type="button" onClick={() => { session.alert = ""; redraw(0); }}>Close</button>
        </div>
      )}
      {ready ? (
        <main class="work">
          <Stage handle={stage} session={session} theme={theme} search={() => search.current?.focus()} help={() => help.current?.showModal()} />
          <Panel session={session} theme={theme} colours={() => stage.current?.colours()} />
        </main>
      ) : <p class="wait">{session.busy ? "Opening the circuit …" : "Nothing to show."}</p>}
      <dialog ref={help} class="help" aria-labelledby="help-title">
        <h2 id="help-title">Keys</h2>
        <dl>
          {KEYS.map(([key, what]) => <div key={key}><dt><kbd>{key}</kbd></dt><dd>{what}</dd></div>)}
        </dl>
        <p>A neuron's number is its relevance in the chosen semiring: what reaches it from the target. Wires are the
          network's edges, as wide as what they pass down. <b>+</b> shows more, with how many there are.</p>
        <form method="dialog"><button autofocus>Close</button></form>
      </dialog>
    </div>
  );
}

const KEYS: [string, string][] = [
  ["← →", "to the strongest input or output that is shown"],
  ["↑ ↓", "to the neighbour in the column"],
  ["Enter", "select: value, messages, formula"],
  ["e / Shift+E", "show 8 more inputs / all of them"],
  ["o", "show 8 more outputs"],
  ["- or Backspace", "hide inputs and outputs"],
  ["p", "pin, or take the pin out"],
  ["b", "best path to the target; again for three, again for none"],
  ["c / g", "collapse the channel / the layer, or open it again"],
  ["n", "write a note"],
  ["/", "search"],
  ["u / r", "undo / redo (also Ctrl+Z, Ctrl+Y)"],
  ["0", "fit the page"],
  ["+ / =, _", "zoom in, out"],
  ["?", "this help"],
];
