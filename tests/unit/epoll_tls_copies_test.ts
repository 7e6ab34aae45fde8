// An OpenSSL whose memory does not work as is known of it: bytes are copied, and all else is the same.
import { assert, assertEquals } from "@std/assert";
import { CloseCode, epoll, Loop, type Socket } from "@usockets/usockets";
import { type Libssl, openLibssl, replaceLibssl } from "../../ffi/tls/libssl.ts";
import {
  AskedOutgoing,
  CopiedIncoming,
  createIncoming,
  createOutgoing,
} from "../../ffi/tls/memory.ts";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest } from "../support/native.ts";
import { concat, pattern, sha256 } from "../support/streams.ts";

/** OpenSSL, but reading from memory fails at these calls. */
function strange(...failing: number[]): Libssl {
  const libssl = openLibssl();
  let calls = 0;
  return {
    ...libssl,
    BIO_read: (bio: Deno.PointerValue, into: BufferSource | null, length: number) =>
      failing.includes(++calls) ? -2 : libssl.BIO_read(bio, into as Uint8Array, length),
  } as Libssl;
}

nativeTest("memory that works otherwise than known is copied from and asked", () => {
  const libssl = openLibssl();
  const incoming = createIncoming(strange(1)), outgoing = createOutgoing(strange(1));
  assert(incoming instanceof CopiedIncoming);
  assert(outgoing instanceof AskedOutgoing);
  for (const bio of [incoming.bio, outgoing.bio]) libssl.BIO_free(bio);
});

nativeTest("a megabyte goes both ways through copies", async () => {
  const { ca, server } = await testCertificates();
  const bytes = pattern(1 << 20);
  const received: Record<string, Uint8Array[]> = { server: [], client: [] };
  const codes: number[] = [];
  const libssl = openLibssl();
  replaceLibssl(strange(1, 4)); // one each of what is tried out
  try {
    using loop = new Loop({ backend: epoll });
    const sent = new WeakMap<Socket, number>();
    const send = (socket: Socket) => {
      const at = (sent.get(socket) ?? 0) + socket.write(bytes.subarray(sent.get(socket) ?? 0));
      sent.set(socket, at);
      if (at === bytes.length) socket.shutdown();
    };
    const end = (name: string) => ({
      onHandshake: send,
      onWritable: send,
      onData: (_socket: Socket, data: Uint8Array) => void received[name].push(data.slice()),
      onEnd: () => {},
      onClose(_socket: Socket, code: number) {
        codes.push(code);
        listener.close();
      },
    });
    const listener = loop.createContext({ tls: server, ...end("server") })
      .listen({ host: "127.0.0.1", port: 0 });
    loop.createContext({ tls: { ca }, ...end("client") })
      .connect({ port: listener.port, serverName: "localhost" });
    await loop.run();
  } finally {
    replaceLibssl(libssl);
  }
  assertEquals(codes, [CloseCode.Clean, CloseCode.Clean]);
  assertEquals(sha256(concat(received.server)), sha256(bytes));
  assertEquals(sha256(concat(received.client)), sha256(bytes));
});
