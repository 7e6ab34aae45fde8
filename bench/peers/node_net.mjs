/**
 * The contestant that is node:net and node:tls: on Node, and on what Deno makes of them.
 * @module
 */
import { Buffer } from "node:buffer";
import cluster from "node:cluster";
import { readFileSync } from "node:fs";
import net from "node:net";
import process from "node:process";
import tls from "node:tls";
import * as common from "./common.mjs";

const { compute, endsRequest, isTls, service, workers } = common;
const response = Buffer.from(common.response.buffer);
const block = Buffer.from(common.block.buffer);

/** A connection with more than this unsent is not read from. */
const UNSENT_BYTES = 262_144;

const SERVICES = {
  http(socket) {
    socket.on("data", onRequest).on("drain", socket.resume);
  },
  echo(socket) {
    socket.on("data", onEcho).on("drain", socket.resume);
  },
  sink(socket) {
    socket.count = 0;
    socket.on("data", onSinkData).on("end", onSinkEnd);
  },
  source(socket) {
    socket.on("data", nothing).on("drain", onSourceDrain);
    fill(socket);
  },
};

function onRequest(data) {
  if (!endsRequest(data, data.length)) return;
  compute();
  send(this, response);
}

function onEcho(data) {
  send(this, data);
}

function onSinkData(data) {
  this.count += data.length;
}

function onSinkEnd() {
  this.end(common.countLine(this.count));
}

function onSourceDrain() {
  fill(this);
}

function fill(socket) {
  if (socket.write(block) && !socket.destroyed) setImmediate(fill, socket); // else "drain" follows
}

function send(socket, bytes) {
  if (!socket.write(bytes) && socket.writableLength > UNSENT_BYTES) socket.pause();
}

function nothing() {}

function onConnection(socket) {
  socket.on("error", nothing); // it is closed behind that
  SERVICES[service](socket);
}

function serve() {
  const options = { noDelay: true, allowHalfOpen: service === "sink" };
  const server = isTls
    ? tls.createServer({
      ...options,
      cert: readFileSync(common.cert),
      key: readFileSync(common.key),
    }, onConnection)
    : net.createServer(options, onConnection);
  const { host, backlog } = common;
  server.listen({ host, port: 0, backlog }, () => {
    const { port } = server.address();
    if (cluster.isPrimary) common.ready(port);
    else process.send(port);
  });
}

function startCluster() {
  if (process.versions.deno !== undefined) common.refuse("Deno has no node:cluster");
  let waiting = workers;
  cluster.on("message", (_worker, port) => {
    if (--waiting === 0) common.ready(port);
  });
  for (let i = 0; i < workers; i++) cluster.fork();
}

if (cluster.isPrimary && workers > 1) startCluster();
else serve();
