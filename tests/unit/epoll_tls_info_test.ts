// What a program learns of a TLS connection on the epoll backend: socket.tls, and native handles.
import { assert, assertEquals, assertStrictEquals, assertThrows } from "@std/assert";
import { epoll, Loop, type Socket, type TlsInfo } from "@usockets/usockets";
import { X509Certificate } from "node:crypto";
import { testCertificates } from "../support/certificates.ts";
import { nativeTest, runLoop } from "../support/native.ts";
import { assertAgreed, exchange } from "../support/tls_ends.ts";

nativeTest("socket.tls tells everything on both sides", async () => {
  const { server, client, ca } = await testCertificates();
  const outcome = await exchange(
    { ...server, ca, requestCert: true, alpnProtocols: ["h2"] },
    { ca, ...client, alpnProtocols: ["h2"], maxVersion: "TLSv1.2" },
    { serverName: "localhost" },
  );
  assertAgreed(outcome);
  const both = {
    alpnProtocol: "h2",
    serverName: "localhost",
    protocol: "TLSv1.2",
    resumed: false,
    authorized: true,
    authorizationError: null,
    ktls: false,
  };
  for (const { info } of [outcome.client, outcome.server]) {
    const { cipher, peerCertificate: _, ...rest } = plain(info!);
    assertEquals(rest, both);
    assert(/^ECDHE-ECDSA-/.test(cipher!));
  }
  for (
    const [info, cert] of [[outcome.client.info, server.cert], [outcome.server.info, client.cert]]
  ) {
    const expected = new X509Certificate(cert as string);
    const { peerCertificate } = info as TlsInfo;
    assert(peerCertificate instanceof X509Certificate);
    for (
      const field of [
        "subject",
        "issuer",
        "subjectAltName",
        "validFrom",
        "validTo",
        "fingerprint256",
        "serialNumber",
      ] as const
    ) assertEquals(peerCertificate[field], expected[field]);
    assertEquals(peerCertificate.toString(), expected.toString());
    assertEquals(new Uint8Array(peerCertificate.raw), new Uint8Array(expected.raw));
    assertStrictEquals((info as TlsInfo).peerCertificate, peerCertificate); // made once
  }
});

/** All fields by name: those of the prototype too. */
function plain(info: TlsInfo): TlsInfo {
  const {
    alpnProtocol,
    serverName,
    protocol,
    cipher,
    resumed,
    authorized,
    authorizationError,
    peerCertificate,
    ktls,
  } = info;
  return {
    alpnProtocol,
    serverName,
    protocol,
    cipher,
    resumed,
    authorized,
    authorizationError,
    peerCertificate,
    ktls,
  };
}

nativeTest("no server name is told where an address was asked for", async () => {
  const { server, ca } = await testCertificates();
  const { client, server: accepted } = await exchange(server, { ca });
  assertEquals([client.info!.serverName, accepted.info!.serverName], [undefined, undefined]);
  assertEquals(accepted.info!.peerCertificate, null);
});

nativeTest("socket.tls is null until onHandshake, and stays what it was", async () => {
  const { server, ca } = await testCertificates();
  const told: Record<string, unknown[]> = { client: [], server: [] };
  const infos = new Map<Socket, TlsInfo>();
  const loop = new Loop({ backend: epoll });
  const handlers = (name: string) => ({
    onOpen: (socket: Socket) => void told[name].push(["open", socket.tls]),
    onHandshake(socket: Socket, info: TlsInfo) {
      infos.set(socket, info);
      told[name].push(["handshake", socket.tls === info]);
      if (name === "client") socket.end();
    },
    onClose: (socket: Socket) => {
      told[name].push(["close", socket.tls === infos.get(socket)]);
      listener.close();
    },
  });
  const listener = loop.createContext({ tls: server, ...handlers("server") })
    .listen({ host: "127.0.0.1", port: 0 });
  loop.createContext({ tls: { ca }, ...handlers("client") }).connect({ port: listener.port });
  await runLoop(loop);
  const expected = [["open", null], ["handshake", true], ["close", true]];
  assertEquals(told, { client: expected, server: expected });
  for (const [socket, info] of infos) {
    assertStrictEquals(socket.tls, info);
    assertEquals(info.protocol, "TLSv1.3");
  }
  loop.free();
  for (const [socket, info] of infos) assertStrictEquals(socket.tls, info);
});

