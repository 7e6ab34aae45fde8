/** Peers that reset in the middle of a TLS handshake, or of the step from plain text to TLS. */
import { assertEquals, fail } from "@std/assert";
import { CloseCode, type Socket } from "@usockets/usockets";
import type { Behaviours } from "../conformance/fixture.ts";
import { Bystander } from "../conformance/trials.ts";
import { Attackers, recordClientHello } from "../support/attackers.ts";
import { testCertificates } from "../support/certificates.ts";

export const handshakesCutShort: Behaviours = (behaviour) => {
  for (const point of ["right behind its ClientHello", "when the server has answered"] as const) {
    behaviour(`a client that resets ${point} is onClose(Reset)`, async (t) => {
      const hello = await recordClientHello(t.clientTls!);
      const attackers = new Attackers(t);
      const codes: number[] = [];
      const bystander = new Bystander(t, () => codes.length === 1);
      const listener = t.listen(t.server({
        onOpen() {
          if (point === "right behind its ClientHello") attackers.after(0, () => attacker.reset());
        },
        onHandshake: () => fail("onHandshake"),
        onClose(_socket, code) {
          codes.push(code);
          listener.close();
        },
      }));
      const attacker: Socket = attackers.context({
        onOpen: (socket) => void socket.write(hello),
        onData: (socket) => socket.reset(),
      }).connect(t.addressOf(listener));
      await attackers.run();
      assertEquals(codes, [CloseCode.Reset]);
      assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
    });
  }

  behaviour(
    "a server that resets behind a ClientHello is onClose(Reset) to the client",
    async (t) => {
      const attackers = new Attackers(t);
      const codes: number[] = [];
      const bystander = new Bystander(t, () => codes.length === 1);
      const listener = attackers.context({
        onData(socket) {
          socket.reset();
          listener.close();
        },
      }).listen(t.address());
      const client = t.client({
        onHandshake: () => fail("onHandshake"),
        onClose: (_socket, code) => void codes.push(code),
      });
      t.connect(client, listener);
      await attackers.run();
      assertEquals(codes, [CloseCode.Reset]);
      assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
    },
  );
};

/** On plain TCP, which both backends can step from. */
export const upgradesCutShort: Behaviours = (behaviour) => {
  for (const point of ["before", "behind"] as const) {
    behaviour(
      `a peer that resets right ${point} upgradeTls() closes one socket only`,
      async (t) => {
        const { ca } = await testCertificates();
        const attackers = new Attackers(t);
        const codes: number[] = [];
        let attacker: Socket;
        const bystander = new Bystander(t, () => codes.length === 1);
        const listener = attackers.context({
          onOpen(socket) {
            attacker = socket;
            listener.close();
            socket.write("start");
          },
          onData: (socket) => socket.reset(), // the ClientHello
        }).listen(t.address());
        const client = t.client({
          onData(socket) {
            if (point === "before") attacker.reset();
            socket.upgradeTls({ ca, serverName: "localhost" });
            socket.write("secret");
          },
          onHandshake: () => fail("onHandshake"),
          onClose: (_socket, code) => void codes.push(code),
        });
        t.connect(client, listener);
        await attackers.run();
        assertEquals(codes, [CloseCode.Reset]);
        assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
      },
    );
  }
};
