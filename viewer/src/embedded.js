// Reads what the page carries inside itself; nothing is ever fetched.
import { gzipSync } from "fflate";
import { unpacked } from "./packed.js";

/**
 * @returns {{camera: {worldFromCamera: number[], width: number, height: number, focal: number[], principalPoint: number[]},
 *   pivotDistance: number, path: number[][], pathSeconds: number, count: number}}
 *   The camera is the opening view; lengths of its lens are in pixels of its picture. Poses are row-major 4x4 matrices with OpenGL axes (x right, y up, z backward).
 */
export function readConfiguration(figure) {
  return JSON.parse(figure.querySelector("script[data-configuration]").textContent);
}

/** @returns {Promise<Uint8Array>} the splats as an SPZ file */
export async function readSplatBytes(figure) {
  const holder = figure.querySelector("script[data-splats]");
  const text = atob(holder.textContent.trim());
  // The text is many megabytes and not needed again.
  holder.remove();
  const bytes = new Uint8Array(text.length);
  for (let place = 0; place < text.length; place++) bytes[place] = text.charCodeAt(place);
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const file = unpacked(new Uint8Array(await new Response(plain).arrayBuffer()));
  // An SPZ file is a gzip stream. This one is read at once, so nothing is compressed.
  return gzipSync(file, { level: 0 });
}
