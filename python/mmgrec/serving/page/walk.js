// How the beam walked the Rec-ID tree, and the path of the chosen item.
import { $, count, draw, keyOf, nameOf, percent, state } from "./common.js";

const ROW = 30, BOX = 24, HEAD = 44, ROOT = 14;

export function showWalk(walk) {
  state.walk = walk;
  $("legend").hidden = !walk;
  $("tree").hidden = !walk;
  if (walk) drawWalk();
  else {
    $("tree").replaceChildren();
    $("walk-text").textContent = "No walk: the model was not asked.";
  }
}

// Places per level, those of one parent together and in the order of their parents: no edges cross.
function layOut(levels) {
  let before = new Map([[0, 0]]);
  return levels.map((level) => {
    const order = level.prefixes.map((_, i) => i).sort((a, b) =>
      before.get(level.prefixes[a].parent) - before.get(level.prefixes[b].parent) || a - b);
    before = new Map(order.map((index, place) => [index, place]));
    return order;
  });
}

export function drawWalk() {
  const levels = state.walk.levels, orders = layOut(levels), depth = levels.length;
  const most = Math.max(1, ...levels.map((level) => level.prefixes.length));
  const room = $("tree").clientWidth || 800, narrow = room < 600;
  const gap = narrow ? 16 : 64, width = narrow ? 46 : Math.min(190, Math.max(110, room / (depth + 2)));
  const last = Math.max(narrow ? 160 : 240, room - ROOT - depth * gap - (depth - 1) * width - 2);
  const total = ROOT + depth * gap + (depth - 1) * width + last + 2, height = HEAD + most * ROW + 4;
  const svg = draw("svg", { width: total, height, viewBox: `0 0 ${total} ${height}`, role: "img" });
  svg.append(draw("title", {}, "The prefixes that the beam kept and dropped, level by level"));
  const edges = draw("g"), nodes = draw("g");
  svg.append(edges, nodes);
  const middle = HEAD + (most * ROW) / 2;
  nodes.append(draw("circle", { cx: ROOT / 2, cy: middle, r: 5, class: "fill box" }));
  let ends = new Map([[0, { x: ROOT / 2 + 5, y: middle }]]);
  levels.forEach((level, number) => {
    const x = ROOT + gap + number * (width + gap), isLast = number === depth - 1, wide = isLast ? last : width;
    const top = HEAD + ((most - level.prefixes.length) * ROW) / 2, here = new Map();
    nodes.append(draw("text", { x, y: 14, class: "head" }, isLast ? "Items" : narrow ? `T${number + 1}` : `Token ${number + 1} of ${depth}`));
    const kept = level.survived.toLocaleString("en"), all = level.considered.toLocaleString("en");
    nodes.append(draw("text", { x, y: 31, class: "sub" }, narrow && !isLast ? `${kept}/${all}` : `${kept} of ${all} ${isLast ? "chosen" : "kept"}`));
    const best = level.prefixes.length ? Math.max(...level.prefixes.map((prefix) => prefix.score)) : 0;
    orders[number].forEach((index, place) => {
      const prefix = level.prefixes[index], y = top + place * ROW + ROW / 2, from = ends.get(prefix.parent);
      const path = prefix.tokens.join(" "), kind = prefix.kept ? "" : " dropped", bend = (x - from.x) / 2;
      edges.append(draw("path", { "data-path": path, class: `edge${kind}`, "stroke-width": (1 + 2.5 * Math.exp(prefix.score - best)).toFixed(2),
        d: `M${from.x} ${from.y}C${from.x + bend} ${from.y} ${x - bend} ${y} ${x} ${y}` }));
      nodes.append(drawNode(prefix, { x, y, width: wide, best, narrow, isLast, path, kind }));
      here.set(index, { x: x + wide, y });
    });
    ends = here;
  });
  $("tree").replaceChildren(svg);
  markChosen();
}

function shorten(text, room) {
  const letters = [...text], most = Math.max(3, Math.floor(room / 6.9));
  return letters.length <= most ? text : letters.slice(0, most - 1).join("").trimEnd() + "…";
}

function drawNode(prefix, { x, y, width, best, narrow, isLast, path, kind }) {
  const node = draw("g", { class: `node${kind}`, "data-path": path });
  const share = Math.exp(prefix.score - best), y0 = y - BOX / 2;
  const below = prefix.item ? nameOf(prefix.item) : count(prefix.items, "item");
  node.append(
    draw("title", {}, `${path}: ${percent(prefix.score)}, ${below}${prefix.kept ? "" : ", dropped"}`),
    draw("rect", { x, y: y0, width, height: BOX, rx: 6, class: "box" }),
    draw("rect", { x: x + 1, y: y0 + 1, width: Math.max(6, (width - 2) * share), height: BOX - 2, rx: 5, class: "fill" }));
  // A narrow token has room for itself alone; its bar says the rest.
  const right = narrow && !isLast ? "" : percent(prefix.score), token = String(prefix.tokens.at(-1));
  const left = isLast ? nameOf(prefix.item || { id: path }) : narrow ? token : `${token}  ·  ${count(prefix.items, "item")}`;
  const room = width - 16 - right.length * 7;
  node.append(draw("text", { x: x + 8, y: y + 4 }, shorten(left, room)));
  node.append(draw("text", { x: x + width - 8, y: y + 4, "text-anchor": "end", class: "sub" }, right));
  if (isLast && prefix.item) {
    node.classList.add("leaf");
    node.addEventListener("click", () => { state.chosen = keyOf(prefix.item.id); markChosen(); });
  }
  return node;
}

export function markChosen() {
  for (const button of document.querySelectorAll(".card")) {
    button.setAttribute("aria-pressed", String(button.dataset.key === state.chosen));
  }
  if (!state.walk) return;
  const leaf = (state.walk.levels.at(-1)?.prefixes || []).find((prefix) => prefix.item && keyOf(prefix.item.id) === state.chosen);
  const paths = new Set((leaf ? leaf.tokens : []).map((_, i, all) => all.slice(0, i + 1).join(" ")));
  for (const part of $("tree").querySelectorAll("[data-path]")) {
    part.classList.toggle("chosen", paths.has(part.dataset.path));
    if (part.matches("path.chosen")) part.parentNode.append(part); // above the others
  }
  describeWalk(leaf);
}

function describeWalk(leaf) {
  if (!state.walk.levels.at(-1)?.prefixes.length) $("walk-text").textContent = "The filters let nothing through.";
  else if (leaf) $("walk-text").textContent = `${nameOf(leaf.item)} has the Rec-ID ${leaf.tokens.join(" ")}, probability ${percent(leaf.score)}. ` +
    (leaf.kept ? "Choose another recommendation to see its path." : "The beam reached it, but it is not among the best.");
  else $("walk-text").textContent = "The chosen item is not among the items shown here: the beam dropped its prefix, or ranked it lower.";
}
