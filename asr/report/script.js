"use strict";
// Texts come from anywhere: they become text nodes and attribute values, never markup.
(() => {
  const PAGE_SIZE = 50;
  const GAP = "∗";
  const NOTHING = "–";
  const data = JSON.parse(document.getElementById("data").textContent);
  const collator = new Intl.Collator("en", { numeric: true });
  const byId = (id) => document.getElementById(id);

  const rows = data.rows.map(([id, speaker, duration, reference, hypothesis, operations, place]) => {
    const errors = operations.length - count(operations, "C");
    const words = operations.length - count(operations, "I");
    return {
      id, speaker, duration, hypothesis, operations, place, errors, words,
      text: reference,
      wer: words ? errors / words : errors ? Infinity : 0,
      sought: `${id}\n${reference}\n${hypothesis}`.toLowerCase(),
    };
  });
  const rowOf = new Map(rows.map((row) => [row.id, row]));

  function count(operations, letter) {
    return operations.split(letter).length - 1;
  }

  function element(name, className, text) {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  // ---- the alignment: words below one another, with S, D or I below an error ----

  const NAMES = { S: "substitution", D: "deletion", I: "insertion" };

  function fillAlignment(box, row) {
    const reference = row.text ? row.text.split(" ") : [];
    const hypothesis = row.hypothesis ? row.hypothesis.split(" ") : [];
    let r = 0;
    let h = 0;
    box.classList.add("alignment");
    box.dir = "auto";
    for (const operation of row.operations) {
      const said = operation === "I" ? null : reference[r++];
      const heard = operation === "D" ? null : hypothesis[h++];
      box.append(column(operation, said, heard));
    }
    if (!row.operations) box.append(element("span", "quiet", "nothing said, nothing written"));
  }

  function column(operation, said, heard) {
    const made = element("span", `column ${operation}`);
    const width = Math.max([...(said ?? "")].length, [...(heard ?? "")].length);
    for (const word of [said, heard]) {
      made.append(element("span", word === null ? "gap" : "word", word ?? GAP.repeat(Math.max(1, width))));
    }
    if (operation !== "C") {
      const mark = element("span", "mark", operation);
      mark.title = NAMES[operation];
      made.append(mark);
    }
    return made;
  }

  for (const box of document.querySelectorAll(".alignment[data-utterance]")) {
    fillAlignment(box, rowOf.get(box.dataset.utterance));
  }

  // ---- the table: filtered, sorted, one page of rows at a time ----

  const table = byId("table");
  const body = table.tBodies[0];
  const headers = [...table.tHead.rows[0].cells];
  const keys = headers.map((header) => header.dataset.key);
  const NUMBERS = new Set(["duration", "words", "errors", "wer"]);
  const UNITS = { duration: "s", words: "words", errors: "errors", wer: "WER" };
  let shown = rows;
  let page = 0;
  let sorting = { key: "errors", descending: true };

  function compare(a, b) {
    const [x, y] = [a[sorting.key], b[sorting.key]];
    if (x === y) return 0;
    if (x === null) return 1; // what is unknown comes last, in either direction
    if (y === null) return -1;
    const order = NUMBERS.has(sorting.key) ? (x < y ? -1 : 1) : collator.compare(x, y);
    return sorting.descending ? -order : order;
  }

  function percent(rate) {
    return Number.isFinite(rate) ? `${(100 * rate).toFixed(1)}\u00a0%` : NOTHING;
  }

  function cellText(row, key) {
    if (key === "wer") return percent(row.wer);
    if (key === "duration") return row.duration === null ? NOTHING : row.duration.toFixed(2);
    return String(row[key] ?? NOTHING);
  }

  function cell(row, key) {
    const made = element("td", NUMBERS.has(key) ? "number" : "");
    made.setAttribute("role", "cell");
    made.dataset.key = key;
    if (UNITS[key]) made.dataset.unit = UNITS[key];
    if (key === "text") {
      const box = element("div");
      fillAlignment(box, row);
      made.append(box);
    } else if (key === "id" && row.place) {
      const link = element("a", "", row.id);
      link.href = `#worst-${row.place}`;
      made.append(link);
    } else {
      made.append(element("bdi", "", cellText(row, key)));
    }
    return made;
  }

  function drawRows() {
    const first = page * PAGE_SIZE;
    const made = shown.slice(first, first + PAGE_SIZE).map((row) => {
      const line = element("tr");
      line.setAttribute("role", "row");
      line.append(...keys.map((key) => cell(row, key)));
      return line;
    });
    body.replaceChildren(...made);
    const pages = Math.max(1, Math.ceil(shown.length / PAGE_SIZE));
    byId("page").textContent = `${page + 1} of ${pages}`;
    byId("previous").disabled = page === 0;
    byId("next").disabled = page >= pages - 1;
    say(first, made.length);
  }

  function say(first, number) {
    let errors = 0;
    let words = 0;
    for (const row of shown) {
      errors += row.errors;
      words += row.words;
    }
    const total = shown.length.toLocaleString("en");
    const range = number ? `${first + 1}–${first + number} of ${total} utterances` : "no such utterance";
    const rate = words ? `, ${errors.toLocaleString("en")} errors in ${words.toLocaleString("en")} words: ${percent(errors / words)}` : "";
    byId("status").textContent = range + rate;
  }

  function update() {
    const sought = byId("search").value.trim().toLowerCase();
    const speaker = byId("speaker")?.value ?? "";
    const onlyErrors = byId("only-errors").checked;
    shown = rows.filter(
      (row) =>
        (!speaker || row.speaker === speaker.slice(1)) &&
        (!onlyErrors || row.errors > 0) &&
        (!sought || row.sought.includes(sought)),
    );
    shown.sort(compare);
    page = 0;
    for (const header of headers) {
      const direction = sorting.descending ? "descending" : "ascending";
      header.setAttribute("aria-sort", header.dataset.key === sorting.key ? direction : "none");
    }
    drawRows();
  }

  function sortBy(key) {
    // Numbers begin with the largest: one looks for what is bad.
    sorting = { key, descending: sorting.key === key ? !sorting.descending : NUMBERS.has(key) };
    update();
  }

  function turn(by) {
    page += by;
    drawRows();
    table.scrollIntoView({ block: "start" });
  }

  for (const header of headers) {
    header.querySelector("button").addEventListener("click", () => sortBy(header.dataset.key));
  }
  const speakers = byId("speaker");
  if (speakers) {
    const names = new Set(rows.map((row) => row.speaker).filter((name) => name !== null));
    for (const name of [...names].sort(collator.compare)) {
      // "=" before the name: a speaker may be called nothing at all, which means everybody
      speakers.append(new Option(name, `=${name}`));
    }
    speakers.addEventListener("change", update);
  }
  byId("search").addEventListener("input", update);
  byId("only-errors").addEventListener("change", update);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("previous").addEventListener("click", () => turn(-1));
  byId("next").addEventListener("click", () => turn(1));
  update();

  // ---- groups that are many ----

  for (const button of document.querySelectorAll(".show-more")) {
    button.addEventListener("click", () => {
      const more = document.querySelector(`[data-chart="${button.dataset.of}"] .more`);
      more.hidden = false;
      button.remove();
      more.rows[0].tabIndex = -1; // where the keyboard goes on, as its button is gone
      more.rows[0].focus();
    });
  }

  // ---- pictures follow their audio, and play from where they are clicked ----

  for (const picture of document.querySelectorAll(".picture")) {
    const audio = picture.closest("article").querySelector("audio");
    const playhead = picture.querySelector(".playhead");
    const pixelsPerSecond = Number(picture.dataset.pixelsPerSecond);
    const follow = () => {
      const x = audio.currentTime * pixelsPerSecond;
      playhead.setAttribute("x1", x);
      playhead.setAttribute("x2", x);
      playhead.setAttribute("visibility", "visible");
      if (!audio.paused) requestAnimationFrame(follow);
    };
    audio.addEventListener("play", follow);
    audio.addEventListener("seeked", follow);
    picture.addEventListener("click", (event) => {
      const box = picture.getBoundingClientRect();
      const scale = picture.viewBox.baseVal.width / box.width; // printed or zoomed, the picture may be smaller
      const x = (event.clientX - box.left) * scale - Number(picture.dataset.margin);
      audio.currentTime = Math.max(0, x / pixelsPerSecond);
      audio.play();
    });
  }

  for (const audio of document.querySelectorAll("audio")) {
    audio.addEventListener("play", () => {
      for (const other of document.querySelectorAll("audio")) {
        if (other !== audio) other.pause();
      }
    });
  }

  // ---- light and dark ----

  const theme = byId("theme");
  const systemDark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (document.documentElement.dataset.theme ?? (systemDark.matches ? "dark" : "light")) === "dark";
  const label = () => {
    theme.textContent = isDark() ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  };
  theme.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    label();
  });
  systemDark.addEventListener("change", label);
  label();
})();
