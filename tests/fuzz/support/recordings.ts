/** What real peers and this library's server said to each other; `../record.ts` records it anew. */

/** Bytes of one direction, until the other side spoke. */
export interface Flight {
  readonly from: "client" | "server";
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** One connection. */
export interface Recording {
  readonly name: string;
  /** The program that was the client. */
  readonly client: string;
  /** What it asked for; `""` for none. */
  readonly serverName: string;
  readonly flights: readonly Flight[];
}

/** As it is kept: hexadecimal, each flight behind `>` for the client's and `<` for the server's. */
interface Kept {
  client: string;
  serverName: string;
  flights: string[];
}

const directory = new URL("../corpora/tls/", import.meta.url);

/** All recordings, by name. */
export function recordings(): Recording[] {
  return [...Deno.readDirSync(directory)].map(({ name }) => name).sort().map((file) => {
    const kept: Kept = JSON.parse(Deno.readTextFileSync(new URL(file, directory)));
    return {
      name: file.replace(/\.json$/, ""),
      client: kept.client,
      serverName: kept.serverName,
      flights: kept.flights.map((flight) => ({
        from: flight.startsWith(">") ? "client" : "server",
        bytes: Uint8Array.fromHex(flight.slice(1)),
      })),
    };
  });
}

/** Keeps one. */
export function keep({ name, client, serverName, flights }: Recording): void {
  const kept: Kept = {
    client,
    serverName,
    flights: flights.map(({ from, bytes }) => (from === "client" ? ">" : "<") + bytes.toHex()),
  };
  Deno.writeTextFileSync(
    new URL(`${name}.json`, directory),
    JSON.stringify(kept, null, 2) + "\n",
  );
}
