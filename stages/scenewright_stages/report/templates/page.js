"use strict";

// Enlarges a picture when its button is pressed.
function connectLightbox() {
  const dialog = document.getElementById("lightbox");
  if (!dialog) return;
  const [picture, caption] = [dialog.querySelector("img"), dialog.querySelector("p")];
  // Cards of a data set are drawn later, so the page listens and not the buttons.
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button.zoom");
    if (!button) return;
    const shown = button.querySelector("img");
    picture.src = shown.src;
    picture.alt = shown.alt;
    caption.textContent = button.dataset.caption || shown.alt;
    dialog.showModal();
  });
  dialog.addEventListener("click", () => dialog.close());
}

// What an element holds as base64 of gzip; browsers old enough to lack the decompressor lack WebGL 2 too.
function embedded(holder) {
  const bytes = Uint8Array.from(atob(holder.textContent.trim()), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

async function startViewer() {
  const holder = document.getElementById("viewer-script");
  if (!holder) return;
  try {
    globalThis.scenewrightWasm = new Uint8Array(await embedded(document.getElementById("viewer-wasm")).arrayBuffer());
    const script = document.createElement("script");
    script.textContent = await embedded(holder).text();
    document.head.append(script);
  } catch (error) {
    const figure = document.querySelector("[data-splat-viewer]");
    figure.dataset.state = "unsupported";
    figure.querySelector("[data-message]").textContent =
      `This browser cannot show the 3D view (${error.message}). The video shows the same scene.`;
  }
}

// Long lists show their beginning, and the rest on demand; half as much on a phone.
function shortenLists() {
  const narrow = matchMedia("(max-width: 560px)").matches;
  for (const list of document.querySelectorAll("[data-more]")) {
    const most = Math.ceil(Number(list.dataset.more) / (narrow ? 2 : 1));
    const rest = [...list.children].slice(most);
    if (rest.length < 2) continue;
    for (const item of rest) item.hidden = true;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "show-more";
    button.textContent = `Show ${rest.length} more`;
    button.addEventListener("click", () => {
      for (const item of rest) item.hidden = false;
      button.remove();
    });
    list.after(button);
  }
}

connectLightbox();
shortenLists();
startViewer();
