/**
 * The part of `@std/testing/bdd` that the tests here use, with the same signatures, over
 * `Deno.test`. deno.json maps `@std/testing/bdd` to this file, as it does with `./assert.ts`.
 *
 * A case becomes a flat test named "suite > case", so that `--filter` finds it and Deno's
 * sanitizers check it by itself. Only a suite with `beforeAll` or `afterAll` becomes one test with
 * its cases as steps: what such a hook opens outlives a case, which in a flat test is a leak. Deno
 * (2.9) checks such a test for leaks once, at its end, with the options of the suite.
 */

/** The options of a test that suites hand down to their cases. */
export type TestOptions = Pick<
  Deno.TestDefinition,
  "ignore" | "only" | "permissions" | "sanitizeExit" | "sanitizeOps" | "sanitizeResources"
>;

/** A hook of a suite. */
export type Hook = () => void | Promise<void>;
/** The body of a case. */
export type CaseBody = (t: Deno.TestContext) => void | Promise<void>;
/** The body of a suite: it registers cases, hooks and further suites, and must be synchronous. */
export type SuiteBody = () => void | undefined;

/** A case in one object. */
export interface ItDefinition extends TestOptions {
  name: string;
  fn: CaseBody;
}

/** A suite in one object. */
export interface DescribeDefinition extends TestOptions, Partial<Record<HookName, Hook>> {
  name: string;
  fn?: SuiteBody;
}

type Arguments<D extends { name: string; fn?: unknown }> =
  | [definition: D]
  | [name: string, options: Omit<D, "name">]
  | [name: string, fn: NonNullable<D["fn"]>]
  | [fn: NonNullable<D["fn"]>]
  | [name: string, options: Omit<D, "fn" | "name">, fn: NonNullable<D["fn"]>]
  | [options: Omit<D, "fn">, fn: NonNullable<D["fn"]>];

/** The arguments of {@linkcode it}. */
export type ItArgs = Arguments<ItDefinition>;
/** The arguments of {@linkcode describe}. */
export type DescribeArgs = Arguments<DescribeDefinition>;

type HookName = "beforeAll" | "afterAll" | "beforeEach" | "afterEach";

interface Case {
  readonly name: string;
  readonly options: TestOptions;
  readonly body: CaseBody;
}

interface Suite {
  readonly name: string;
  readonly parent: Suite | undefined;
  readonly options: TestOptions;
  readonly hooks: Record<HookName, Hook[]>;
  readonly children: (Suite | Case)[];
}

/** The suite whose body is running, if any: what `it` and the hooks add to. */
let current: Suite | undefined;

/** Registers a suite. */
export function describe(...args: DescribeArgs): void {
  const definition = readArguments<DescribeDefinition>(args);
  const suite: Suite = {
    name: definition.name,
    parent: current,
    options: inherit(current?.options, definition),
    hooks: {
      beforeAll: definition.beforeAll ? [definition.beforeAll] : [],
      afterAll: definition.afterAll ? [definition.afterAll] : [],
      beforeEach: definition.beforeEach ? [definition.beforeEach] : [],
      afterEach: definition.afterEach ? [definition.afterEach] : [],
    },
    children: [],
  };
  current = suite;
  let returned: unknown;
  try {
    returned = definition.fn?.();
  } finally {
    current = suite.parent;
  }
  if (returned !== undefined) {
    throw new TypeError(`Cannot register suite "${suite.name}": its function is asynchronous`);
  }
  // Only when the outermost suite is complete are all hooks known, whatever their place in it.
  if (suite.parent) suite.parent.children.push(suite);
  else registerSuite(suite, suite.name);
}

/** Registers a suite; with any suite or case of this kind in a file, only those run. */
describe.only = (...args: DescribeArgs): void =>
  describe({ ...readArguments<DescribeDefinition>(args), only: true });

/** Registers a suite whose cases are reported as ignored. */
describe.ignore = (...args: DescribeArgs): void =>
  describe({ ...readArguments<DescribeDefinition>(args), ignore: true });

/** Registers a suite whose cases are reported as ignored. */
describe.skip = describe.ignore;

/** Registers a case. */
export function it(...args: ItArgs): void {
  const definition = readArguments<ItDefinition>(args);
  const child: Case = {
    name: definition.name,
    options: inherit(current?.options, definition),
    body: definition.fn,
  };
  if (current) current.children.push(child);
  else Deno.test({ ...child.options, name: child.name, fn: child.body });
}

/** Registers a case; with any suite or case of this kind in a file, only those run. */
it.only = (...args: ItArgs): void => it({ ...readArguments<ItDefinition>(args), only: true });

/** Registers a case that is reported as ignored. */
it.ignore = (...args: ItArgs): void => it({ ...readArguments<ItDefinition>(args), ignore: true });

/** Registers a case that is reported as ignored. */
it.skip = it.ignore;

