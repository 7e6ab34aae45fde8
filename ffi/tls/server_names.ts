/**
 * The names that a server has certificates for, matched as µSockets does: label by label, where `*`
 * stands for any one label and an exact label comes before it.
 * @module
 */

interface Node<T> {
  readonly children: Map<string, Node<T>>;
  value: T | undefined;
}

/** What belongs to which pattern. */
export class ServerNames<T> {
  readonly #root: Node<T> = { children: new Map(), value: undefined };
  #size = 0;

  /** How many patterns there are. */
  get size(): number {
    return this.#size;
  }

  /** Adds or replaces a pattern; returns what it had before. */
  set(pattern: string, value: T): T | undefined {
    let node = this.#root;
    for (const label of labelsOf(pattern)) {
      let child = node.children.get(label);
      if (child === undefined) {
        node.children.set(label, child = { children: new Map(), value: undefined });
      }
      node = child;
    }
    const before = node.value;
    node.value = value;
    if (before === undefined) this.#size++;
    return before;
  }

  /** Removes a pattern; returns what it had. */
  delete(pattern: string): T | undefined {
    const removed = remove(this.#root, labelsOf(pattern), 0);
    if (removed !== undefined) this.#size--;
    return removed;
  }

  /** What the best pattern has that matches a name. */
  find(name: string): T | undefined {
    return this.#size === 0 ? undefined : find(this.#root, labelsOf(name), 0);
  }

  /** Everything. */
  values(): T[] {
    return collect(this.#root, []);
  }
}

/** Names are the same in any case, and with the root's dot behind them. */
function labelsOf(name: string): string[] {
  return name.toLowerCase().replace(/\.$/, "").split(".");
}

function find<T>(node: Node<T>, labels: string[], at: number): T | undefined {
  if (at === labels.length) return node.value;
  for (const label of [labels[at], "*"]) {
    const child = node.children.get(label);
    const found = child === undefined ? undefined : find(child, labels, at + 1);
    if (found !== undefined) return found;
  }
  return undefined;
}

function remove<T>(node: Node<T>, labels: string[], at: number): T | undefined {
  if (at === labels.length) {
    const { value } = node;
    node.value = undefined;
    return value;
  }
  const child = node.children.get(labels[at]);
  if (child === undefined) return undefined;
  const value = remove(child, labels, at + 1);
  if (child.value === undefined && child.children.size === 0) node.children.delete(labels[at]);
  return value;
}

function collect<T>(node: Node<T>, into: T[]): T[] {
  if (node.value !== undefined) into.push(node.value);
  for (const child of node.children.values()) collect(child, into);
  return into;
}
