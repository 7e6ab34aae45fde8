/**
 * Peers that send a RST at every point of a connection's life: the socket closes once and says why,
 * and no other connection notices. On unix sockets only a peer with input unread resets; any other one
 * is gone without a word, which looks like an end.
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { CloseCode, type Handlers, type Socket } from "@usockets/usockets";
import type { Behaviours, Fixture } from "../conformance/fixture.ts";
import { Bystander } from "../conformance/trials.ts";
import { Attackers } from "../support/attackers.ts";
import { Flood } from "../support/flood.ts";
import { RawPeer } from "../support/raw_peer.ts";

const { Clean, Reset } = CloseCode;

/** What a moment is made of. */
interface Attack {
  readonly t: Fixture;
  /** The attacker resets now. */
  readonly reset: () => void;
  /** A second context for the server. */
  readonly adopter: () => ReturnType<Fixture["server"]>;
}

/** One point in the life of a connection: what the two ends do until the attacker resets there. */
interface Moment {
  /** The server's side; `landed` is called when the connection is ready. */
  server: (attack: Attack) => Handlers & { landed?: (socket: Socket) => void };
  /** The attacker's side. */
  attacker?: (attack: Attack) => Handlers & { landed?: (socket: Socket) => void };
  /** How the server's socket closes. */
  code: CloseCode;
  /** The same on unix sockets, where it is not the same. */
  unixCode?: CloseCode;
}

const paused = () => ({ landed: (socket: Socket) => socket.pause() });

/** Writes until nothing more is accepted, finishes, and is reset a moment later. */
const stuffed = ({ t, reset }: Attack, finish: (socket: Socket) => void) => ({
  landed(socket: Socket) {
    const flood = new Flood();
    for (let before = -1; before < flood.accepted;) {
      before = flood.accepted;
      flood.pump(socket);
    }
    finish(socket);
    t.loop.createTimer().set(reset, 20);
  },
});

const moments: Record<string, Moment> = {
  "while megabytes are written to it": {
    server({ t, reset }) {
      const flood = new Flood();
      return {
        landed(socket) {
          flood.pump(socket);
          flood.whenStuck(t, reset);
        },
        onWritable: (socket) => flood.pump(socket),
      };
    },
    attacker: paused,
    code: Reset,
  },
  "in the middle of megabytes that it sends": {
    server: ({ reset }) => ({ onData: reset }),
    attacker() {
      const flood = new Flood();
      return {
        landed: (socket) => flood.pump(socket),
        onWritable: (socket) => flood.pump(socket),
      };
    },
    code: Reset,
    unixCode: Clean,
  },
  "behind its own end": {
    server: ({ t, reset }) => ({
      onEnd(socket) {
        reset();
        t.loop.createTimer().set(
          (timer) => {
            if (socket.isClosed) timer.close();
            else socket.write("anyone?");
          },
          5,
          5,
        );
      },
    }),
    attacker: () => ({ landed: (socket) => socket.shutdown() }),
    code: Reset,
  },
  "behind our end": {
    server: () => ({ landed: (socket) => socket.shutdown() }),
    attacker: ({ reset }) => ({ onEnd: reset }),
    code: Reset,
    unixCode: Clean,
  },
  "right before adopt()": {
    server: ({ reset, adopter }) => ({
      onData(socket) {
        reset();
        adopter().adopt(socket);
      },
    }),
    attacker: () => ({ landed: (socket) => void socket.write("x") }),
    code: Reset,
    unixCode: Clean,
  },
  "right behind adopt()": {
    server: ({ reset, adopter }) => ({
      onData(socket) {
        adopter().adopt(socket).write("welcome");
        reset();
      },
    }),
    attacker: () => ({ landed: (socket) => void socket.write("x") }),
    code: Reset,
  },
  "while its bytes are dropped": {
    server: ({ t, reset }) => ({
      landed(socket) {
        socket.shutdownRead();
        socket.write("go");
        t.loop.createTimer().set(reset, 10);
      },
    }),
    attacker: () => ({ landed: (socket) => void (socket.pause(), socket.write("dropped")) }),
    code: Reset,
  },
  "behind close() with bytes left": {
    server: (attack) => stuffed(attack, (socket) => socket.close()),
    attacker: paused,
    code: Clean,
  },
  "behind end() with bytes left": {
    server: (attack) => stuffed(attack, (socket) => socket.end()),
    attacker: paused,
    code: Reset,
  },
};

