"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const media = document.getElementById("media");
  const slider = document.getElementById("time");
  const boxes = document.getElementById("boxes");
  const shown = document.getElementById("show-boxes");
  const playing = document.querySelector("[data-do=play]");
  const cursors = document.querySelectorAll(".cursor");
  const jumps = [...document.querySelectorAll(".jump")].map((button) => [button, +button.dataset.start, +button.dataset.end]);
  const lanes = [...document.querySelectorAll("[data-lane]")].map((element) => [element, facts.lanes[element.dataset.lane]]);
  const persons = document.getElementById("persons");
  const owned = [...document.querySelectorAll("[data-person]")];
  const SVG = "http://www.w3.org/2000/svg";
  let now = 0, chosen = "";  // whom one looks at: a number, or "" for everybody

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  };

  // How many of `rows` (sorted by `value`) lie at or before `time`.
  const upTo = (rows, time, value) => {
    let low = 0, high = rows.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (value(rows[middle]) <= time) low = middle + 1; else high = middle;
    }
    return low;
  };

  const column = () => Math.min(upTo(facts.edges, now, (edge) => edge), facts.edges.length - 1) - 1;

  // What is shown: by the person one looks at, else by whom the clip's answer is about.
  const shownBy = () => facts.persons?.[chosen || facts.about];
  const stretches = () => shownBy()?.stretches ?? facts.stretches;

  const describe = () => {
    const found = stretches().find(([start, end]) => start <= now && now < end), name = shownBy()?.name;
    const said = found ? found[2] : "no evidence";
    return `${clock(now)}: ${name ? `${name}: ` : ""}${said}`;
  };

  // Where each face is now: between two sightings on a straight line, just after the last one where it was.
  const boxesNow = () => {
    const found = [];
    for (const [track, rows] of Object.entries(facts.boxes.tracks)) {
      if (now < rows[0][0] - 0.02 || now > rows.at(-1)[0] + 0.3) continue;
      const place = Math.max(upTo(rows, now + 0.02, (row) => row[0]) - 1, 0), here = rows[place], next = rows[place + 1];
      const length = next ? next[0] - here[0] : 0;
      if (next && length <= facts.boxes.reach) {
        const share = Math.min(Math.max((now - here[0]) / length, 0), 1);
        found.push([track, here[1], ...[2, 3, 4, 5].map((at) => here[at] + share * (next[at] - here[at]))]);
      } else if (now - here[0] < 0.3) found.push([track, ...here.slice(1)]);
    }
    return found;
  };

  const make = (name, values, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
    if (text) element.textContent = text;
    return element;
  };

  const drawBoxes = () => {
    if (!boxes) return;
    boxes.replaceChildren();
    if (!shown.checked) return;
    const scale = boxes.viewBox.baseVal.height / Math.max(boxes.clientHeight, 1), size = 13 * scale;
    for (const [track, main, x, y, width, height] of boxesNow()) {
      const person = facts.boxes.persons[track] ?? 0;
      if (chosen && String(person) !== chosen) continue;
      const whose = person ? ` p${(person - 1) % facts.boxes.colours}` : "";
      boxes.append(make("rect", { x, y, width, height, class: (main ? "main" : "other") + whose }));
      boxes.append(make("text", { x: x + 2 * scale, y: Math.max(y - 4 * scale, size), "font-size": size }, facts.boxes.names[track] ?? `face ${track}`));
    }
  };

  // A list scrolls by itself so that what is said now is seen; the page stays where it is.
  const showIn = (list, button) => {
    if (list.scrollHeight <= list.clientHeight || list.matches(":hover") || list.contains(document.activeElement)) return;
    const top = button.offsetTop - list.offsetTop;
    if (top < list.scrollTop || top + button.offsetHeight > list.scrollTop + list.clientHeight) list.scrollTop = top - 8;
  };

  const mark = () => {
    for (const [button, start, end] of jumps) {
      const said = start <= now && now < end;
      if (said && !button.classList.contains("now")) showIn(button.closest("ol"), button);
      button.classList.toggle("now", said);
    }
    for (const [element, answers] of lanes) {
      const answer = answers[column()];
      element.textContent = answer ? `now: ${facts.emotions[answer[0]]} ${answer[1]} %` : "now: absent";
    }
  };

  const draw = () => {
    const x = `${(100 * now) / Math.max(facts.duration, 0.1)}%`, said = describe();
    for (const line of cursors) { line.setAttribute("x1", x); line.setAttribute("x2", x); }
    slider.value = now;
    slider.setAttribute("aria-valuetext", said);
    document.getElementById("now").textContent = said;
    mark();
    drawBoxes();
  };

  // A clip that is a segment of its file begins there at facts.start.
  const place = () => Math.min(Math.max(media.currentTime - facts.start, 0), facts.duration);

  const seek = (seconds) => {
    now = Math.min(Math.max(seconds, 0), facts.duration);
    if (media && media.readyState > 0) media.currentTime = facts.start + now;
    draw();
  };

  const follow = () => {
    now = place();
    if (facts.start && now >= facts.duration) media.pause();
    draw();
    if (!media.paused && !media.ended) requestAnimationFrame(follow);
  };

  const play = () => {
    if (!media || playing.disabled) return;
    if (!media.paused) { media.pause(); return; }
    if (now >= facts.duration - 0.05) seek(0);
    media.play().catch(() => {});
  };

  const choose = (person) => {
    chosen = person;
    for (const element of owned) element.classList.toggle("away", chosen !== "" && element.dataset.person !== chosen);
    const one = facts.persons[chosen];
    document.getElementById("chosen").textContent = one ? `${one.name}: ${one.told}` : "";
    draw();
  };

  const actions = {
    play,
    back: () => seek(now - 1),
    on: () => seek(now + 1),
    previous: () => seek(Math.max(0, ...stretches().map((row) => row[0]).filter((start) => start < now - 0.05))),
    next: () => seek(Math.min(facts.duration, ...stretches().map((row) => row[0]).filter((start) => start > now + 0.05))),
  };

  document.addEventListener("click", (event) => {
    const jump = event.target.closest(".jump"), button = event.target.closest("[data-do]");
    if (jump) seek(+jump.dataset.start);
    else if (button) actions[button.dataset.do]();
  });

  let held = null;
  const seekAt = (track, event) => {
    const edges = track.getBoundingClientRect();
    seek(((event.clientX - edges.left) / edges.width) * facts.duration);
  };
  document.addEventListener("pointerdown", (event) => {
    const track = event.target.closest(".track");
    if (!track || event.button) return;
    held = track;
    seekAt(track, event);
  });
  document.addEventListener("pointermove", (event) => { if (held) seekAt(held, event); });
  for (const name of ["pointerup", "pointercancel"]) document.addEventListener(name, () => { held = null; });

  const keys = {
    ArrowLeft: (event) => seek(now - (event.shiftKey ? 5 : 1)),
    ArrowRight: (event) => seek(now + (event.shiftKey ? 5 : 1)),
    Home: () => seek(0),
    End: () => seek(facts.duration),
    " ": play,
  };
  // What has the focus keeps its own keys: the browser's player, buttons and boxes their space, what scrolls its arrows.
  const keeps = (target, key) =>
    target.closest("video, audio") || (key === " " ? target.closest("button, summary, [type=checkbox], [type=radio]") : target.closest("pre, [role=region], [type=radio]"));
  document.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.altKey || event.ctrlKey || event.metaKey || keeps(event.target, event.key)) return;
    event.preventDefault();
    keys[event.key](event);
  });
  // A browser without the picture's codec may still play the sound, and says so only by a picture without a size.
  const unplayable = () => {
    document.getElementById("unplayable").hidden = false;
    playing.disabled = Boolean(media.error);
  };
  slider.addEventListener("input", () => seek(+slider.value));
  if (persons) {
    persons.hidden = false;
    persons.addEventListener("change", (event) => choose(event.target.value));
  }
  if (shown) shown.addEventListener("change", drawBoxes);
  if (media) {
    media.addEventListener("play", follow);
    for (const name of ["play", "pause", "ended"]) {
      media.addEventListener(name, () => { playing.textContent = media.paused ? "Play" : "Pause"; });
    }
    for (const name of ["seeked", "timeupdate"]) {
      media.addEventListener(name, () => {
        // A decoder that stops at the picture beside the wanted time does not move the cursor.
        if (media.error || media.seeking || (media.paused && Math.abs(place() - now) < 0.5)) return;
        now = place();
        draw();
      });
    }
    const loaded = () => {
      if (facts.video && !media.videoWidth) unplayable();
      if (facts.start + now > 0) media.currentTime = facts.start + now;
      drawBoxes();
    };
    media.addEventListener("loadedmetadata", loaded);
    media.addEventListener("error", unplayable);
    if (media.error) unplayable(); else if (media.readyState > 0) loaded();
  }
  draw();
})();
