/* The page of a report. page.py says how the data is laid out. */
const data = JSON.parse(document.getElementById("data").textContent);
const STATUS = data.statuses, FAILED = 0, PROVEN = 3, NOT_APPLICABLE = STATUS.length - 1;
const MOST = 100; // failures listed at once
const word = (number) => data.words[number];
const at = (id) => document.getElementById(id);
const many = (count, one, more = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : more}`;

const requirements = data.requirements.map(([id, level, area, section, condition, summary, status, devices, runs]) => ({
  actor: "", id, level: word(level), area: word(area), section: word(section), condition: word(condition), summary, status, devices,
  runs: [...runs].map(Number), tests: [] }));
requirements.forEach((requirement, n) => { requirement.actor = n < data.own ? "device" : "driver"; });
const own = requirements.slice(0, data.own);
data.proves.forEach((numbers, test) => numbers.forEach((number) => requirements[number].tests.push(test)));
const devices = [...new Set(data.runs.map((run) => run.device))].sort();
const failures = data.runs.flatMap((run) => run.failed.map(([test, driver, ms, message, trace]) =>
  ({ run, test, driver, ms, message, trace })));
const sentence = (test) => {
  const [module, name] = data.cases[test].split(".");
  return { module, text: name.replaceAll("_", " ") };
};

function mark(status, text = STATUS[status]) {
  return element("span", { className: `mark s${status}` }, text);
}

function counted(statuses) {
  const found = STATUS.map(() => 0);
  statuses.forEach((status) => { found[status] += 1; });
  return found;
}

function bar(found) {
  const said = found.map((count, status) => `${count} ${STATUS[status]}`).join(", ");
  return element("div", { className: "bar", role: "img", "aria-label": said, title: said },
    ...found.map((count, status) => (count ? element("span", { className: `s${status}`, style: `flex: ${count}` }) : null)));
}

function table(heads, rows) {
  const cell = (name, { n, value } ) => element(name, { className: n ? "n" : "" }, ...[value].flat());
  const one = (name) => (value) => cell(name, value?.n !== undefined ? value : { value });
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads.map(one("th")))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...row.map(one("td"))))));
}
const right = (value) => ({ n: true, value });

function lazy(details, make) {
  const fill = () => {
    if (details.open && !details.filled) {
      details.filled = true;
      details.append(make());
    }
  };
  details.addEventListener("toggle", fill);
  if (details.open) fill();
  return details;
}

/* -- failures --------------------------------------------------------------------------------------- */

function failure(found, open = false) {
  const { module, text } = sentence(found.test);
  const details = element("details", { className: "failure", open }, element("summary", {},
    element("strong", {}, text), element("code", {}, module),
    element("span", { className: "soft" }, `${found.run.name}, ${data.drivers[found.driver]}`),
    element("span", { className: "why" }, found.message)));
  return lazy(details, () => element("div", { className: "inside" },
    element("p", {}, "It is about ", ...proven(found.test)),
    found.trace.length ? ladder(found.trace, found.message)
      : element("p", { className: "soft" }, "What passed before it was not kept.")));
}

function proven(test) {
  const links = data.proves[test].flatMap((number) => [", ", reference(requirements[number])]).slice(1);
  return links.length ? [...links, "."] : ["nothing of the standard."];
}

function reference(requirement) {
  return element("button", { type: "button", className: "plain mono", title: requirement.summary,
    onclick: () => go(requirement) }, requirement.id);
}

/* -- requirements ----------------------------------------------------------------------------------- */

function tested(test) {
  const { module, text } = sentence(test);
  const here = data.runs.map((run) => {
    const drivers = [];
    let ms = 0;
    for (let n = 0; n < run.passed.length; n += 3)
      if (run.passed[n] === test) { drivers.push(run.passed[n + 1]); ms += run.passed[n + 2]; }
    return { run, drivers, ms, failed: failures.filter((found) => found.run === run && found.test === test) };
  }).filter(({ drivers, failed }) => drivers.length || failed.length);
  const failed = here.reduce((sum, each) => sum + each.failed.length, 0);
  const passed = here.reduce((sum, each) => sum + each.drivers.length, 0);
  const details = element("details", { className: "test" }, element("summary", {},
    element("span", {}, text), element("code", {}, module),
    element("span", { className: "soft" }, `${passed} passed${failed ? `, ${failed} failed` : ""}`)));
  return lazy(details, () => element("div", { className: "inside" },
    element("div", { className: "scroll" }, table(["run", right("passed"), right("failed"), right("time"), "drivers"],
      here.map(({ run, drivers, ms, failed: wrong }) => [run.name, right(String(drivers.length)), right(String(wrong.length)),
        right(`${(ms / 1000).toFixed(2)} s`),
        element("span", { className: "soft" }, drivers.map((driver) => data.drivers[driver]).join(", "))]))),
    ...here.flatMap((each) => each.failed.map((found) => failure(found))),
    data.proves[test].length > 1 ? element("p", {}, "It is about ", ...proven(test)) : null));
}

function about(requirement) {
  const rows = Object.entries(requirement.devices).map(([device, [status, reason]]) => [
    device, mark(status), word(reason),
    element("div", { className: "chips" }, ...data.runs.map((run, n) =>
      (run.device === device && requirement.runs[n] !== NOT_APPLICABLE
        ? mark(requirement.runs[n], `${run.name}: ${STATUS[requirement.runs[n]]}`) : null)))]);
  return element("div", { className: "inside" },
    element("p", { className: "soft" }, `${requirement.section}. `,
      requirement.condition === "always" ? "It always holds." : `Condition: ${requirement.condition}.`,
      requirement.actor === "driver" ? " A test breaks it on purpose; proven is that the device survives." : ""),
    element("div", { className: "scroll" }, table(["device", "status", "why", "runs"], rows)),
    element("h3", {}, requirement.tests.length ? many(requirement.tests.length, "test") : "No test"),
    ...requirement.tests.map(tested));
}

const rows = requirements.map((requirement) => {
  const details = element("details", { className: "row" }, element("summary", {},
    element("code", {}, requirement.id), element("span", {}, mark(requirement.status)),
    element("span", { className: "soft" }, requirement.level), element("span", {}, requirement.summary)));
  details.addEventListener("toggle", () => {
    if (details.open) try { history.replaceState(null, "", `#${requirement.id}`); } catch { /* not everywhere */ }
  });
  requirement.row = lazy(details, () => about(requirement));
  requirement.found = [requirement.id, requirement.level, requirement.summary, requirement.section, requirement.area,
    ...requirement.tests.map((test) => `${data.cases[test]} ${sentence(test).text}`)].join(" ").toLowerCase();
  return details;
});

