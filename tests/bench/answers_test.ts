// The load generator notices every byte that a server gets wrong.
import { assertEquals } from "@std/assert";
import {
  AnswerCheck,
  BLOCK,
  expectEcho,
  expectHttp,
  isOfStream,
} from "../../bench/load/answers.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function response(body: string, date = "now", status = "200 OK"): string {
  return `HTTP/1.1 ${status}\r\nDate: ${date}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** How many of these texts complete an answer, and what is wrong at the end. */
function receive(check: AnswerCheck, ...texts: string[]): [completed: number, problem: string] {
  const completed = texts.filter((text) => check.receive(bytes(text)));
  return [completed.length, check.problem];
}

Deno.test("AnswerCheck counts answers, whole and in parts", () => {
  const check = new AnswerCheck(expectHttp(4));
  const answer = response("xxxx");
  assertEquals(receive(check, answer, answer), [2, ""]);
  assertEquals(receive(check, answer.slice(0, 10), answer.slice(10, 50), answer.slice(50)), [
    1,
    "",
  ]);
  assertEquals(receive(check, answer), [1, ""]);
});

Deno.test("AnswerCheck learns the first answer from parts", () => {
  const check = new AnswerCheck(expectHttp(4));
  assertEquals(receive(check, ...response("xxxx")), [1, ""]);
});

Deno.test("AnswerCheck takes a head that changes, also in the middle of an answer", () => {
  const expectation = expectHttp(4);
  const one = new AnswerCheck(expectation), other = new AnswerCheck(expectation);
  const before = response("xxxx", "1"), after = response("xxxx", "2");
  assertEquals(receive(one, before), [1, ""]);
  assertEquals(receive(one, before.slice(0, 30)), [0, ""]);
  assertEquals(receive(other, after, after), [2, ""]);
  assertEquals(receive(one, before.slice(30), after, before), [3, ""]);
});

Deno.test("AnswerCheck tells what is wrong", () => {
  const problemOf = (...texts: string[]) => receive(new AnswerCheck(expectHttp(4)), ...texts);
  assertEquals(problemOf(response("xxyx")), [0, "a body that differs"]);
  assertEquals(problemOf(response("xxx")), [0, "a body of 3 bytes, not 4"]);
  assertEquals(problemOf(response("xxxx", "", "500 Oh")), [0, "status 500"]);
  assertEquals(problemOf("what?"), [0, "no HTTP/1 response"]);
  const answer = response("xxxx");
  assertEquals(problemOf(answer, answer + answer), [1, "more than one answer to a request"]);
  assertEquals(problemOf(answer, response("xxxy")), [1, "a body that differs"]);
});

Deno.test("AnswerCheck expects echoes byte for byte", () => {
  const check = new AnswerCheck(expectEcho(bytes("hello")));
  assertEquals(receive(check, "hello", "he", "llo"), [2, ""]);
  assertEquals(receive(check, "hellO"), [0, "an echo that differs"]);
  assertEquals(receive(new AnswerCheck(expectEcho(bytes("hello"))), "hello!"), [
    0,
    "an echo that differs",
  ]);
});

Deno.test("isOfStream() knows the stream from any position, and finds a wrong byte", () => {
  const stream = new Uint8Array(BLOCK.length * 3).map((_, i) => i & 255);
  assertEquals(isOfStream(stream, 0), true);
  assertEquals(isOfStream(stream.subarray(77), 77), true);
  assertEquals(isOfStream(stream.subarray(77), 78), false);
  for (const index of [0, BLOCK.length, stream.length - 1]) {
    const wrong = stream.slice();
    wrong[index] ^= 1;
    assertEquals(isOfStream(wrong, 0), false);
  }
});
