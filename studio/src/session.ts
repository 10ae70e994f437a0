// One reader's session: the question, what is known, what is shown, undo, and the address.

import { seen, type Pool, Pool as Known, type Seen } from "./graph";
import { layOut } from "./layout";
import type { Algebra, Choices, Details, Inspection, Layer, Paths, Question, Report, Written } from "./model";
import { Scene } from "./paint";
import type { Asked, Source } from "./source";
import { decode, EMPTY, encode, History, type State } from "./state";

export const STEP = 8;

export class Session {
  state: State = structuredClone(EMPTY);
  pool: Pool = new Known();
  all: Inspection | null = null;
  choices: Choices | null = null;
  layers = new Map<number, Layer>();
  algebras = new Map<string, Algebra>();
  details: Details | null = null;
  written: Written | null = null;
  paths: Paths | null = null;
  report: Report | null = null;
  alert = "";
  busy = 0;
  focus: string | null = null;
  scene: Scene | null = null;
  private fetched = new Map<string, [number, number]>();
  private history = new History();
  private keepAddress = false;
  private turn = 0;
  /** The neuron that had the focus last, in a group or by itself. */
  private focused: string | null = null;

  constructor(readonly source: Source, private start: Partial<Question>, private changed: () => void) {}

  get question(): Question { return this.all!.question; }
  get theta(): number | null { return this.state.question.theta ?? null; }
  get algebra(): Algebra { return this.algebras.get(this.question.semiring)!; }
  get canUndo() { return this.history.canUndo; }
  get canRedo() { return this.history.canRedo; }
  get order(): Algebra | undefined { return this.algebras.get(this.question.order); }

  /** Open the page: with what the address says, if it says something that holds. */
  async open() {
    await this.work(async () => {
      this.meet(await this.source.open(this.start));
      const text = location.hash.slice(1);
      if (text) await this.restore(text);
      await this.fill();
      await this.look();
    });
  }

  private async restore(text: string) {
    const found = decode(text, this.all!.fingerprint);
    let problem = "problem" in found ? found.problem : "";
    if ("state" in found) {
      const before = { all: this.all!, choices: this.choices! };
      try {
        this.state = found.state;
        this.meet(await this.source.open({ ...this.start, ...found.state.question }));
        await this.fill();
        return;
      } catch (error) {
        problem = spoken(error);
        this.meet({ inspection: before.all, choices: before.choices });
      }
    }
    this.state = structuredClone(EMPTY);
    this.keepAddress = true;
    this.alert = `The state in the address cannot be shown: ${problem}. This is the page from the start; the address keeps its text until you change something.`;
  }

  private meet(found: { inspection: Inspection; choices: Choices }) {
    this.all = found.inspection;
    this.choices = found.choices;
    this.layers = new Map(this.all.layers.map((layer) => [layer.id, layer]));
    this.algebras = new Map([...this.all.algebras, ...found.choices.algebras].map((one) => [one.name, one]));
    this.pool = new Known();
    this.pool.add(this.all);
    this.fetched = new Map();
    this.report = null;
  }

  /** Ask for what the state shows and the pool lacks. */
  private async fill() {
    for (const id of this.all!.targets) this.state.shown[id] ??= [STEP, 0];
    const asked: Asked = [];
    for (const [id, [down, up]] of Object.entries(this.state.shown)) {
      const [a, b] = this.fetched.get(id) ?? [0, 0];
      if (down > a || up > b) asked.push([id, down > a ? down : 0, up > b ? up : 0]);
    }
    const nodes = [...this.state.pins, ...this.state.extra, ...(this.state.selected ? [this.state.selected] : [])];
    const missing = nodes.filter((id) => !this.pool.nodes.has(id));
    if (asked.length || missing.length) {
      this.pool.add(await this.source.view(this.question, asked, missing));
      for (const [id, down, up] of asked) {
        const [a, b] = this.fetched.get(id) ?? [0, 0];
        this.fetched.set(id, [Math.max(a, down), Math.max(b, up)]);
      }
    }
    await this.trail();
  }

  private async trail() {
    this.paths = null;
    if (this.state.path && this.state.selected) {
      this.paths = await this.source.paths(this.question, this.state.selected, this.state.path);
      this.pool.add(this.paths.inspection);
    }
  }

  /** Fetch what the panel shows of the selected neuron. */
  private async look() {
    const id = this.state.selected;
    this.details = this.written = null;
    if (!id) return;
    const turn = ++this.turn;
    const details = await this.source.neuron(this.asked, id);
    if (turn !== this.turn) return;
    this.details = details;
    this.refresh();
    const written = await this.source.written(this.asked, id);
    if (turn === this.turn) this.written = written;
  }

