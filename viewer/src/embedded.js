// Reads what the page carries inside itself; nothing is ever fetched.

/**
 * @returns {{camera: {worldFromCamera: number[], width: number, height: number, focal: number[], principalPoint: number[]},
 *   pivotDistance: number, path: number[][], pathSeconds: number, count: number}}
 *   The camera is the opening view; lengths of its lens are in pixels of its picture. Poses are row-major 4x4 matrices with OpenGL axes (x right, y up, z backward).
 */
export function readConfiguration(figure) {
  return JSON.parse(figure.querySelector("script[data-configuration]").textContent);
}

/** @returns {Uint8Array} the splats as an SPZ file */
export function readSplatBytes(figure) {
  const holder = figure.querySelector("script[data-splats]");
  const text = atob(holder.textContent.trim());
  // The text is many megabytes and not needed again.
  holder.remove();
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}
