// The page at /. Everything that came from data goes through textContent, never through markup.
"use strict";

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const state = { info: null, user: null, userHistory: [], own: [], chosen: null, walk: null, turn: 0 };

function make(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inside);
  return made;
}

function draw(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

const nameOf = (item) => item.title || String(item.id);
const keyOf = (id) => JSON.stringify(id);
const isOwn = () => document.querySelector("[name=who]:checked").value === "history";
const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;

function percent(score) {
  const share = Math.exp(score) * 100;
  return share >= 0.01 ? `${Number(share.toPrecision(2))} %` : "< 0.01 %";
}

// Asking

class Refused extends Error {}

async function ask(path, body) {
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

function complain(error) {
  $("problem").textContent = error instanceof Refused ? error.message : `The page failed: ${error}`;
  $("problem").hidden = false;
}

function question() {
  const body = {
    k: $("k").valueAsNumber, beam_width: $("beams").valueAsNumber, exclude_seen: $("exclude").checked,
  };
  const where = $("where").value.trim();
  if (where) body.where = where;
  return body;
}

async function refresh() {
  const turn = ++state.turn;
  showHistory();
  if (!$("form").checkValidity()) return;
  const own = isOwn(), history = own ? state.own : state.userHistory;
  if (!own && state.user === null) return showNothing("Choose a user.");
  const who = own ? { histories: [history.map((item) => item.id)] } : { users: [state.user] };
  const title = state.info.title;
  const body = { ...question(), ...who, exact: $("exact").checked, columns: title ? [title] : [] };
  for (const id of ["results", "tree"]) $(id).classList.add("waiting");
  try {
    const begin = performance.now();
    const [answer, timing] = await ask("v1/recommend", body);
    const trip = performance.now() - begin;
    if (turn !== state.turn) return;
    $("problem").hidden = true;
    const result = answer.results[0];
    showResults(result, title);
    showLatency(timing, trip);
    let walk = null;
    if (history.length) {
      const whose = own ? { history: who.histories[0] } : { user: state.user };
      [walk] = await ask("v1/page/walk", { ...question(), ...whose });
    }
    if (turn === state.turn) showWalk(walk);
  } catch (error) {
    if (turn !== state.turn) return;
    complain(error);
    showNothing("No recommendations: see the message above.");
  } finally {
    if (turn === state.turn) for (const id of ["results", "tree"]) $(id).classList.remove("waiting");
  }
}

let timer = 0;
function refreshSoon() {
  clearTimeout(timer);
  timer = setTimeout(refresh, 250);
}

// Who

function showHistory() {
  const own = isOwn(), items = own ? state.own : state.userHistory;
  $("user-part").hidden = own;
  $("item-part").hidden = !own;
  $("history").replaceChildren(...items.map((item, place) => {
    const chip = make("li", {}, make("span", { title: nameOf(item) }, nameOf(item)));
    if (own) {
      const remove = make("button", { type: "button", "aria-label": `Remove ${nameOf(item)}` }, "×");
      remove.addEventListener("click", () => {
        state.own.splice(place, 1);
        refresh();
        ($("history").querySelectorAll("button")[place] || $("item")).focus();
      });
      chip.append(remove);
    }
    return chip;
  }));
  $("history-title").textContent = items.length ? `History: ${count(items.length, "item")}` : "History";
  $("history-empty").hidden = items.length > 0;
  $("change").hidden = items.length === 0;
  $("change").textContent = own ? "Clear" : "Change it";
}

async function chooseUser(user) {
  state.user = user.id;
  $("user").value = String(user.id);
  try {
    const [found] = await ask(`v1/page/users/${encodeURIComponent(user.id)}`);
    if (state.user !== user.id) return;
    state.userHistory = found.items;
    await refresh();
  } catch (error) {
    complain(error);
  }
}

function addItem(item) {
  $("item").value = "";
  if (!state.own.some((other) => keyOf(other.id) === keyOf(item.id))) state.own.push(item);
  refresh();
}

// Suggestions: one behaviour for users and items, after the ARIA combobox pattern

function combobox(input, list, find, show, choose) {
  let options = [], active = -1, turn = 0, timer = 0;
  const close = () => {
    turn++;
    clearTimeout(timer);
    active = -1;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  };
  const mark = (place) => {
    active = place;
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", String(i === place)));
    if (place < 0) return;
    list.children[place].scrollIntoView({ block: "nearest" });
    input.setAttribute("aria-activedescendant", list.children[place].id);
  };
  const pick = (place) => {
    const option = options[place];
    close();
    choose(option);
  };
  const open = async () => {
    const mine = ++turn;
    try {
      options = await find(input.value);
    } catch (error) {
      return complain(error);
    }
    if (mine !== turn) return;
    list.replaceChildren(...options.map((option, i) => {
      const line = make("li", { role: "option", id: `${list.id}-${i}`, "aria-selected": "false" }, ...show(option));
      line.addEventListener("pointerdown", (event) => event.preventDefault()); // keeps the focus
      line.addEventListener("click", () => pick(i));
      return line;
    }));
    if (!options.length) list.append(make("li", { class: "nothing" }, "Nothing found"));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    mark(options.length && input.value ? 0 : -1);
  };
  input.addEventListener("focus", () => { input.select(); open(); });
  input.addEventListener("input", () => { clearTimeout(timer); turn++; timer = setTimeout(open, 120); });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (list.hidden) open();
      else if (options.length) mark((active + step + options.length) % options.length);
    } else if (event.key === "Enter") {
      event.preventDefault();
      if (!list.hidden && active >= 0) pick(active);
    } else if (event.key === "Escape") close();
  });
}

