// Entry point: turns the figure that a report page marks with [data-splat-viewer] into a 3D view.
import { readConfiguration, readSplatBytes } from "./embedded.js";
import { SplatView } from "./view.js";
import { connectButtons, connectKeyboard } from "./interaction.js";

function hasWebGL2() {
  return Boolean(document.createElement("canvas").getContext("webgl2"));
}

function show(figure, state, message) {
  figure.dataset.state = state;
  figure.querySelector("[data-message]").textContent = message ?? "";
}

async function start(figure) {
  if (!hasWebGL2()) {
    show(figure, "unsupported", "This browser has no WebGL 2, which the 3D view needs. The picture is where the path begins, and the video below shows the rest.");
    return;
  }
  try {
    const view = new SplatView(figure.querySelector("[data-stage]"), readConfiguration(figure), {
      onReady: (count) => {
        figure.dataset.splats = String(count);
        show(figure, "ready");
      },
      onContextLost: () => show(figure, "failed", "The graphics device was reset. Reload the page to see the 3D view again."),
    });
    connectButtons(figure, view);
    connectKeyboard(figure, view);
    await view.load(await readSplatBytes(figure));
  } catch (error) {
    console.error(error);
    show(figure, "failed", `The 3D view could not start: ${error.message}`);
  }
}

for (const figure of document.querySelectorAll("[data-splat-viewer]")) start(figure);
