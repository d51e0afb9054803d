// The page at /: who is asked for, and what comes back.
import { $, Refused, ask, complain, count, isOwn, keyOf, make, nameOf, percent, state } from "./common.js";
import { combobox } from "./suggestions.js";
import { drawWalk, markChosen, showWalk } from "./walk.js";

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

// What is suggested

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
  const letter = [...nameOf(item)][0].toUpperCase();
  if (!state.info.posters) return make("span", { class: "poster", "aria-hidden": "true" }, letter);
  const image = make("img", { src: `posters/${encodeURIComponent(item.id)}`, alt: "", loading: "lazy" });
  image.addEventListener("error", () => image.replaceWith(letter));
  return make("span", { class: "poster", "aria-hidden": "true" }, image);
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
