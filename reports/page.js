"use strict";
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const media = document.getElementById("media");
  const slider = document.getElementById("time");
  const boxes = document.getElementById("boxes");
  const shown = document.getElementById("show-boxes");
  const cursors = document.querySelectorAll(".cursor");
  const jumps = [...document.querySelectorAll(".jump")].map((button) => [button, +button.dataset.start, +button.dataset.end]);
  const SVG = "http://www.w3.org/2000/svg";
  let now = 0;

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10), minutes = Math.floor(tenths / 600), hours = Math.floor(minutes / 60);
    const rest = ((tenths % 600) / 10).toFixed(1).padStart(4, "0");
    return hours ? `${hours}:${String(minutes % 60).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
  };

  const describe = () => {
    const found = facts.stretches.find(([start, end]) => start <= now && now < end);
    const said = found ? `${found[2]}, confidence ${(found[3] || 0).toFixed(2)}` : "none of the compounds";
    return `${clock(now)}: ${said}`;
  };

  // The boxes of the last frame that was looked at; a second later they say nothing any more.
  const boxesNow = () => {
    let low = 0, high = facts.boxes.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (facts.boxes[middle][0] <= now + 0.02) low = middle + 1; else high = middle;
    }
    const time = low ? facts.boxes[low - 1][0] : -9;
    const found = [];
    for (let row = low - 1; row >= 0 && facts.boxes[row][0] === time; row -= 1) found.push(facts.boxes[row]);
    return now - time < 1 ? found : [];
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
    const size = boxes.viewBox.baseVal.height / 24;
    for (const [, track, main, x, y, width, height] of boxesNow()) {
      boxes.append(make("rect", { x, y, width, height, class: main ? "main" : "other" }));
      boxes.append(make("text", { x: x + size / 4, y: Math.max(y - size / 3, size), "font-size": size }, `face ${track}`));
    }
  };

  const draw = () => {
    const x = (1000 * now) / Math.max(facts.duration, 0.1);
    for (const line of cursors) { line.setAttribute("x1", x); line.setAttribute("x2", x); }
    slider.value = now;
    slider.setAttribute("aria-valuetext", describe());
    document.getElementById("now").textContent = describe();
    for (const [button, start, end] of jumps) button.classList.toggle("now", start <= now && now < end);
    drawBoxes();
  };

  const seek = (seconds) => {
    now = Math.min(Math.max(seconds, 0), facts.duration);
    if (media && media.readyState > 0) media.currentTime = now;
    draw();
  };

  const follow = () => {
    now = media.currentTime;
    draw();
    if (!media.paused && !media.ended) requestAnimationFrame(follow);
  };

  const actions = {
    play: () => (media.paused ? media.play().catch(() => {}) : media.pause()),
    back: () => seek(now - 1),
    on: () => seek(now + 1),
    previous: () => seek(Math.max(0, ...facts.stretches.map((row) => row[0]).filter((start) => start < now - 0.05))),
    next: () => seek(Math.min(facts.duration, ...facts.stretches.map((row) => row[0]).filter((start) => start > now + 0.05))),
  };

  document.addEventListener("click", (event) => {
    const track = event.target.closest(".track"), jump = event.target.closest(".jump"), button = event.target.closest("[data-do]");
    if (track) {
      const place = track.getBoundingClientRect();
      seek(((event.clientX - place.left) / place.width) * facts.duration);
    } else if (jump) seek(+jump.dataset.start);
    else if (button) actions[button.dataset.do]();
  });
  document.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 };
    const taken = event.target.closest("video, audio, pre, [role=region]") || event.altKey || event.ctrlKey || event.metaKey;
    if (!(event.key in steps) || taken) return;
    event.preventDefault();
    seek(now + steps[event.key] * (event.shiftKey ? 5 : 1));
  });
  slider.addEventListener("input", () => seek(+slider.value));
  if (shown) shown.addEventListener("change", drawBoxes);
  if (media) {
    media.addEventListener("play", follow);
    for (const name of ["seeked", "timeupdate"]) media.addEventListener(name, () => { now = media.currentTime; draw(); });
    media.addEventListener("loadedmetadata", () => { if (now > 0) media.currentTime = now; });
    media.addEventListener("error", () => { document.getElementById("unplayable").hidden = false; });
  }
  draw();
})();
