// Buttons and keys of the view.
const ORBIT_STEP = Math.PI / 36;
const DOLLY_STEP = 0.9;

export function connectButtons(figure, view) {
  const play = figure.querySelector("[data-action=play]");
  play.hidden = !view.path.isPlayable;
  play.addEventListener("click", () => togglePath(view));
  view.container.addEventListener("playing", (event) => {
    play.setAttribute("aria-pressed", String(event.detail));
    play.querySelector("[data-label]").textContent = event.detail ? "Pause path" : "Play camera path";
  });
  figure.querySelector("[data-action=reset]").addEventListener("click", () => view.resetView());
  const inside = figure.querySelector("[data-action=inside]");
  inside.addEventListener("click", () => toggleInside(inside, view));
  const fullscreen = figure.querySelector("[data-action=fullscreen]");
  fullscreen.hidden = !document.fullscreenEnabled;
  fullscreen.addEventListener("click", () => toggleFullscreen(figure));
}

export function connectKeyboard(figure, view) {
  const actions = {
    ArrowLeft: () => view.orbit(-ORBIT_STEP, 0),
    ArrowRight: () => view.orbit(ORBIT_STEP, 0),
    ArrowUp: () => view.orbit(0, ORBIT_STEP),
    ArrowDown: () => view.orbit(0, -ORBIT_STEP),
    "+": () => view.dolly(DOLLY_STEP),
    "=": () => view.dolly(DOLLY_STEP),
    "-": () => view.dolly(1 / DOLLY_STEP),
    r: () => view.resetView(),
    p: () => togglePath(view),
    i: () => toggleInside(figure.querySelector("[data-action=inside]"), view),
  };
  figure.querySelector("[data-stage]").addEventListener("keydown", (event) => {
    const action = actions[event.key];
    if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    action();
  });
}

function togglePath(view) {
  if (view.isPlaying) view.stopPath();
  else if (view.path.isPlayable) view.playPath();
}

function toggleInside(button, view) {
  view.stayInside(!view.staysInside);
  button.setAttribute("aria-pressed", String(view.staysInside));
}

function toggleFullscreen(figure) {
  if (document.fullscreenElement) document.exitFullscreen();
  else figure.requestFullscreen();
}
