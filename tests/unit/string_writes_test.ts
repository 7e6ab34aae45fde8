// Strings become bytes in memory that the next string reuses: none may be cut short, or show in another.
import { assertEquals } from "@std/assert";
import { FakeSocket, World } from "../support/fake_loop.ts";
import { OPENED } from "../../src/socket_state.ts";

/** Keeps what it was given, as the backend sees it during the call. */
class Recorder extends FakeSocket {
  readonly sent: Uint8Array[] = [];
  protected override sendBytes = (bytes?: Uint8Array) => {
    this.sent.push(bytes!.slice());
    return bytes!.length;
  };
}

Deno.test("strings of every length and width are written whole", () => {
  const socket = new Recorder(new World().context, OPENED, undefined);
  const texts: string[] = ["", "plain", "\ud800", "x\udfff"];
  for (const unit of ["x", "é", "€", "😀"]) {
    for (const units of [1, 16_383, 21_845, 21_846, 32_768, 65_535, 65_536, 65_537, 200_000]) {
      texts.push(unit.repeat(units), `x${unit.repeat(units)}`);
    }
  }
  for (const text of texts) socket.write(text);
  const encoder = new TextEncoder();
  assertEquals(socket.sent.map(({ length }) => length), texts.map((t) => encoder.encode(t).length));
  texts.forEach((text, index) => {
    assertEquals(indexOfDifference(socket.sent[index], encoder.encode(text)), -1);
  });
});

function indexOfDifference(actual: Uint8Array, expected: Uint8Array): number {
  return expected.findIndex((byte, index) => byte !== actual[index]);
}
