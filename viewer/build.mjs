// Bundles src/ and its packages into what report pages carry, one script and its WebAssembly: node build.mjs SCRIPT WASM
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const [outfile, wasmFile] = process.argv.slice(2);
if (!wasmFile) throw new Error("usage: node build.mjs SCRIPT WASM");

const inThisFolder = (path) => fileURLToPath(new URL(path, import.meta.url));

// Report pages are copied and mailed around: the licences travel with the code.
function licenceNotice(name) {
  const { version } = JSON.parse(readFileSync(inThisFolder(`node_modules/${name}/package.json`)));
  const text = readFileSync(inThisFolder(`node_modules/${name}/LICENSE`), "utf8");
  return `${name} ${version}\n\n${text.trim()}`.replaceAll("*/", "* /");
}

const notices = ["@sparkjsdev/spark", "three", "fflate"].map(licenceNotice).join("\n\n----\n\n");

// Spark holds its WebAssembly as base64, which compresses to half as much again. Pages carry it beside the script.
const embeddedWasm = /decode64\("([A-Za-z0-9+/=]{100000,})"\)/g;
const separateWasm = {
  name: "separate-wasm",
  setup: ({ onLoad }) =>
    onLoad({ filter: /spark\.module\.js$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const found = [...source.matchAll(embeddedWasm)];
      if (found.length !== 1) throw new Error(`${path} holds ${found.length} WebAssembly modules instead of one`);
      writeFileSync(wasmFile, Buffer.from(found[0][1], "base64"));
      return { contents: source.replace(embeddedWasm, "globalThis.scenewrightWasm"), loader: "js" };
    }),
};

await build({
  entryPoints: [inThisFolder("src/main.js")],
  outfile,
  bundle: true,
  plugins: [separateWasm],
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  banner: { js: `/*! This script contains:\n\n${notices}\n*/` },
  // The script is embedded in HTML, where a closing tag inside it would end it.
  supported: { "inline-script": false },
});
