// What all parts of the page use. Everything that came from data goes through textContent, never
// through markup.
export const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
export const state = { info: null, user: null, userHistory: [], own: [], chosen: null, walk: null, turn: 0 };

export function make(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

export function draw(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

export const nameOf = (item) => item.title || String(item.id);
export const keyOf = (id) => JSON.stringify(id);
export const isOwn = () => document.querySelector("[name=who]:checked").value === "history";
export const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

export function percent(score) {
  const share = Math.exp(score) * 100;
  return share >= 0.01 ? `${Number(share.toPrecision(2))} %` : "< 0.01 %";
}

// Asking

export class Refused extends Error {}

export async function ask(path, body) {
  const options = body === undefined ? {} : {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
  };
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Refused("The server cannot be reached.");
  }
  const content = await answer.json().catch(() => ({}));
  if (answer.ok) return [content, answer.headers.get("server-timing") || ""];
  const parts = [content.detail || `The server answered ${answer.status}`];
  if (content.value) parts.push(`value: ${content.value}`);
  if (content.allowed) parts.push(`allowed: ${content.allowed}`);
  if (content.remedy) parts.push(content.remedy);
  throw new Refused(parts.join(" · "));
}

export function complain(error) {
  $("problem").textContent = error instanceof Refused ? error.message : `The page failed: ${error}`;
  $("problem").hidden = false;
}
