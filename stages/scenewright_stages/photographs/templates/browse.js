"use strict";

// Draws the cards of a data set that pass the filters, a screen of them at a time.
function connectBrowser() {
  const section = document.querySelector("[data-browser]");
  if (!section) return;
  const { facets, cards } = JSON.parse(section.querySelector("script[data-cards]").textContent);
  const list = section.querySelector("[data-list]");
  const status = section.querySelector("[data-status]");
  const more = section.querySelector("[data-more-cards]");
  const search = section.querySelector("input[type=search]");
  const overlays = section.querySelector("[data-overlays]");
  const selects = [...section.querySelectorAll("select[data-facet]")];
  const step = matchMedia("(max-width: 560px)").matches ? 8 : 24;
  let matching = cards;

  function make(tag, name, text) {
    const element = document.createElement(tag);
    if (name) element.className = name;
    if (text) element.textContent = text;
    return element;
  }

  function drawLook(look, title) {
    const button = make("button", "zoom");
    button.type = "button";
    button.dataset.caption = `${title}: ${look.words}`;
    button.setAttribute("aria-label", `Enlarge: ${title}, ${look.words}`);
    const picture = make("img");
    Object.assign(picture, { width: look.width, height: look.height, alt: `${title}, ${look.words}`, decoding: "async" });
    picture.src = `data:image/jpeg;base64,${look.jpeg}`;
    button.append(picture);
    if (look.outline) {
      const space = "http://www.w3.org/2000/svg";
      const drawing = document.createElementNS(space, "svg");
      drawing.setAttribute("viewBox", `0 0 ${look.width} ${look.height}`);
      drawing.setAttribute("class", "outline");
      const path = document.createElementNS(space, "path");
      path.setAttribute("d", look.outline);
      drawing.append(path);
      button.append(drawing);
    }
    const figure = make("figure", "look");
    figure.append(button, make("figcaption", "", look.words));
    return figure;
  }

  function drawCard(card) {
    const item = make("li", "pair");
    const pictures = make("div", "looks");
    pictures.append(...card.looks.map((look) => drawLook(look, card.title)));
    const text = make("p");
    const name = make(card.path ? "a" : "strong", "name", card.title);
    if (card.path) name.href = card.path.split("/").map(encodeURIComponent).join("/");
    const values = facets.map(([, options], place) => card.facets[place] >= 0 && options.length > 1 && options[card.facets[place]][0]);
    text.append(name, make("span", "", [...values.filter(Boolean), ...card.facts].join(" · ")));
    item.append(pictures, text);
    return item;
  }

  function drawMore() {
    const shown = list.childElementCount;
    list.append(...matching.slice(shown, shown + step).map(drawCard));
    const left = matching.length - list.childElementCount;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(step, left)} more of ${left.toLocaleString("en")}`;
  }

  function filter() {
    const wanted = selects.map((select) => (select.value === "" ? null : Number(select.value)));
    const words = search.value.trim().toLowerCase();
    matching = cards.filter(
      (card) =>
        wanted.every((value, place) => value === null || card.facets[place] === value) &&
        (words === "" || card.title.toLowerCase().includes(words)),
    );
    list.replaceChildren();
    status.textContent = matching.length === cards.length ? "" : `${matching.length.toLocaleString("en")} match`;
    drawMore();
  }

  for (const control of [...selects, search]) control.addEventListener("input", filter);
  more.addEventListener("click", drawMore);
  overlays?.addEventListener("change", () => list.classList.toggle("plain", !overlays.checked));
  filter();
}

connectBrowser();