const findItems = async (text) => (await ask(`v1/page/items?q=${encodeURIComponent(text)}`))[0].items;
const findUsers = async (text) => (await ask(`v1/page/users?q=${encodeURIComponent(text)}`))[0];
const showItem = (item) => [make("span", {}, nameOf(item)), make("span", { class: "id" }, item.title ? String(item.id) : "")];
const showUser = (user) => [make("span", {}, String(user.id)), make("span", { class: "id" }, count(user.items, "item"))];

// Filters

function showFilters(names) {
  $("filters").replaceChildren(...names.map((name) => {
    const box = make("input", { type: "checkbox", value: name });
    box.addEventListener("change", () => {
      const ticked = [...$("filters").querySelectorAll(":checked")].map((other) => other.value);
      $("where").value = ticked.join(" and ");
      refresh();
    });
    return make("label", { class: "tick" }, box, make("span", {}, name));
  }));
  $("filters-empty").hidden = names.length > 0;
  $("where-part").hidden = names.length === 0;
}

function tickWhatIsWritten() {
  const written = $("where").value.trim().split(/\s+and\s+/);
  for (const box of $("filters").querySelectorAll("input")) box.checked = written.includes(box.value);
}

// Recommendations

function showNothing(text) {
  $("results").replaceChildren();
  $("results-empty").textContent = text;
  $("results-empty").hidden = false;
  $("badge").hidden = true;
  $("latency").textContent = "";
  showWalk(null);
}

function showResults(result, title) {
  const items = result.items.map((id, i) => ({ id, title: title && result.columns[title][i] }));
  if (!items.length) return showNothing("No item passes the filters.");
  const best = result.scores ? result.scores[0] : 0;
  $("results-empty").hidden = true;
  $("results").replaceChildren(...items.map((item, i) => {
    const score = result.scores ? result.scores[i] : null;
    return make("li", {}, card(item, i + 1, score, best));
  }));
  if (!items.some((item) => keyOf(item.id) === state.chosen)) state.chosen = keyOf(items[0].id);
  showBadge(result);
  markChosen();
}

function card(item, rank, score, best) {
  const words = make("span", {}, make("span", { class: "title" }, nameOf(item)));
  if (score !== null) {
    const fill = make("i");
    fill.style.width = `${Math.max(1, 100 * Math.exp(score - best))}%`;
    const number = make("span", { title: `log-probability ${score.toFixed(4)}` }, percent(score));
    words.append(make("span", { class: "score" }, make("span", { class: "bar" }, fill), number));
  }
  const button = make("button", { type: "button", class: "card", "data-key": keyOf(item.id), "aria-pressed": "false" },
    make("span", { class: "rank" }, String(rank)), poster(item), words);
  button.addEventListener("click", () => { state.chosen = keyOf(item.id); markChosen(); });
  return button;
}

