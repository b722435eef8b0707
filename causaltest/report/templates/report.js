"use strict";
(() => {
  const root = document.documentElement;
  const table = document.getElementById("claims-table");
  root.classList.add("js");
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const cards = all("details.c");
  const openCard = (card) => {
    for (let at = card; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  };

  // Copying: the clipboard may be refused on file://, then the text is selected instead.
  const copy = (text, button, source) => {
    const said = button.textContent;
    const done = (word) => {
      button.textContent = word;
      setTimeout(() => { button.textContent = said; }, 1600);
    };
    const select = () => {
      if (source) getSelection().selectAllChildren(source);
      done(source ? "Selected" : "See the address bar");
    };
    try {
      navigator.clipboard.writeText(text).then(() => done("Copied"), select);
    } catch { select(); }
  };
  const button = (label, act) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "copy";
    made.textContent = label;
    made.addEventListener("click", () => act(made));
    return made;
  };
  const equip = (card) => {
    if (card.dataset.equipped) return;
    card.dataset.equipped = "1";
    const command = card.querySelector(".command");
    if (!command) return;
    command.after(
      button("Copy command", (self) => copy(command.textContent.trim(), self, command)),
      button("Copy link to this claim", (self) => {
        history.replaceState(null, "", "#" + card.id);
        copy(location.href, self, null);
      }),
    );
  };
  for (const card of cards) {
    if (card.open) equip(card);
    card.addEventListener("toggle", () => { if (card.open) equip(card); });
  }

  // Printing: claims that are not supported unfold, without their single pairs and long tables.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = all("details.c:not([open],.supported)");
    for (const one of folded) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of folded) one.open = false; });

  const target = () => {
    const card = document.getElementById(location.hash.slice(1));
    if (!location.hash.startsWith("#claim=") || !card) return false;
    openCard(card);
    card.scrollIntoView();
    // A browser that follows a fragment while the page loads takes the focus away afterwards.
    const focus = () => setTimeout(() => card.querySelector("summary").focus({ preventScroll: true }));
    if (document.readyState === "complete") focus(); else addEventListener("load", focus);
    return true;
  };
  if (!table) { addEventListener("hashchange", target); target(); return; }

  // The layout is a grid on screens, which makes some screen readers forget that it is a table.
  const scopes = { col: "columnheader", row: "rowheader", rowgroup: "rowheader" };
  for (const one of all("thead,tbody,tr,th,td", table)) {
    one.setAttribute("role", scopes[one.scope] || { TR: "row", TD: "cell" }[one.tagName] || "rowgroup");
  }
  table.setAttribute("role", "table");

  const numbers = JSON.parse(document.getElementById("numbers").textContent);
  const rows = all("tbody tr:not(.file)", table);
  const home = rows.map((row) => row.parentElement);
  const decided = all("#details details.c");
  const boxes = all(".tools input[type=checkbox]");
  const search = document.getElementById("search");
  const status = document.querySelector(".tools [role=status]");
  const heads = all("thead th", table);
  const texts = [];
  const files = home.map((body) => body.querySelector(".file").textContent);
  const textOf = (i) => (texts[i] ??=
    [rows[i].textContent, files[i], decided[i].textContent].join(" ").toLowerCase());
  let sorting = { key: "", down: false };

  const filter = () => {
    const wanted = new Set(boxes.filter((box) => box.checked).map((box) => box.value));
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, i) => {
      const show = wanted.has(row.className) && terms.every((term) => textOf(i).includes(term));
      row.hidden = !show;
      decided[i].hidden = !show;
      shown += show;
    });
    for (const head of all("tr.file", table)) {
      head.hidden = !all("tr:not(.file)", head.parentElement).some((row) => !row.hidden);
    }
    for (const head of all("#details > h3")) {
      let next = head.nextElementSibling;
      while (next && next.matches("details.c") && next.hidden) next = next.nextElementSibling;
      head.hidden = !(next && next.matches("details.c"));
    }
    status.textContent = `${shown} of ${rows.length} claims shown`;
  };

  const sort = () => {
    const { key, down } = sorting;
    table.classList.toggle("flat", key !== "");
    const order = rows.map((_, i) => i);
    if (key) {
      const value = (i) => (key === "claim" ? textOf(i) : numbers[key][i]);
      order.sort((a, b) => {
        const x = value(a), y = value(b);
        if (x === y) return a - b;
        if (x === null || y === null) return x === null ? 1 : -1;
        return (x < y ? -1 : 1) * (down ? -1 : 1);
      });
      table.tBodies[0].append(...order.map((i) => rows[i]));
    } else {
      order.forEach((i) => home[i].append(rows[i]));
    }
    for (const head of heads) {
      const mine = head.dataset.key === key && key !== "";
      head.setAttribute("aria-sort", mine ? (down ? "descending" : "ascending") : "none");
    }
  };

  const remember = () => {
    const parts = [];
    const checked = boxes.filter((box) => box.checked).map((box) => box.value);
    if (checked.length < boxes.length) parts.push("status=" + checked.map(encodeURIComponent).join(","));
    if (search.value) parts.push("q=" + encodeURIComponent(search.value));
    if (sorting.key) parts.push("sort=" + (sorting.down ? "-" : "") + sorting.key);
    history.replaceState(null, "", parts.length ? "#" + parts.join("&") : location.pathname + location.search);
  };
  const recall = () => {
    if (target()) return;
    const state = {};
    for (const part of location.hash.slice(1).split("&")) {
      const cut = part.indexOf("=");
      try {
        if (cut > 0) state[part.slice(0, cut)] = decodeURIComponent(part.slice(cut + 1));
      } catch { /* a damaged link shows everything */ }
    }
    if (!("status" in state || "q" in state || "sort" in state)) return;
    const wanted = "status" in state ? state.status.split(",") : null;
    for (const box of boxes) box.checked = !wanted || wanted.includes(box.value);
    search.value = state.q || "";
    const key = (state.sort || "").replace(/^-/, "");
    const known = heads.some((head) => head.dataset.key === key);
    sorting = { key: known ? key : "", down: (state.sort || "").startsWith("-") };
    sort();
    filter();
  };

  for (const box of boxes) box.addEventListener("change", () => { filter(); remember(); });
  search.addEventListener("input", () => { filter(); remember(); });
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const key = head.dataset.key;
      if (sorting.key !== key) sorting = { key, down: false };
      else if (!sorting.down) sorting = { key, down: true };
      else sorting = { key: "", down: false };
      sort();
      filter();
      remember();
    });
  }
  addEventListener("keydown", (event) => {
    if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
      event.preventDefault();
      search.focus();
    }
  });
  addEventListener("hashchange", recall);
  filter();
  recall();
})();