/** Handlers with `landed` in its place. */
function landing(t: Fixture, { landed, ...handlers }: ReturnType<Moment["server"]>): Handlers {
  return { ...handlers, [t.transport.isTls ? "onHandshake" : "onOpen"]: landed ?? (() => {}) };
}

export const peersThatReset: Behaviours = (behaviour) => {
  for (const [name, moment] of Object.entries(moments)) {
    behaviour(`a peer that resets ${name} closes one socket only`, async (t) => {
      const attackers = new Attackers(t);
      const codes: number[] = [];
      const onClose = (_socket: Socket, code: number) => {
        codes.push(code);
        listener.close();
      };

      const attack: Attack = {
        t,
        reset: () => victim.reset(),
        adopter: () => t.server({ onClose }),
      };
      const bystander = new Bystander(t, () => codes.length === 1);
      const listener = t.listen(t.server({ ...landing(t, moment.server(attack)), onClose }));
      const handlers = moment.attacker?.(attack) ?? {};
      const context = attackers.context(landing(t, handlers), t.clientTls);
      const victim: Socket = context.connect(t.addressOf(listener));
      await attackers.run();
      const { code, unixCode = code } = moment;
      assertEquals(codes, [t.transport.isUnix ? unixCode : code]);
      assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
      assertEquals(t.loop.stats().open, 0);
    });
  }

  for (const place of ["before it is accepted", "in onPreOpen", "in onOpen"] as const) {
    behaviour(`peers that reset ${place} leave a listener that accepts the next`, async (t) => {
      const count = 40; // waiting a second for each of them would hang
      const peers: RawPeer[] = [];
      const codes: number[] = [];
      let answer = "";
      const resetNext = () => peers.shift()?.vanish();
      const server = t.server({
        onPreOpen() {
          if (place === "in onPreOpen") resetNext();
          return true;
        },
        onOpen() {
          if (place === "in onOpen") resetNext();
        },
        onData: (socket, data) => void socket.write(data),
        onClose: (_socket, code) => void codes.push(code),
      });
      const listener = t.listen(server);
      for (let i = 0; i < count; i++) peers.push(RawPeer.dial(t, listener));
      if (place === "before it is accepted") { while (peers.length > 0) resetNext(); }
      const client = t.client({
        [t.transport.isTls ? "onHandshake" : "onOpen"]: (socket: Socket) => {
          socket.write("still here?");
        },
        onData(socket, data) {
          answer += new TextDecoder().decode(data);
          if (answer === "still here?") socket.end();
        },
        onClose: () => listener.close(),
      });
      t.connect(client, listener);
      await t.run();
      assertEquals(answer, "still here?");
      assertEquals([t.loop.stats().open, peers.length], [0, 0]);
      // the system may keep quiet about who was gone before it was accepted
      assert(codes.length >= 1 && codes.length <= count + 1, `${codes}`);
      // without a word from a unix peer it is no RST, and in TLS a handshake that came to nothing
      const gone = t.transport.isUnix ? Clean : Reset;
      assertEquals(codes.filter((code) => code !== Clean && code !== gone), []);
    });
  }

  behaviour("a server that resets whom it accepts is told to the client once", async (t) => {
    const attackers = new Attackers(t);
    const listener = attackers.context({
      onOpen(socket) {
        socket.reset();
        listener.close();
      },
    }).listen(t.address());
    const heard: unknown[] = [];
    const bystander = new Bystander(t, () => heard.length === 1);
    const client = t.client({
      onOpen: (socket) => void socket.write("hello"),
      onClose: (_socket, code) => void heard.push(code),
      onConnectError: (_socket, error) => void heard.push(error),
    });
    t.connect(client, listener);
    await attackers.run();
    assertEquals(heard.length, 1);
    // a connection that was up is no failed connect
    if (typeof heard[0] === "number") assertNotEquals(heard[0], CloseCode.System);
    assertEquals(bystander.isSound, true, "another connection of the loop was disturbed");
  });
};