/** Runs `fn` once, before the first case of the suite. */
export function beforeAll(fn: Hook): void {
  addHook("beforeAll", fn);
}

/** Runs `fn` once, after the last case of the suite, also where cases failed. */
export function afterAll(fn: Hook): void {
  addHook("afterAll", fn);
}

/** Runs `fn` before each case of the suite and of the suites inside, outer suites first. */
export function beforeEach(fn: Hook): void {
  addHook("beforeEach", fn);
}

/** Runs `fn` after each case of the suite and of the suites inside, inner suites first. */
export function afterEach(fn: Hook): void {
  addHook("afterEach", fn);
}

function addHook(name: HookName, fn: Hook): void {
  if (!current) throw new Error(`Cannot use ${name}() outside a suite: call it in describe()`);
  current.hooks[name].push(fn);
}

function registerSuite(suite: Suite, path: string): void {
  if (hasHookForAll(suite)) {
    const only = cases(suite).some((child) => child.options.only);
    Deno.test({
      ...suite.options,
      only,
      name: path,
      fn: (t) => runAsSteps(suite, t, only),
    });
    return;
  }
  for (const child of suite.children) {
    const childPath = `${path} > ${child.name}`;
    if (isSuite(child)) registerSuite(child, childPath);
    else Deno.test({ ...child.options, name: childPath, fn: (t) => runCase(suite, child, t) });
  }
}

async function runAsSteps(suite: Suite, t: Deno.TestContext, onlyMarked: boolean): Promise<void> {
  await runBetween(suite.hooks.beforeAll, suite.hooks.afterAll, async () => {
    for (const child of suite.children) {
      // A step reports its failure to the test by itself, so what it returns is not needed.
      await t.step(stepOf(suite, child, onlyMarked));
    }
  });
}

function stepOf(
  suite: Suite,
  child: Suite | Case,
  onlyMarked: boolean,
): Deno.TestStepDefinition {
  // Steps know no `only`: the unmarked ones are left out here.
  const marked = isSuite(child) ? cases(child).some((c) => c.options.only) : child.options.only;
  return {
    name: child.name,
    ignore: child.options.ignore || (onlyMarked && !marked),
    fn: (t) => isSuite(child) ? runAsSteps(child, t, onlyMarked) : runCase(suite, child, t),
  };
}

function runCase(suite: Suite, child: Case, t: Deno.TestContext): Promise<void> {
  const before: Hook[] = [];
  const after: Hook[] = [];
  for (let s: Suite | undefined = suite; s; s = s.parent) {
    before.unshift(...s.hooks.beforeEach);
    after.push(...s.hooks.afterEach);
  }
  return runBetween(before, after, () => child.body(t));
}

/** Runs `body` between its hooks. Every hook in `after` runs, whatever failed: it is to clean up. */
async function runBetween(
  before: Hook[],
  after: Hook[],
  body: () => void | Promise<void>,
): Promise<void> {
  const errors: unknown[] = [];
  try {
    for (const hook of before) await hook();
    await body();
  } catch (error) {
    errors.push(error);
  }
  for (const hook of after) {
    try {
      await hook();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length === 1) throw errors[0];
  if (errors.length > 1) throw new AggregateError(errors, "A test and its hooks failed");
}

function readArguments<D extends DescribeDefinition | ItDefinition>(args: unknown[]): D {
  const definition: Record<string, unknown> = {};
  let fn: unknown;
  for (const arg of args) {
    if (typeof arg === "string") definition.name = arg;
    else if (typeof arg === "function") fn = arg;
    else Object.assign(definition, arg);
  }
  definition.fn = fn ?? definition.fn;
  if (typeof definition.name !== "string") {
    definition.name = (definition.fn as CaseBody | undefined)?.name ?? "";
  }
  return definition as unknown as D;
}

/** Suites hand their options down; what a suite or case says itself comes first. */
function inherit(outer: TestOptions | undefined, own: TestOptions): TestOptions {
  const options: TestOptions = { ...outer };
  if (own.ignore !== undefined) options.ignore = own.ignore;
  if (own.only !== undefined) options.only = own.only;
  if (own.permissions !== undefined) options.permissions = own.permissions;
  if (own.sanitizeExit !== undefined) options.sanitizeExit = own.sanitizeExit;
  if (own.sanitizeOps !== undefined) options.sanitizeOps = own.sanitizeOps;
  if (own.sanitizeResources !== undefined) options.sanitizeResources = own.sanitizeResources;
  return options;
}

function hasHookForAll(suite: Suite): boolean {
  return suite.hooks.beforeAll.length + suite.hooks.afterAll.length > 0;
}

function cases(suite: Suite): Case[] {
  return suite.children.flatMap((child) => isSuite(child) ? cases(child) : [child]);
}

function isSuite(child: Suite | Case): child is Suite {
  return "children" in child;
}