  /** The question with the slider's θ, which the panel's values are asked for. */
  get asked(): Question { return { ...this.question, theta: this.theta }; }

  /** Change the state; undo takes it back. What cannot be had is taken back at once, and said. */
  async change(edit: (state: State) => void, note = true) {
    const before = structuredClone(this.state);
    const looked = before.selected;
    edit(this.state);
    this.keepAddress = false;
    await this.work(async () => {
      try {
        await this.fill();
      } catch (error) {
        this.state = before;
        throw error;
      }
      if (note && JSON.stringify(before) !== JSON.stringify(this.state)) this.history.push(before);
      if (this.state.selected !== looked) {
        this.refresh();
        await this.look();
      }
    });
  }

  /** Ask another question of the same circuit. A new target starts a new walk; pins, notes and groups stay. */
  async ask(given: Partial<Question>) {
    const before = structuredClone(this.state);
    this.keepAddress = false;
    await this.work(async () => {
      const question = { ...this.state.question, ...given };
      const moved = given.target !== undefined || given.example !== undefined;
      const old = this.all!.targets.join();
      const found = await this.source.open({ ...this.start, ...question });
      this.state.question = question;
      this.meet(found);
      if (moved && this.all!.targets.join() !== old) this.state.shown = {};
      await this.fill();
      this.history.push(before);
      await this.look();
    });
  }

  /** Move θ: the page answers it from the Bottleneck pass at once; `settle` asks for what else depends on it. */
  slide(theta: number | null) {
    if (theta === null) delete this.state.question.theta;
    else this.state.question.theta = theta;
    this.keepAddress = false;
    this.refresh();
  }
  async settle() {
    const reads = [this.algebra, this.order].some((one) => one?.theta && one.name !== "boolean");
    if (reads && this.source.live) await this.ask({});
    else await this.work(() => this.look());
  }

  async undo(again = false) {
    const found = again ? this.history.redo(this.state) : this.history.undo(this.state);
    if (!found) return;
    await this.work(async () => {
      const asked = JSON.stringify(this.state.question);
      this.state = found;
      if (JSON.stringify(found.question) !== asked) this.meet(await this.source.open({ ...this.start, ...found.question }));
      await this.fill();
      await this.look();
    });
  }

  async account() {
    await this.work(async () => { this.report = await this.source.conservation(this.asked); });
  }

  /** Do something that takes a while or may be refused; then show the page as it is. */
  async work(job: () => Promise<void>) {
    this.busy++;
    document.body.setAttribute("aria-busy", "true");
    this.changed();
    try {
      await job();
    } catch (error) {
      this.alert = spoken(error);
    } finally {
      this.busy--;
      if (!this.busy) document.body.setAttribute("aria-busy", "false");
      if (this.all) this.refresh();
      else this.changed();
    }
  }

  /** Lay out what is shown, and write the state into the address. */
  refresh() {
    const { state, pool } = this;
    const best = new Set((this.paths?.wires ?? []).flat());
    const found = seen({
      state, pool, best, targets: this.all!.targets, layers: this.layers, classes: this.all!.classes,
      algebras: this.algebras, semiring: this.question.semiring, order: this.question.order, theta: this.theta,
    });
    this.scene = new Scene(found, layOut(found, this.layers), this.algebra, state.gates);
    this.follow(found);
    this.write();
    this.changed();
  }
  /** Keep the focus where it was: on the group that a neuron went into, or on the neuron that came out of it. */
  private follow(found: Seen) {
    const last = this.focused;
    if (!this.focus || !found.items.has(this.focus)) {
      const home = [...found.items.values()].find((item) => item.members.some((node) => node.id === last));
      this.focus = home?.id ?? (found.items.has(this.all!.targets[0]) ? this.all!.targets[0] : null);
    }
    const item = this.focus ? found.items.get(this.focus) : undefined;
    if (item && !item.members.some((node) => node.id === last)) this.focused = item.members[0].id;
  }
  private write() {
    if (this.keepAddress) return;
    const untouched = JSON.stringify({ ...this.state, shown: {} }) === JSON.stringify(EMPTY) && Object.keys(this.state.shown).length <= 1
      && Object.values(this.state.shown).every(([down, up]) => down === STEP && up === 0);
    if (untouched && !location.hash) return;
    history.replaceState(null, "", `#${encode(this.state, this.all!.fingerprint)}`);
  }
}

function spoken(error: unknown): string {
  return error instanceof Error ? error.message.replace(/\.$/, "") : String(error);
}
