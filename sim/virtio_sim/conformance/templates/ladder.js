"use strict";
/* A ladder diagram: the host on the left, the device on the right, time downwards.

   An event is [nanoseconds, mark, text, detail]; marks are those of the kit's trace.py. */
const NEAR = 40; // events shown before the failure, unless all are wanted
const SVG = "http://www.w3.org/2000/svg";

function svg(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

function element(name, attributes = {}, ...inside) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...inside.filter((part) => part !== null && part !== undefined));
  return made;
}

function duration(ns) {
  if (ns < 1000) return `${ns} ns`;
  return ns < 1e6 ? `${(ns / 1000).toFixed(3)} µs` : `${(ns / 1e6).toFixed(3)} ms`;
}

function ladder(events, message) {
  const LINE = 7.25, TIME = 84, ROW = 30, SMALL = 22;
  let all = events.length <= NEAR, picked = -1, groups = [];
  const output = element("output", {}, "");
  const drawing = svg("svg", { tabindex: 0, role: "img", class: "drawing" });
  const more = element("button", { type: "button", onclick: () => { all = true; picked = -1; draw(); } });
  const text = element("details", {}, element("summary", {}, "as text"));
  text.addEventListener("toggle", () => {
    if (text.open && !text.querySelector("pre"))
      text.append(element("pre", {}, events.map(([ns, mark, what, detail]) =>
        `${String(ns).padStart(10)} ${mark} ${what}${detail ? `   (${detail})` : ""}`).join("\n")));
  });
  const legend = element("p", { className: "legend" },
    element("span", {}, element("b", { style: "color: var(--host)" }, "→"), " to the device"),
    element("span", {}, element("b", { style: "color: var(--device)" }, "←"), " from the device"),
    element("span", {}, element("b", { style: "color: var(--signal)" }, "←"), " interrupt"),
    element("span", {}, element("b", { style: "color: var(--host)" }, "●"), " driver, in memory"));
  const box = element("div", { className: "ladder" }, legend, drawing, output,
    element("div", { className: "tools" }, more), text);

  function pick(number) {
    if (!groups.length) return;
    groups[picked]?.classList.remove("picked");
    picked = Math.max(0, Math.min(groups.length - 1, number));
    groups[picked].classList.add("picked");
    const [ns, , what, detail] = groups[picked].event;
    output.textContent = `${ns.toLocaleString("en")} ns: ${what}${detail ? ` — ${detail}` : ""}`;
  }

  function draw() {
    const shown = all ? events : events.slice(-NEAR);
    const width = Math.max(300, Math.round(box.clientWidth || 700));
    const slim = width < 560;
    const left = slim ? 14 : TIME + 12, right = width - 14, middle = (left + right) / 2;
    const fit = (what, room) => {
      const most = Math.floor(room / LINE);
      return what.length > most ? `${what.slice(0, most - 1)}…` : what;
    };
    drawing.replaceChildren();
    groups = [];
    const lives = svg("g", {});
    drawing.append(lives);
    let y = 30, before = null;
    for (const event of shown) {
      const [ns, mark, what] = event;
      if (before !== null && ns - before > 1000) {
        drawing.append(svg("text", { x: middle, y: y + 14, "text-anchor": "middle", class: "gap" },
          `⋯ ${duration(ns - before)} later`));
        y += SMALL;
      }
      const arrow = mark === ">" || mark === "<";
      const height = arrow ? ROW : SMALL, group = svg("g", {});
      group.event = event;
      group.append(svg("rect", { x: 0, y, width, height, class: "pick" }));
      if (!slim && ns !== before)
        group.append(svg("text", { x: TIME, y: y + (arrow ? 19 : 15), "text-anchor": "end", class: "time" },
          duration(ns)));
      if (arrow) {
        const signal = what.includes("interrupt:");
        const kind = signal ? "signal" : mark === ">" ? "host" : "device";
        const [from, to, way] = mark === ">" ? [left, right, 1] : [right, left, -1];
        const low = y + 25;
        group.append(
          svg("line", { x1: from + 3 * way, y1: low - 4, x2: to - 9 * way, y2: low, class: kind }),
          svg("path", { d: `M${to - 2 * way} ${low}l${-9 * way} -4.5v9z`, class: kind }),
          svg("text", { x: middle, y: y + 15, "text-anchor": "middle" }, fit(what, right - left - 24)));
      } else {
        const kind = mark === "!" ? "wrong" : "host";
        group.append(
          svg("circle", { cx: left, cy: y + 11, r: 4, class: "host" }),
          svg("text", { x: left + 12, y: y + 15, class: kind }, fit(what, right - left - 24)));
      }
      const number = groups.length;
      group.addEventListener("click", () => pick(number));
      drawing.append(group);
      groups.push(group);
      before = ns;
      y += height;
    }
    y += 14;
    drawing.append(svg("line", { x1: left - 8, y1: y, x2: right + 8, y2: y, class: "wrong" }));
    drawing.append(svg("text", { x: left + 4, y: y + 18, class: "wrong" }, fit(`failed: ${message}`, right - left)));
    lives.append(
      svg("line", { x1: left, y1: 26, x2: left, y2: y, class: "life" }),
      svg("line", { x1: right, y1: 26, x2: right, y2: y, class: "life" }),
      svg("text", { x: left - (slim ? 10 : 0), y: 18, "text-anchor": slim ? "start" : "middle", class: "head host" },
        "host"),
      svg("text", { x: right + 10, y: 18, "text-anchor": "end", class: "head device" }, "device"));
    drawing.setAttribute("viewBox", `0 0 ${width} ${y + 30}`);
    drawing.style.height = `${y + 30}px`;
    drawing.setAttribute("aria-label", `what passed between host and device before the failure, ${shown.length} `
      + "events; arrow keys tell them one by one");
    more.hidden = all;
    more.textContent = `show ${events.length - shown.length} earlier events`;
    if (!all || picked < 0) output.textContent = "Click an event, or use the arrow keys, to see all of it.";
  }

  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, Home: -1e6, End: 1e6 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    pick(picked < 0 && step === -1 ? groups.length - 1 : picked + step);
  });
  let drawn = 0;
  new ResizeObserver(() => {
    if (box.clientWidth && Math.abs(box.clientWidth - drawn) > 2) {
      drawn = box.clientWidth;
      draw();
    }
  }).observe(box);
  draw(); // with some width, so that what is below it has its place at once
  return box;
}
