// Bundle the page into the Python package. `node build.mjs FOLDER` writes elsewhere, for the test that compares.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2] ?? join(here, "../provnet/applications/inspection/page");

// What the bundle was made of: the test reads this line, so that it needs no node to see a stale bundle.
const names = [...readdirSync(join(here, "src")).map((name) => `src/${name}`), "build.mjs", "package-lock.json"];
const digest = createHash("sha256");
for (const name of names.sort()) digest.update(name).update("\0").update(readFileSync(join(here, name))).update("\0");
const mark = `/* provnet studio, built from ${digest.digest("hex")} */\n`;

const options = { bundle: true, minify: true, legalComments: "none", target: "es2022", charset: "utf8", write: false };
const js = await build({ ...options, entryPoints: [join(here, "src/main.tsx")], format: "iife", jsx: "automatic",
  jsxImportSource: "preact" });
const css = await build({ ...options, entryPoints: [join(here, "src/style.css")] });
const text = js.outputFiles[0].text;
if (/<\/script|<!--/i.test(text)) throw new Error("the bundle holds text that would end its script element");
mkdirSync(out, { recursive: true });
writeFileSync(join(out, "studio.js"), mark + text);
writeFileSync(join(out, "studio.css"), css.outputFiles[0].text);

// Licences of what is bundled: every package that npm installed for production.
const lock = JSON.parse(readFileSync(join(here, "package-lock.json"), "utf8")).packages;
const packages = Object.entries(lock).filter(([path, one]) => path && !one.dev);
let notice = "The page of provnet's studio contains these packages, each under its own licence.\n";
for (const [path, one] of packages.sort()) {
  const folder = join(here, path);
  const file = readdirSync(folder).find((name) => /^licen[sc]e/i.test(name));
  notice += `\n${"=".repeat(80)}\n${path.split("node_modules/").pop()} ${one.version} (${one.license})\n\n`;
  notice += file ? readFileSync(join(folder, file), "utf8").trim() + "\n" : "";
}
writeFileSync(join(out, "NOTICE"), notice);