const controls = Object.fromEntries(["words", "actor", "status", "device", "area", "level"].map((id) => [id, at(id)]));

function filter() {
  const wanted = controls.words.value.toLowerCase().split(/\s+/);
  const chosen = controls.status.value === "" ? -1 : Number(controls.status.value);
  let count = 0;
  for (const requirement of requirements) {
    const status = controls.device.value ? requirement.devices[controls.device.value][0] : requirement.status;
    const shown = requirement.actor === controls.actor.value && (chosen < 0 || status === chosen)
      && (!controls.area.value || requirement.area === controls.area.value)
      && (!controls.level.value || requirement.level === controls.level.value)
      && wanted.every((part) => requirement.found.includes(part));
    requirement.row.hidden = !shown;
    count += shown;
  }
  const all = controls.actor.value === "device" ? data.own : requirements.length - data.own;
  at("shown").textContent = `${count} of ${all}`;
  for (const tile of at("tiles").children)
    tile.setAttribute("aria-pressed", String(controls.status.value === tile.dataset.status));
}

function choose(wanted) {
  for (const [name, control] of Object.entries(controls)) control.value = wanted[name] ?? (name === "actor" ? "device" : "");
  filter();
}

function show(wanted) {
  choose(wanted);
  at("requirements").scrollIntoView();
}

