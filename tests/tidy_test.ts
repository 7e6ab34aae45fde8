// The style of this repository as tests. Each rule is a pure function from files to violations, so
// that below it is shown both to hold for the tree and to catch a file made to break it.
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join, normalize } from "node:path/posix";

interface SourceFile {
  /** Relative to the root of the repository, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

interface Import {
  readonly specifier: string;
  /** Whether the import is gone once types are stripped. */
  readonly typeOnly: boolean;
  readonly line: number;
}

const linesMax = 450;
const columnsMax = 120;

// ---------------------------------------------------------------- parsing

/** Blanks out comments, so that examples in them are not taken for code; keeps every line break. */
function withoutComments(text: string): string {
  // Strings are matched first, and kept, because "https://…" is not a comment.
  const token = /"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|\/\*[^]*?\*\/|\/\/.*/g;
  return text.replace(
    token,
    (found) => found.startsWith("/") ? found.replace(/[^\n]/g, " ") : found,
  );
}

const names = String.raw`\{[^{}]*\}`;
const namespace = String.raw`\*(?:\s*as\s+[\w$]+)?`;
const clause = String.raw`(?:${names}|${namespace}|[\w$]+(?:\s*,\s*(?:${names}|${namespace}))?)`;

/** The imports and re-exports of a file, in no particular order. */
function importsOf(file: SourceFile): Import[] {
  const code = withoutComments(file.text);
  const found: Import[] = [];
  const add = (index: number, specifier: string, typeOnly: boolean) =>
    found.push({ specifier, typeOnly, line: lineAt(code, index) });
  const fromClause = new RegExp(
    String.raw`\b(?:import|export)\b\s*(type\s+)?(${clause})\s*from\s*["']([^"']+)["']`,
    "g",
  );
  for (const match of code.matchAll(fromClause)) {
    add(match.index, match[3], match[1] !== undefined || namesOnlyTypes(match[2]));
  }
  for (const match of code.matchAll(/\bimport\s*["']([^"']+)["']/g)) {
    add(match.index, match[1], false);
  }
  const expression =
    /(\btypeof\s+)?\bimport\s*\(\s*(?:["'`]([^"'`]+)["'`])?[^)]*\)(\s*\.\s*[A-Z])?/g;
  for (const match of code.matchAll(expression)) {
    add(match.index, match[2] ?? "", match[1] !== undefined || match[3] !== undefined);
  }
  return found;
}

/** Whether a clause is `{ type A, type B }`, which leaves nothing to load. */
function namesOnlyTypes(importClause: string): boolean {
  if (!importClause.startsWith("{")) return false;
  const parts = importClause.slice(1, -1).split(",").map((part) => part.trim()).filter(Boolean);
  return parts.length > 0 && parts.every((part) => part.startsWith("type "));
}

function resolveImport(from: string, specifier: string): string | undefined {
  return /^\.\.?\//.test(specifier) ? normalize(join(dirname(from), specifier)) : undefined;
}

function lineAt(text: string, index: number): number {
  return text.slice(0, index).split("\n").length;
}

// ---------------------------------------------------------------- the rules

type Layer = "mod" | "core" | "src/deno" | "ffi" | "libusockets";

const mayImport: Record<Layer, readonly Layer[]> = {
  mod: ["mod", "core", "src/deno", "ffi"],
  // Not even mod.ts, which would bring both backends along.
  core: ["core"],
  "src/deno": ["core", "src/deno"],
  ffi: ["core", "ffi"],
  // The header is a layer over what programs use, and over nothing below that.
  libusockets: ["mod", "libusockets"],
};

function layerOf(path: string): Layer | undefined {
  if (path === "mod.ts") return "mod";
  if (path.startsWith("src/deno/")) return "src/deno";
  if (path.startsWith("src/libusockets")) return "libusockets";
  if (path.startsWith("src/")) return "core";
  return path.startsWith("ffi/") ? "ffi" : undefined;
}

/** The core knows no backend, backends do not know each other, and nothing is depended upon. */
function importDirections(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  for (const file of files) {
    const layer = layerOf(file.path);
    if (layer === undefined) continue;
    for (const { specifier, line } of importsOf(file)) {
      if (specifier.startsWith("node:")) continue;
      const at = `${file.path}:${line}`;
      const target = resolveImport(file.path, specifier);
      if (target === undefined) {
        violations.push(`${at}: "${specifier}" is neither a relative file nor a node: built-in`);
        continue;
      }
      const targetLayer = layerOf(target);
      if (targetLayer === undefined) violations.push(`${at}: ${target} is not published`);
      else if (!mayImport[layer].includes(targetLayer)) {
        violations.push(`${at}: ${layer} must not import ${targetLayer} (${target})`);
      }
    }
  }
  return violations;
}

/** Native code is the business of ffi/ alone. */
function nativeCallsOnlyInFfi(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  for (const { path, text } of files) {
    if (layerOf(path) === "ffi") continue;
    const code = withoutComments(text);
    for (const { 0: name, index } of code.matchAll(/\bDeno\s*\.\s*(?:dlopen|Unsafe\w*)/g)) {
      violations.push(`${path}:${lineAt(code, index)}: ${name} belongs into ffi/`);
    }
  }
  return violations;
}

/** In a cycle the order of evaluation depends on who is imported first. */
function importCycles(files: readonly SourceFile[]): string[] {
  const imported = new Map<string, string[]>();
  for (const file of files) {
    const targets = importsOf(file)
      .filter(({ typeOnly }) => !typeOnly)
      .map(({ specifier }) => resolveImport(file.path, specifier))
      .filter((target) => target !== undefined);
    imported.set(file.path, targets);
  }
  const violations: string[] = [];
  const done = new Set<string>();
  const open: string[] = [];
  const visit = (path: string): void => {
    const start = open.indexOf(path);
    if (start >= 0) violations.push([...open.slice(start), path].join(" -> "));
    if (start >= 0 || done.has(path)) return;
    open.push(path);
    imported.get(path)?.forEach(visit);
    open.pop();
    done.add(path);
  };
  for (const path of imported.keys()) visit(path);
  return violations;
}

/** A file is to be read in one go, a line without scrolling. */
function sizes(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  for (const { path, text } of files) {
    const lines = text.replace(/\n$/, "").split("\n");
    if (lines.length > linesMax) {
      violations.push(`${path}: ${lines.length} lines, more than ${linesMax}`);
    }
    lines.forEach((line, index) => {
      const columns = [...line].length;
      if (columns <= columnsMax || /https?:\/\//.test(line)) return;
      violations.push(`${path}:${index + 1}: ${columns} columns, more than ${columnsMax}`);
    });
  }
  return violations;
}

/** A relative link leads to a file of the repository. */
function brokenLinks(
  files: readonly SourceFile[],
  exists: (path: string) => boolean,
): string[] {
  const violations: string[] = [];
  // [text](target "title"), [label]: target, and the src or href of an HTML tag.
  const link =
    /\]\(\s*<?([^)\s>]+)|^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)|\b(?:src|srcset|href)="([^"\s,]+)/gm;
  for (const { path, text } of files) {
    const blank = (code: string) => code.replace(/[^\n]/g, " ");
    const prose = text.replace(/^ *(`{3,}|~{3,})[^]*?^ *\1/gm, blank).replace(/`[^`\n]+`/g, blank);
    for (const match of prose.matchAll(link)) {
      const target = (match[1] ?? match[2] ?? match[3]).replace(/[?#].*$/, "");
      if (target === "" || /^(?:[a-z][a-z0-9+.-]*:|\/\/)/i.test(target)) continue;
      const decoded = decodeURI(target);
      const resolved = decoded.startsWith("/")
        ? decoded.slice(1)
        : normalize(join(dirname(path), decoded));
      if (exists(resolved)) continue;
      violations.push(`${path}:${lineAt(prose, match.index)}: ${target} does not exist`);
    }
  }
  return violations;
}

/** All who install Deno install the same one. */
function denoVersions(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  let first: { version: string; at: string } | undefined;
  // The look-behind lets the name of the action, setup-deno@v2, pass.
  const named = /(?<![\w/-])deno@([\w.^~*-]*\w|[*])|\bdeno-version:\s*["']?v?([^\s"'#]+)/g;
  for (const { path, text } of files) {
    for (const match of text.matchAll(named)) {
      const version = match[1] ?? match[2];
      const at = `${path}:${lineAt(text, match.index)}`;
      first ??= { version, at };
      if (!/^\d+\.\d+\.\d+$/.test(version)) {
        violations.push(`${at}: deno@${version} is not a full version`);
      } else if (version !== first.version) {
        violations.push(`${at}: deno@${version}, but ${first.at} names deno@${first.version}`);
      }
    }
  }
  return violations;
}

/**
 * Tests await events. A test that must see that nothing happens may wait for a time, and says so:
 * "no event" in a comment on the same line or the one before.
 */
function sleeps(files: readonly SourceFile[]): string[] {
  const violations: string[] = [];
  const wait = new RegExp(
    [
      String.raw`(?<![.\w$])(?:sleep|delay)(?:Ms|Seconds)?\s*\(`,
      String.raw`["'](?:node:)?timers/promises["']`,
      String.raw`["'][^"'\n]*@std/async(?:@[^"'/]*)?(?:/delay)?["']`,
      // A promise that a timer resolves: new Promise((resolve) => setTimeout(resolve, 50)).
      String.raw`\bPromise(?:<[^>]*>)?\(\s*\(?\s*(?<resolve>[\w$]+)[^)=]*\)?\s*=>\s*\{?\s*` +
      String.raw`setTimeout\(\s*(?:\(\)\s*=>\s*)?\k<resolve>\b`,
    ].join("|"),
    "g",
  );
  for (const { path, text } of files) {
    const code = withoutComments(text);
    const lines = text.split("\n");
    for (const match of code.matchAll(wait)) {
      const line = lineAt(code, match.index);
      if (/\/\/.*\bno event\b/i.test(`${lines[line - 2] ?? ""}\n${lines[line - 1]}`)) continue;
      violations.push(
        `${path}:${line}: waits for a time; await an event, or say why there is none`,
      );
    }
  }
  return violations;
}

// ---------------------------------------------------------------- the tree

const root = new URL("../", import.meta.url);

/** The files at or under `path`, none where it does not exist (yet). */
function filesUnder(path: string, suffix = ""): SourceFile[] {
  const url = new URL(path, root);
  const info = ifFound(() => Deno.statSync(url));
  if (info === undefined) return [];
  if (info.isFile) return path.endsWith(suffix) ? [{ path, text: Deno.readTextFileSync(url) }] : [];
  return [...Deno.readDirSync(url)]
    .filter(({ name }) => name !== "node_modules")
    .sort((a, b) => a.name < b.name ? -1 : 1)
    .flatMap(({ name }) => filesUnder(`${path}/${name}`, suffix));
}

function existsInTree(path: string): boolean {
  return !path.startsWith("..") && ifFound(() => Deno.statSync(new URL(path, root))) !== undefined;
}

function ifFound<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const published = ["mod.ts", "src", "ffi"].flatMap((path) => filesUnder(path, ".ts"));
const prose = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs"]
  .flatMap((path) => filesUnder(path, ".md"));
const installers = ["README.md", "CONTRIBUTING.md", ".ci/run", ".github"]
  .flatMap((path) => filesUnder(path));
// This file is full of things to be caught.
const tests = filesUnder("tests", ".ts").filter(({ path }) => path !== "tests/tidy_test.ts");

Deno.test("tidy: the published files and the tests are found", () => {
  assert(published.some(({ path }) => path.startsWith("src/")));
  assert(tests.length > 0);
});

Deno.test("importDirections() holds", () => {
  assertEquals(importDirections(published), []);
});

Deno.test("nativeCallsOnlyInFfi() holds", () => {
  assertEquals(nativeCallsOnlyInFfi(published), []);
});

Deno.test("importCycles() finds none", () => {
  assertEquals(importCycles(published), []);
});

Deno.test("sizes() holds", () => {
  assertEquals(sizes(published), []);
});

Deno.test("brokenLinks() finds none", () => {
  assertEquals(brokenLinks(prose, existsInTree), []);
});

Deno.test("denoVersions() agree", () => {
  assertEquals(denoVersions(installers), []);
});

Deno.test("sleeps() finds none", () => {
  assertEquals(sleeps(tests), []);
});

// ---------------------------------------------------------------- the rules, broken on purpose

/** Expects exactly these violations, each containing its text. */
function assertViolations(violations: string[], expected: string[]): void {
  assertEquals(violations.length, expected.length, violations.join("\n"));
  expected.forEach((text, index) => assertStringIncludes(violations[index], text));
}

function sample(path: string, ...lines: string[]): SourceFile {
  return { path, text: lines.join("\n") };
}

Deno.test("importsOf() reads every form of import, and no comment or string", () => {
  const imports = importsOf(sample(
    "src/a.ts",
    `import "./effect.ts";`,
    `import d, { e } from './default.ts';`,
    `import * as all from "./all.ts";`,
    `import {`,
    `  one, // a comment`,
    `  type Two,`,
    `} from "./many.ts";`,
    `import type { T } from "./type.ts";`,
    `import { type A, type B } from "./types.ts";`,
    `export * from "./export_all.ts";`,
    `export type { U } from "./export_type.ts";`,
    `export interface I { a: number }`,
    `const later = await import("./later.ts");`,
    `let t: import("./expression.ts").Type;`,
    `const url = "https://example.com"; import "./after_url.ts";`,
    `/** @example import { x } from "./comment.ts"; */`,
    `// import "./comment.ts"`,
    `await import(name);`,
  ));
  const read = imports.map((i) => `${i.line} ${i.specifier}${i.typeOnly ? " type" : ""}`).sort();
  assertEquals(
    read,
    [
      "1 ./effect.ts",
      "2 ./default.ts",
      "3 ./all.ts",
      "4 ./many.ts",
      "8 ./type.ts type",
      "9 ./types.ts type",
      "10 ./export_all.ts",
      "11 ./export_type.ts type",
      "13 ./later.ts",
      "14 ./expression.ts type",
      "15 ./after_url.ts",
      "18 ",
    ].sort(),
  );
});

Deno.test("importDirections() finds imports across layers and from outside", () => {
  assertViolations(
    importDirections([
      sample("mod.ts", `export * from "./src/loop.ts"; export * from "./ffi/epoll.ts";`),
      sample("src/loop.ts", `import { x } from "./deno/backend.ts";`),
      sample("src/a.ts", `import type { X } from "../ffi/a.ts";`),
      sample("src/b.ts", `import "../mod.ts";`),
      sample("src/libusockets.ts", `import "../mod.ts";`, `import "./libusockets/loop.ts";`),
      sample("src/libusockets/loop.ts", `import "../loop.ts";`),
      sample("src/deno/a.ts", `import "../loop.ts";`, `import "../../ffi/a.ts";`),
      sample("ffi/a.ts", `import "../src/backend.ts";`, `import "../src/deno/a.ts";`),
      sample("ffi/b.ts", `import "node:path"; import "npm:x";`, `import "@std/assert";`),
      sample("ffi/c.ts", `import "../tests/std/assert.ts";`, `await import(name);`),
    ]),
    [
      "src/loop.ts:1: core must not import src/deno",
      "src/a.ts:1: core must not import ffi",
      "src/b.ts:1: core must not import mod",
      "src/libusockets/loop.ts:1: libusockets must not import core",
      "src/deno/a.ts:2: src/deno must not import ffi",
      "ffi/a.ts:2: ffi must not import src/deno",
      `ffi/b.ts:1: "npm:x" is neither`,
      `ffi/b.ts:2: "@std/assert" is neither`,
      "ffi/c.ts:1: tests/std/assert.ts is not published",
      `ffi/c.ts:2: "" is neither`,
    ],
  );
});

Deno.test("nativeCallsOnlyInFfi() finds native calls in src/", () => {
  assertViolations(
    nativeCallsOnlyInFfi([
      sample("ffi/libc.ts", `Deno.dlopen("libc.so.6", {});`),
      sample("src/backend.ts", `// Never Deno.dlopen here.`, `Deno.dlopen("libc.so.6", {});`),
      sample("src/deno/a.ts", `new Deno.UnsafePointerView(pointer);`),
    ]),
    ["src/backend.ts:2: Deno.dlopen", "src/deno/a.ts:1: Deno.UnsafePointerView"],
  );
});

Deno.test("importCycles() finds a cycle of values, and none of types", () => {
  const a = sample("src/a.ts", `import { b } from "./b.ts";`);
  const b = sample("src/b.ts", `import { c } from "./deno/c.ts";`);
  const c = sample("src/deno/c.ts", `import {`, `  type A,`, `  a,`, `} from "../a.ts";`);
  const typesOfA = sample("src/deno/c.ts", `import type { A } from "../a.ts";`);
  assertEquals(importCycles([a, b, c]), ["src/a.ts -> src/b.ts -> src/deno/c.ts -> src/a.ts"]);
  assertEquals(importCycles([a, b, typesOfA]), []);
});

Deno.test("sizes() finds long files and long lines", () => {
  const long = "x".repeat(columnsMax + 1);
  assertViolations(
    sizes([
      { path: "src/fits.ts", text: "x\n".repeat(linesMax) },
      { path: "src/long.ts", text: "x\n".repeat(linesMax + 1) },
      sample("src/wide.ts", "µ".repeat(columnsMax), long, `// https://example.com/${long}`),
    ]),
    ["src/long.ts: 451 lines", "src/wide.ts:2: 121 columns"],
  );
});

Deno.test("brokenLinks() finds links to nothing, and passes over code and the web", () => {
  const there = new Set(["README.md", "docs/parity.md", "docs/chart.svg", "examples"]);
  assertViolations(
    brokenLinks([
      sample("README.md", `[a](docs/parity.md#rows) ![b](docs/chart.svg) [c](./examples) [d](#e)`),
      sample(
        "docs/a.md",
        `[up](../README.md) [root](/docs/parity.md) <https://x.org> [x](http://x)`,
      ),
      sample("docs/b.md", `text`, `[gone](parity.md) and [gone](gone.md "title")`, `[r]: gone.svg`),
      sample(
        "docs/c.md",
        `<source srcset="gone.svg 2x">`,
        "`[x](gone)`",
        "```",
        "[x](gone)",
        "```",
      ),
      sample("docs/d.md", "```", "code", "```", `[outside](../../other)`),
    ], (path) => there.has(path)),
    [
      "docs/b.md:2: gone.md does not exist",
      "docs/b.md:3: gone.svg does not exist",
      "docs/c.md:1: gone.svg does not exist",
      "docs/d.md:4: ../../other does not exist",
    ],
  );
});

Deno.test("denoVersions() finds another version, and one that is not pinned", () => {
  assertViolations(
    denoVersions([
      sample(".ci/run", `npx -y deno@2.9.6 task check`),
      sample("README.md", `Install it with npm install -g deno@2.9.6. Or deno@2.9.5.`),
      sample(".github/workflows/ci.yml", `uses: denoland/setup-deno@v2`, `deno-version: v2.x`),
      sample("CONTRIBUTING.md", `npx deno@latest`),
    ]),
    [
      "README.md:1: deno@2.9.5, but .ci/run:1 names deno@2.9.6",
      "ci.yml:2: deno@2.x is not a full version",
      "CONTRIBUTING.md:1: deno@latest is not a full version",
    ],
  );
});

Deno.test("sleeps() finds waits without a reason", () => {
  assertViolations(
    sleeps([
      sample("tests/a_test.ts", `await sleep(50);`, `await delay(50);`, `loop.delay(1);`),
      sample("tests/b_test.ts", `await new Promise((resolve) => setTimeout(resolve, 50));`),
      sample("tests/c_test.ts", `await new Promise<void>((done) => {`, `  setTimeout(done, 50);`),
      sample("tests/d_test.ts", `import { setTimeout } from "node:timers/promises";`),
      sample(
        "tests/e_test.ts",
        `const deadline = new Promise((_, reject) => setTimeout(reject, 1000));`,
        `// No event tells that nothing arrives.`,
        `await new Promise((resolve) => setTimeout(resolve, 50));`,
        `// await sleep(50);`,
      ),
    ]),
    ["a_test.ts:1", "a_test.ts:2", "b_test.ts:1", "c_test.ts:1", "d_test.ts:1"],
  );
});
