// Suggestions while typing: one behaviour for users and items, after the ARIA combobox pattern.
import { complain, make } from "./common.js";

export function combobox(input, list, find, show, choose) {
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