function go(requirement) {
  if (requirement.row.hidden) choose({ actor: requirement.actor });
  requirement.row.open = true;
  const there = () => requirement.row.scrollIntoView({ block: "start" });
  there();
  requestAnimationFrame(there); // again when the rows that it came by have their true height
  requirement.row.firstElementChild.focus({ preventScroll: true });
}

/* -- what differs between backends ------------------------------------------------------------------ */

function differences() {
  const best = [FAILED, 1, PROVEN, 2, 4, NOT_APPLICABLE], groups = new Map();
  for (const device of devices) {
    const backends = [...new Set(data.runs.filter((run) => run.device === device).map((run) => run.backend))];
    if (backends.length < 2) continue;
    for (const requirement of own) {
      const found = backends.map((backend) => best.find((status) => data.runs.some((run, n) =>
        run.device === device && run.backend === backend && requirement.runs[n] === status)));
      if (new Set(found).size < 2) continue;
      const key = `${device} ${found}`;
      if (!groups.has(key)) groups.set(key, { device, backends, found, requirements: [] });
      groups.get(key).requirements.push(requirement);
    }
  }
  const listed = [...groups.values()].sort((a, b) => Math.min(...a.found) - Math.min(...b.found)
    || b.requirements.length - a.requirements.length);
  const unequal = contrary();
  if (!listed.length && !unequal.length) return;
  at("differences").hidden = false;
  at("differences").querySelector("p").textContent = "Where one backend shows what another does not. Many a test needs raw "
    + "packets, which only simulated hardware has; what fails on one backend alone comes first.";
  const list = at("differences").querySelector(".list");
  if (unequal.length) list.append(element("h3", {}, "Tests that fail on one backend and pass on another"),
    element("div", { className: "scroll" }, table(["test", "device", "driver", "passes on", "fails on"], unequal)),
    element("h3", {}, "Requirements"));
  for (const group of listed) {
    const details = element("details", { className: "group" }, element("summary", {},
      element("strong", {}, group.device),
      ...group.backends.flatMap((backend, n) => [element("span", {}, `${backend} `, mark(group.found[n]))]),
      element("span", { className: "soft" }, many(group.requirements.length, "requirement"))));
    list.append(lazy(details, () => element("div", { className: "inside scroll" },
      table(["requirement", ...group.backends, ""], group.requirements.map((requirement) =>
        [reference(requirement), ...group.found.map((status) => mark(status)), requirement.summary])))));
  }
}

function contrary() {
  const found = new Map();
  const hear = (run, test, driver, passed) => {
    const key = `${run.device} ${test} ${driver}`;
    if (!found.has(key)) found.set(key, { device: run.device, test, driver, passes: new Set(), fails: new Set() });
    found.get(key)[passed ? "passes" : "fails"].add(run.backend);
  };
  if (!failures.length) return [];
  const concerned = new Set(failures.map(({ test }) => test));
  for (const run of data.runs)
    for (let n = 0; n < run.passed.length; n += 3)
      if (concerned.has(run.passed[n])) hear(run, run.passed[n], run.passed[n + 1], true);
  failures.forEach(({ run, test, driver }) => hear(run, test, driver, false));
  return [...found.values()].filter(({ passes, fails }) => [...fails].some((name) => !passes.has(name)) && passes.size)
    .map(({ device, test, driver, passes, fails }) => [sentence(test).text, device, data.drivers[driver],
      [...passes].map((name) => mark(PROVEN, name)), [...fails].map((name) => mark(FAILED, name))]);
}

/* -- the rest of the page --------------------------------------------------------------------------- */

