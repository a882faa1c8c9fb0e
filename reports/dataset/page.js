"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const [ID, FILE, PAGE, STATE, REASON, LABEL, SPLIT, ANSWER, SURENESS, NONE, EMOTION, LIKELY, RIGHT, , STAGES, RIBBON] = Array(16).keys();
  const SIZE = 50;
  const form = document.getElementById("filters");
  const body = document.querySelector("#table tbody");
  const heads = [...document.querySelectorAll("#table th")];
  const pagers = [...document.querySelectorAll("[data-page]")];
  const plain = (name) => name.replaceAll("_", " ");
  const named = (kind, number) => (number < 0 ? "" : plain(facts[kind][number]));
  const alone = (row) => (row[EMOTION] < 0 ? "no evidence" : named("emotions", row[EMOTION]));
  const answer = (row) => (row[ANSWER] === -2 ? "" : row[ANSWER] === -1 ? alone(row) : named("answers", row[ANSWER]));
  const kind = (name) => facts.kinds[name] ?? "";
  const words = facts.rows.map((row) =>
    [row[ID], row[FILE], named("labels", row[LABEL]), answer(row), named("emotions", row[EMOTION]), named("reasons", row[REASON])]
      .join("\n").toLowerCase());
  let sort = "", down = false, page = 0, shown = [];

  const seconds = (row) => {
    const stage = form.elements.stage.value;
    if (stage !== "") return row[STAGES][+stage] ?? null;
    return row[STAGES].length ? row[STAGES].reduce((sum, value) => sum + (value || 0), 0) : null;
  };
  const keys = {
    clip: (row) => row[ID].toLowerCase(), label: (row) => named("labels", row[LABEL]), answer,
    ribbon: (row) => row[RIBBON].map((part, at) => (at % 2 ? "" : named("shown", part))).join(" "),
    sureness: (row) => row[SURENESS], none: (row) => row[NONE], emotion: (row) => named("emotions", row[EMOTION]),
    split: (row) => named("splits", row[SPLIT]), state: (row) => `${named("states", row[STATE])} ${named("reasons", row[REASON])}`, seconds,
  };

  const choose = () => {
    const wanted = (name) => form.elements[name]?.value ?? "";
    const pieces = wanted("find").toLowerCase().split(/\s+/).filter(Boolean);
    const tests = [["answer", ANSWER], ["state", STATE], ["label", LABEL], ["split", SPLIT], ["right", RIGHT]]
      .filter(([name]) => wanted(name) !== "").map(([name, place]) => [place, +wanted(name)]);
    shown = [...facts.rows.keys()].filter((at) =>
      tests.every(([place, value]) => facts.rows[at][place] === value) && pieces.every((piece) => words[at].includes(piece)));
    if (!sort) return;
    const values = facts.rows.map(keys[sort]);
    const missing = (value) => value === null || value === "";
    shown.sort((one, other) => {
      const a = values[one], b = values[other];
      // What is not known stands last, whichever way the rest is sorted.
      if (missing(a) || missing(b)) return missing(a) - missing(b) || one - other;
      return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1) || one - other;
    });
  };

  const make = (tag, kind, text) => {
    const element = document.createElement(tag);
    if (kind) element.className = kind;
    if (text !== undefined) element.textContent = text;
    return element;
  };
  // As `breaking` of reports/page/document.py.
  const breaking = (element, name) => {
    element.append(...name.split(/(?<=[_/-])(?=[^_/-])|(?<=\.)(?=[^\d\s._/-])/).flatMap((part, at) => (at ? [make("wbr"), part] : [part])));
    return element;
  };
  const shape = (tag, values, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    return element;
  };
  const number = (value, digits) => make("td", "number", value === null || value === undefined ? "–" : value.toFixed(digits));
  const percent = (value) => (value === null ? "" : ` ${Math.round(100 * value)}\u00a0%`);

  const picture = (at) => {
    const found = facts.pictures[at], element = make(found ? "img" : "span", found ? "" : "empty");
    if (found) { element.src = `data:image/jpeg;base64,${found}`; element.alt = ""; }
    return element;
  };

  const cells = {
    clip: (row, at) => {
      const cell = make("th"), inner = make("div", "clip");
      cell.scope = "row";
      const [known, other] = row[PAGE] & 2 ? [row[FILE], row[ID]] : [row[ID], row[FILE]];
      const name = breaking(make(row[PAGE] & 1 ? "a" : "span"), known);
      if (row[PAGE] & 1) name.href = `./${encodeURIComponent(row[ID])}/report.html`;
      if (facts.pictures.length) inner.append(picture(at));
      inner.append(name, breaking(make("span", "hint"), other));
      cell.append(inner);
      return cell;
    },
    label: (row) => make("td", "", named("labels", row[LABEL]) || "–"),
    ribbon: (row) => {
      const cell = make("td"), parts = row[RIBBON], whole = parts.reduce((sum, value, at) => sum + (at % 2 ? value : 0), 0);
      if (!whole) return cell;
      const drawn = shape("svg", { class: "over-time", viewBox: `0 0 ${whole} 10`, preserveAspectRatio: "none", role: "img" });
      const names = parts.filter((_, at) => at % 2 === 0).map((number) => named("shown", number) || "no evidence");
      drawn.setAttribute("aria-label", `Over time: ${names.join(", ")}`);
      for (let at = 0, x = 0; at < parts.length; x += parts[at + 1], at += 2) {
        if (parts[at] < 0) continue;
        const name = facts.shown[parts[at]];
        const block = shape("rect", { x, width: parts[at + 1], height: 10, class: kind(name) + (kind(name)[0] === "c" ? " alone" : "") });
        block.append(shape("title", {}, plain(name)));
        drawn.append(block);
      }
      cell.append(drawn);
      return cell;
    },
    answer: (row) => {
      const cell = make("td", "answer"), compound = row[ANSWER] >= 0 && row[ANSWER] < facts.compounds;
      if (compound) cell.append(make("span", `swatch ${kind(facts.answers[row[ANSWER]])}`));
      else if (row[ANSWER] === -1 && row[EMOTION] >= 0) cell.append(make("span", `swatch alone ${kind(facts.emotions[row[EMOTION]])}`));
      cell.append(answer(row) || "–");
      // The mark stands with what the label speaks of: a compound, or one emotion alone.
      if (row[RIGHT] !== null && ofCompound(row)) cell.append(mark(row));
      return cell;
    },
    sureness: (row) => number(row[SURENESS], 2),
    none: (row) => make("td", "number", row[NONE] === null ? "–" : `${Math.round(100 * row[NONE])}\u00a0%`),
    emotion: (row) => {
      const cell = make("td", "answer", row[EMOTION] < 0 ? "–" : named("emotions", row[EMOTION]) + percent(row[LIKELY]));
      if (row[RIGHT] !== null && !ofCompound(row)) cell.append(mark(row));
      return cell;
    },
    split: (row) => make("td", "", named("splits", row[SPLIT]) || "–"),
    state: (row) => {
      const cell = make("td", "ended");
      cell.append(make("span", `state-${facts.states[row[STATE]]}`, named("states", row[STATE])));
      if (row[REASON] >= 0) cell.append(breaking(make("span", "hint"), facts.reasons[row[REASON]]));
      return cell;
    },
    seconds: (row) => {
      const cell = number(seconds(row), 2);
      cell.title = row[STAGES].map((value, place) => [plain(facts.stages[place]), value]).filter(([, value]) => value !== null)
        .map(([name, value]) => `${name} ${value}`).join(", ");
      return cell;
    },
  };
  const ofCompound = (row) => facts.answers.slice(0, facts.compounds).includes(facts.labels[row[LABEL]]);
  const mark = (row) => {
    const found = make("span", "mark"), sign = make("span", "", row[RIGHT] ? "✓" : "✗");
    sign.setAttribute("aria-hidden", "true");
    found.title = row[RIGHT] ? "as the label" : "not as the label";
    found.append(sign, make("span", "unseen", row[RIGHT] ? " right" : " wrong"));
    return found;
  };

  const draw = () => {
    const pages = Math.max(Math.ceil(shown.length / SIZE), 1);
    page = Math.min(Math.max(page, 0), pages - 1);
    const first = page * SIZE, part = shown.slice(first, first + SIZE);
    const lines = part.map((at) => {
      const line = make("tr");
      for (const head of heads) {
        const cell = cells[head.dataset.key](facts.rows[at], at);
        cell.dataset.head = head.dataset.name;
        line.append(cell);
      }
      return line;
    });
    if (!lines.length) {
      const cell = make("td", "", "No clip is like this; 'Show all' takes the filters away.");
      cell.colSpan = heads.length;
      lines.push(make("tr"));
      lines[0].append(cell);
    }
    body.replaceChildren(...lines);
    const few = shown.length < facts.rows.length ? ` (of ${facts.rows.length})` : "";
    const range = shown.length ? `${first + 1} to ${first + part.length} of ` : "";
    document.getElementById("count").textContent = `${range}${shown.length} ${shown.length === 1 ? "clip" : "clips"}${few}`;
    for (const button of pagers) button.disabled = +button.dataset.page < 0 ? page === 0 : page >= pages - 1;
    for (const head of heads) {
      const isSorted = head.dataset.key === sort;
      if (isSorted) head.setAttribute("aria-sort", down ? "descending" : "ascending"); else head.removeAttribute("aria-sort");
      head.querySelector(".arrow").textContent = isSorted ? (down ? "▼" : "▲") : "";
    }
  };

  // Kept with the page's place in the history, so that coming back from a clip finds the table as it was.
  const keep = () => history.replaceState({ sort, down, page, values: Object.fromEntries(new FormData(form)) }, "");
  const renew = (top = true) => {
    if (top) page = 0;
    choose();
    draw();
    keep();
  };

  form.addEventListener("input", () => renew());
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { sort = ""; down = false; renew(); }));
  for (const button of pagers) button.addEventListener("click", () => { page += +button.dataset.page; draw(); keep(); });
  for (const head of heads) head.querySelector("button").addEventListener("click", () => {
    const falls = ["sureness", "none", "seconds"].includes(head.dataset.key);
    // Up, down, and the third time as in the manifest; numbers begin with the largest.
    if (sort !== head.dataset.key) { sort = head.dataset.key; down = falls; }
    else if (down === falls) down = !down;
    else { sort = ""; down = false; }
    renew();
  });
  for (const button of document.querySelectorAll("[data-set]")) button.addEventListener("click", () => {
    form.reset();
    setTimeout(() => {
      form.elements[button.dataset.set].value = button.dataset.to;
      renew();
      document.getElementById("clips-head").focus();
      document.getElementById("clips").scrollIntoView();
    });
  });

  for (const head of heads) if (["sureness", "none", "seconds"].includes(head.dataset.key)) head.className = "number";
  if (facts.pictures.length) {
    const places = new Map(facts.rows.map((row, at) => [row[ID], at]));
    for (const item of document.querySelectorAll("[data-picture]")) item.prepend(picture(places.get(item.dataset.picture)));
  }
  const before = history.state;
  if (before?.values) {
    ({ sort, down, page } = before);
    for (const [name, value] of Object.entries(before.values)) if (form.elements[name]) form.elements[name].value = value;
  }
  renew(false);
})();
