"use strict";
// The page is whole without this: it only hides what the reader does not ask for.
(() => {
  const bar = document.getElementById("filter");
  const words = document.getElementById("words");
  const told = document.getElementById("told");
  const levels = [...bar.querySelectorAll("[name=level]")];
  const items = [...document.querySelectorAll("[data-level]")].map((element) => ({
    element,
    // An exchange is found by the name of its recording, too, which stands above.
    text: ((element.closest(".of-recording")?.firstElementChild.textContent ?? "") + " " + element.textContent).toLowerCase(),
    levels: element.dataset.level.split(" "),
  }));
  const sections = [...document.querySelectorAll("section, .of-recording")]
    .map((element) => ({ element, items: items.filter((item) => element.contains(item.element)) }))
    .filter((section) => section.items.length);

  function apply() {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = levels.filter((box) => box.checked).map((box) => box.value);
    const all = wanted.length === levels.length;
    let articles = 0;
    for (const { element, text, levels: own } of items) {
      const shown = asked.every((word) => text.includes(word)) && (all || own.some((level) => wanted.includes(level)));
      element.hidden = !shown;
      articles += shown && element.tagName === "ARTICLE" ? 1 : 0;
    }
    for (const { element, items: own } of sections) {
      const none = element.querySelector(":scope > .none");
      if (none) none.hidden = own.some((item) => !item.element.hidden);
      if (element.classList.contains("of-recording")) element.hidden = own.every((item) => item.element.hidden);
    }
    told.textContent = asked.length || !all ? `${articles} entries match` : "";
  }

  bar.hidden = false;
  bar.addEventListener("input", apply);
  bar.addEventListener("submit", (event) => event.preventDefault());
  // The browser keeps what was typed when the page is reloaded.
  apply();
})();