nativeTest("socket.tls can first be asked for in onClose", async () => {
  const { server, ca } = await testCertificates();
  const protocols: unknown[] = [];
  const loop = new Loop({ backend: epoll });
  const listener = loop.createContext({
    tls: server,
    onData: (socket) => void socket.close(),
    onClose(socket) {
      protocols.push(socket.tls?.protocol);
      listener.close();
    },
  }).listen({ host: "127.0.0.1", port: 0 });
  loop.createContext({
    tls: { ca },
    onOpen: (socket) => void socket.write("hello"),
    onClose: (socket) => void protocols.push(socket.tls?.peerCertificate?.subject),
  }).connect({ port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(protocols, ["TLSv1.3", "CN=localhost"]);
});

nativeTest("socket.tls of a plain socket, and of one whose handshake failed, is null", async () => {
  const { server } = await testCertificates();
  const told: unknown[] = [];
  const loop = new Loop({ backend: epoll });
  const listener = loop.createContext({
    tls: server,
    onClose(socket, code) {
      told.push(["server", code, socket.tls, socket.serverNameUserData]);
      listener.close();
    },
  }).listen({ host: "127.0.0.1", port: 0 });
  loop.createContext({
    onOpen: (socket) => void socket.write("GET / HTTP/1.1\r\n\r\n"),
    onClose: (socket) => void told.push(["client", socket.tls, socket.serverNameUserData]),
  }).connect({ port: listener.port });
  await runLoop(loop);
  loop.free();
  assertEquals(told.sort(), [["client", null, undefined], ["server", -3, null, undefined]]);
});

// ---------------------------------------------------------------- unix paths

nativeTest("TLS works on unix paths, where serverName says who the server is", async () => {
  const { server, ca, otherHost } = await testCertificates();
  const path = `\0usockets-tls-${Deno.pid}`;
  for (const [tls, serverName] of [[server, "localhost"], [otherHost, "other.test"]] as const) {
    const told: string[] = [];
    const loop = new Loop({ backend: epoll });
    const listener = loop.createContext({
      tls,
      onData: (socket, data) => {
        told.push(`${socket.tls!.serverName} ${new TextDecoder().decode(data)}`);
        socket.end();
      },
      onClose: () => listener.close(),
    }).listen({ path });
    const clients = loop.createContext({
      tls: { ca },
      onHandshake: (socket) => void socket.write("hello"),
      onClose: (_socket, code) => void told.push(`close ${code}`),
    });
    assertThrows(() => clients.connect({ path }), TypeError, '"serverName"');
    clients.connect({ path, serverName });
    await runLoop(loop);
    loop.free();
    assertEquals(told, [`${serverName} hello`, "close 0"]);
  }
});

nativeTest("a client that verifies nobody needs no serverName on a unix path", async () => {
  const { server } = await testCertificates();
  const path = `\0usockets-tls-unverified-${Deno.pid}`;
  const told: unknown[] = [];
  const loop = new Loop({ backend: epoll });
  const listener = loop.createContext({
    tls: server,
    onHandshake: (socket, { serverName }) => {
      told.push(serverName);
      socket.end();
    },
    onClose: () => listener.close(),
  }).listen({ path });
  loop.createContext({
    tls: { rejectUnauthorized: false },
    onHandshake: (_socket, info) => void told.push(info.authorized),
  }).connect({ path });
  await runLoop(loop);
  loop.free();
  assertEquals(told.length, 2);
  assert(told.includes(false) && told.includes(undefined), String(told));
});

// ---------------------------------------------------------------- native handles

nativeTest("nativeHandle of a TLS context is a pointer, shared with its children", async () => {
  const { server, ca } = await testCertificates();
  const loop = new Loop({ backend: epoll });
  const context = loop.createContext({ tls: server });
  const child = context.createChild();
  const other = loop.createContext({ tls: { ca } });
  const address = (pointer: unknown) => Deno.UnsafePointer.value(pointer as Deno.PointerObject);
  assert(address(context.nativeHandle) !== 0n);
  assertEquals(address(child.nativeHandle), address(context.nativeHandle));
  assert(address(other.nativeHandle) !== address(context.nativeHandle));
  assertEquals(loop.createContext().nativeHandle, null);
  context.free();
  assertEquals(context.nativeHandle, null);
  assert(child.nativeHandle !== null);
  child.free();
  assertEquals(child.nativeHandle, null);
  loop.free();
  assertEquals(other.nativeHandle, null);
});