function summary() {
  const tests = data.runs.reduce((sum, run) => sum + run.passed.length / 3 + run.failed.length, 0);
  at("lead").textContent = `${own.length} requirements of virtio 1.4 for devices; ${devices.join(", ")} in `
    + `${many(data.runs.length, "run")} of ${many(tests, "test")}, ${failures.length || "none"} of which failed. `
    + "A requirement is proven if every test of it passed; of several devices, the worst counts.";
  at("tiles").append(...counted(own.map(({ status }) => status)).map((count, status) =>
    element("button", { type: "button", className: `s${status}`, "data-status": String(status), "aria-pressed": "false",
      onclick: () => show(controls.status.value === String(status) ? {} : { status }) },
    element("b", { id: `total-${STATUS[status].replace(" ", "-")}` }, String(count)), STATUS[status])));
  if (failures.length) {
    at("failures").hidden = false;
    const list = at("failures").querySelector(".list");
    const more = (from) => {
      list.append(...failures.slice(from, from + MOST).map((found) => failure(found, failures.length === 1)));
      const left = failures.length - from - MOST;
      if (left > 0) list.append(element("button", { type: "button", onclick: (event) => {
        event.target.remove();
        more(from + MOST);
      } }, `show more; ${left} are left`));
    };
    more(0);
  }
  at("devices").querySelector("div").append(table(["device", "", ...STATUS.map((name, n) => right(mark(n, name)))],
    devices.map((device) => {
      const found = counted(own.map((requirement) => requirement.devices[device][0]));
      return [device, bar(found), ...found.map((count, status) => right(element("button", { type: "button",
        className: "plain", "aria-label": `${count} ${STATUS[status]} of ${device}`,
        onclick: () => show({ device, status }) }, String(count))))];
    })));
  const areas = [...new Set(own.map(({ area }) => area))];
  const concerned = areas.filter((area) => own.some((each) => each.area === area && each.status !== NOT_APPLICABLE));
  at("areas").querySelector("div").append(...concerned.map((area) => {
    const found = counted(own.filter((each) => each.area === area).map(({ status }) => status));
    const total = found.reduce((sum, count) => sum + count, 0) - found[NOT_APPLICABLE];
    return element("button", { type: "button", onclick: () => show({ area }) },
      element("span", {}, element("span", {}, area),
        element("span", { className: "soft n" }, `${found[PROVEN]} of ${total}`)), bar(found));
  }));
  at("runs").querySelector("div").append(table(["run", right("tests"), right("failed"), right("time")],
    data.runs.map((run) => {
      let ms = run.failed.reduce((sum, [, , took]) => sum + took, 0);
      for (let n = 2; n < run.passed.length; n += 3) ms += run.passed[n];
      return [run.name, right(String(run.passed.length / 3 + run.failed.length)), right(String(run.failed.length)),
        right(`${(ms / 1000).toFixed(1)} s`)];
    })));
  const choices = (control, values) => control.append(...values.map(([value, text]) => element("option", { value }, text)));
  choices(controls.status, STATUS.map((name, n) => [String(n), name]));
  choices(controls.device, devices.map((name) => [name, name]));
  choices(controls.area, areas.map((name) => [name, name]));
  choices(controls.level, [...new Set(requirements.map(({ level }) => level))].map((name) => [name, name]));
}

function step(way) {
  const shown = rows.filter((row) => !row.hidden);
  const here = shown.findIndex((row) => row.contains(document.activeElement));
  const next = shown[here < 0 ? (way > 0 ? 0 : shown.length - 1) : here + way];
  next?.firstElementChild.focus();
  next?.firstElementChild.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  if (event.key === "Escape") { choose({}); document.activeElement.blur(); return; }
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "/") { event.preventDefault(); controls.words.focus(); }
  if (event.key === "j") step(1);
  if (event.key === "k") step(-1);
});
Object.values(controls).forEach((control) => control.addEventListener("input", filter));
at("clear").addEventListener("click", () => choose({}));
addEventListener("hashchange", follow);
if (location.hash) history.scrollRestoration = "manual";
function follow() {
  const wanted = requirements.find(({ id }) => id === decodeURIComponent(location.hash.slice(1)));
  if (wanted) go(wanted);
}

summary();
differences();
at("rows").append(...rows);
filter();
for (const link of document.querySelectorAll("nav a")) link.hidden = at(link.hash.slice(1)).hidden;
follow();
