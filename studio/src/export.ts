// What is seen, as files: SVG, PNG, JSON (an `Inspection`), DOT.

import type { Seen } from "./graph";
import { spell, type Inspection, type Question, type Wire } from "./model";
import type { Colours, Scene } from "./paint";

const escape = (text: string) =>
  text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;")
    // eslint-disable-next-line no-control-regex
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "\ufffd");

export function svg(scene: Scene, paint: Colours, title: string): string {
  const { layout, seen } = scene;
  const pad = 40;
  const top = -layout.height / 2 - pad - 20;
  const size = { width: Math.ceil(layout.width + 2 * pad), height: Math.ceil(layout.height + 2 * pad + 20) };
  const out = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${size.width}" height="${size.height}" viewBox="${-pad} ${top} ${size.width} ${size.height}" font-family="system-ui, sans-serif">`,
    `<title>${escape(title)}</title>`,
    `<rect x="${-pad}" y="${top}" width="${size.width}" height="${size.height}" fill="${paint.paper}"/>`,
  ];
  for (const line of seen.lines) {
    const path = scene.path(line);
    if (!path) continue;
    const style = scene.style(line);
    const names = line.wires.length > 3 ? `${line.wires.length} wires` : line.wires.map((wire) => wire.variable).join(", ");
    out.push(`<path d="${path}" fill="none" stroke="${paint[style.colour]}" stroke-width="${style.width.toFixed(2)}" stroke-opacity="${style.alpha.toFixed(2)}"><title>${escape(names)}: ${escape(spell(line.value))}</title></path>`);
  }
  for (const column of layout.columns) {
    out.push(`<text x="${column.x}" y="${-layout.height / 2 - 16}" font-size="12" fill="${paint.pale}">${escape(column.title)}</text>`);
  }
  for (const item of seen.items.values()) {
    const box = layout.boxes.get(item.id)!;
    const s = item.value === null ? 0 : scene.strongNode(item.value);
    const fill = s < 0 ? paint.minus : paint.plus;
    const rect = `x="${box.x}" y="${box.y}" width="${box.width}" height="${box.height}" rx="${box.cell ? 0 : 8}"`;
    out.push(`<g opacity="${item.alive ? 1 : 0.4}"><title>${escape(item.label)}: ${escape(spell(item.value))}</title><rect ${rect} fill="${paint.card}" stroke="${paint.line}"/><rect ${rect} fill="${fill}" fill-opacity="${(Math.abs(s) * (box.cell ? 0.95 : 0.3)).toFixed(3)}"/>`);
    if (!box.cell) {
      const label = item.label.length > 24 ? `${item.label.slice(0, 23)}…` : item.label;
      out.push(`<text x="${box.x + 10}" y="${box.y + 18}" font-size="13" fill="${paint.ink}">${escape(label)}</text><text x="${box.x + 10}" y="${box.y + 35}" font-size="12" fill="${paint.pale}">${escape(spell(item.value))}</text>`);
    }
    out.push("</g>");
  }
  if (scene.count <= 60) {
    for (const word of scene.words()) {
      out.push(`<text x="${word.x.toFixed(1)}" y="${word.y.toFixed(1)}" font-size="10" text-anchor="middle" dominant-baseline="middle" stroke="${paint.paper}" stroke-width="3" paint-order="stroke" fill="${paint.ink}">${escape(word.text)}</text>`);
    }
  }
  out.push("</svg>");
  return out.join("\n");
}

export async function png(text: string): Promise<Blob> {
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  try {
    const image = new Image();
    image.src = url;
    await image.decode();
    const factor = Math.min(2, 8192 / Math.max(image.width, image.height));
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(image.width * factor));
    canvas.height = Math.max(1, Math.round(image.height * factor));
    canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
    return await new Promise((done, fail) => canvas.toBlob((blob) => (blob ? done(blob) : fail(new Error("no picture"))), "image/png"));
  } finally {
    URL.revokeObjectURL(url);
  }
}

/** The nodes and wires that are seen, as an inspection that `Inspection.from_json` reads. */
export function json(all: Inspection, seen: Seen, question: Question): string {
  const nodes = [...seen.items.values()].flatMap((item) => item.members);
  const place = new Map(nodes.map((node, at) => [node.id, at]));
  const wires: Wire[] = seen.lines.flatMap((line) => line.wires);
  const columns = (of: "elements" | "messages") => Object.fromEntries(Object.keys(wires[0]?.[of] ?? {}).map((name) => [name, wires.map((wire) => wire[of][name])]));
  const found: Inspection = {
    ...all, question, nodes, complete: false,
    wires: {
      source: wires.map((wire) => place.get(wire.source)!), target: wires.map((wire) => place.get(wire.target)!),
      variable: wires.map((wire) => wire.variable), coefficient: wires.map((wire) => wire.coefficient),
      elements: columns("elements"), messages: columns("messages"),
    },
  };
  return JSON.stringify(found);
}

export function dot(seen: Seen, scene: Scene): string {
  const quote = (text: string) => `"${text.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\r?\n|\r/g, "\\n")}"`;
  const out = ["digraph provnet {", "  rankdir=LR;", "  node [shape=box, style=rounded, fontname=Helvetica];"];
  for (const item of seen.items.values()) out.push(`  ${quote(item.id)} [label=${quote(`${item.label}\n${spell(item.value)}`)}];`);
  for (const line of seen.lines) {
    const width = (0.5 + 4 * Math.abs(line.value === null ? 0 : scene.strong(line.value))).toFixed(2);
    const name = line.wires.length === 1 ? line.wires[0].variable : `${line.wires.length} wires`;
    out.push(`  ${quote(line.source)} -> ${quote(line.target)} [label=${quote(`${name} ${spell(line.value)}`.trim())}, penwidth=${width}];`);
  }
  return [...out, "}", ""].join("\n");
}

export function download(name: string, content: Blob | string, type = "text/plain") {
  const blob = typeof content === "string" ? new Blob([content], { type }) : content;
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
