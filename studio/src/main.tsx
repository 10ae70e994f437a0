// Start the page: over the circuit of a live studio, or over the inspection that this file holds.

import { render } from "preact";
import { Page } from "./page";
import { Live, Static, type Source } from "./source";

const given = JSON.parse(document.getElementById("provnet")!.textContent!);
const source: Source = given.live ? new Live(given.base) : new Static(given.inspection, given.formulas);
const home = document.getElementById("page")!;
home.textContent = "";
render(<Page source={source} start={given.start ?? {}} />, home);