function poster(item) {
  const frame = make("span", { class: "poster", "aria-hidden": "true" }, [...nameOf(item)][0].toUpperCase());
  if (state.info.posters) {
    const image = make("img", { src: `posters/${encodeURIComponent(item.id)}`, alt: "", loading: "lazy" });
    image.addEventListener("load", () => frame.replaceChildren(image));
    image.loading = "eager"; // it is not in the document before it is there
  }
  return frame;
}

function showBadge(result) {
  const number = result.items.length, badge = $("badge");
  const [text, kind] = result.source === "popular" ? ["The most popular items", ""]
    : result.certified ? [number === 1 ? "✓ Provably the best" : `✓ Provably the best ${number}`, "proven"]
    : result.limit_hit ? ["Not proven: the search reached its limit", "open"]
    : ["Not proven: a wider beam or Exact may find better", "open"];
  badge.textContent = text;
  badge.className = `badge ${kind}`;
  badge.hidden = false;
}

function showLatency(timing, trip) {
  const times = Object.fromEntries([...timing.matchAll(/(\w+);dur=([\d.]+)/g)].map((part) => [part[1], Number(part[2])]));
  const parts = [];
  if ("compute" in times) parts.push(`model ${times.compute.toFixed(1)} ms`);
  if ("total" in times) parts.push(`server ${times.total.toFixed(1)} ms`);
  parts.push(`round trip ${trip.toFixed(1)} ms`);
  $("latency").textContent = parts.join(" · ");
}

// The walk

const ROW = 30, BOX = 24, HEAD = 44, ROOT = 14;

function showWalk(walk) {
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

function drawWalk() {
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

function markChosen() {
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

// Beginning

async function begin() {
  try {
    [state.info] = await ask("v1/page");
  } catch (error) {
    $("model").textContent = "";
    complain(error);
    if (error instanceof Refused) setTimeout(begin, 2000); // a server that is loading
    return;
  }
  $("problem").hidden = true;
  const info = state.info;
  $("model").textContent = `${count(info.items, "item")}, ` + (info.known_users ? count(info.known_users, "known user") : "no known users");
  $("k").max = info.most_k;
  $("beams").max = info.most_beams;
  document.body.classList.toggle("posters", info.posters);
  showFilters(info.filters);
  combobox($("item"), $("item-list"), findItems, showItem, addItem);
  combobox($("user"), $("user-list"), findUsers, showUser, chooseUser);
  for (const radio of document.querySelectorAll("[name=who]")) radio.addEventListener("change", refresh);
  for (const id of ["exact", "exclude"]) $(id).addEventListener("change", refresh);
  for (const id of ["k", "beams", "where"]) $(id).addEventListener("input", refreshSoon);
  $("where").addEventListener("input", tickWhatIsWritten);
  $("form").addEventListener("submit", (event) => { event.preventDefault(); refresh(); });
  $("user").addEventListener("blur", () => { $("user").value = state.user === null ? "" : String(state.user); });
  $("change").addEventListener("click", () => {
    if (isOwn()) state.own = [];
    else state.own = [...state.userHistory];
    document.querySelector("[value=history]").checked = true;
    refresh();
    $("item").focus();
  });
  const phone = matchMedia("(max-width: 760px)"), fold = () => { $("options").open = !phone.matches; };
  phone.addEventListener("change", fold);
  fold();
  let wide = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    if (state.walk) drawWalk();
  });
  const users = info.known_users ? await findUsers("").catch(() => []) : [];
  document.querySelector("[value=user]").disabled = !info.known_users;
  if (!users.length) return refresh();
  document.querySelector("[value=user]").checked = true;
  await chooseUser(users.find((user) => user.items > 0) || users[0]);
}

begin();
