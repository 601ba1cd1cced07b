// Bundles src/ and its packages into the one script that report pages carry: node build.mjs OUTFILE
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const [outfile] = process.argv.slice(2);
if (!outfile) throw new Error("usage: node build.mjs OUTFILE");

const inThisFolder = (path) => fileURLToPath(new URL(path, import.meta.url));

// Report pages are copied and mailed around: the licences travel with the code.
function licenceNotice(name) {
  const { version } = JSON.parse(readFileSync(inThisFolder(`node_modules/${name}/package.json`)));
  const text = readFileSync(inThisFolder(`node_modules/${name}/LICENSE`), "utf8");
  return `${name} ${version}\n\n${text.trim()}`.replaceAll("*/", "* /");
}

const notices = ["@sparkjsdev/spark", "three", "fflate"].map(licenceNotice).join("\n\n----\n\n");

await build({
  entryPoints: [inThisFolder("src/main.js")],
  outfile,
  bundle: true,
  minify: true,
  format: "iife",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none",
  banner: { js: `/*! This script contains:\n\n${notices}\n*/` },
  // The script is embedded in HTML, where a closing tag inside it would end it.
  supported: { "inline-script": false },
});
