import { connect, type Socket } from 'node:net';
import { bodyOf } from '../ask.ts';
import type { Edge } from '../children.ts';
import { range, type Scenario, seconds } from '../drill.ts';
import { readersOfLarge } from '../slow-readers.ts';
import { pause, until } from '../until.ts';

/** Seconds that a request may take to arrive, where the default is 120. */
const ARRIVAL = 4;

/** Who ask as they should, at once. */
const CLIENTS = 4;

/** MiB that the edge may have more after it. */
const SPARE = 64;

export const slow: Scenario = {
  name: 'slow',
  title: 'Clients that send, or read, a few bytes at a time, and such as leave',
  async run(drill) {
    const sidecar = await drill.sidecar();
    const edge = await drill.edge([sidecar], { env: { ARRIVAL_TIMEOUT_SECONDS: `${ARRIVAL}` } });
    if (!drill.isShort) await drill.load(edge, drill.asks(400), CLIENTS);
    const before = { sockets: edge.sockets, rss: edge.rss };

    const began = performance.now();
    const senders = range(drill.isShort ? 20 : 200).map(() => sendSlowly(edge));
    const [what] = drill.asksOf(1, 1);
    const leaving = range(10).map(() =>
      leaveSoon(edge, JSON.stringify({ ...bodyOf(what!), seed: 999, steps: 500 })),
    );
    const others = await drill.load(edge, drill.asks(drill.isShort ? 16 : 400), CLIENTS);
    drill.answered(others);

    const refusals = await Promise.all(senders);
    const told = refusals.filter((text) => text.startsWith('HTTP/1.1 408')).length;
    const reset = refusals.filter((text) => text === RESET).length;
    drill.promise(
      `who does not send a request within ${ARRIVAL} s is answered with 408, and its connection closed`,
      `${told} of ${refusals.length}${reset > 0 ? `, ${reset} closed as they wrote on, before they read it` : ''}, within ${seconds(performance.now() - began)}`,
      told + reset === refusals.length && told > reset,
    );
    await Promise.all(leaving);
    await drill.settled(sidecar, {});
    // Those of the others are kept for their next request.
    const most = before.sockets + 2 * CLIENTS;
    await until(() => !(edge.sockets > most));
    drill.promise(
      'the edge keeps none of their connections',
      `${before.sockets} sockets before, ${edge.sockets} after, with those of the others`,
      !(edge.sockets > most),
    );
    // What a first few requests take is no level.
    if (!drill.isShort)
      drill.promise(
        `nor memory: within ${SPARE} MiB of what it was before`,
        `${before.rss.toFixed(0)} MiB before, ${edge.rss.toFixed(0)} after`,
        !(edge.rss > before.rss + SPARE),
      );
    await readersOfLarge(drill);
  },
};

/** A request's bytes one at a time, until the edge has had enough: what it said. */
function sendSlowly(edge: Edge): Promise<string> {
  const socket = open(edge);
  const bytes = `POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 10000\r\ncontent-type: application/json\r\n\r\n${' '.repeat(10_000)}`;
  let sent = 0;
  // Whoever writes as the edge closes the connection may not get to read why: from when it may be closed it waits.
  const timer = setInterval(() => sent < 50 * ARRIVAL && socket.write(bytes[sent++]!), 20);
  return said(socket).finally(() => clearInterval(timer));
}

async function leaveSoon(edge: Edge, body: string): Promise<void> {
  const socket = open(edge);
  socket.write(post(body));
  await pause(300);
  socket.destroy();
}

const post = (body: string, headers = '') =>
  `POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\n${headers}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;

function open(edge: Edge): Socket {
  const { hostname, port } = new URL(edge.url);
  const socket = connect({ host: hostname, port: Number(port), highWaterMark: 256 } as never);
  socket.on('error', () => {});
  return socket;
}

/** Of a connection that was closed while this end was writing: what had come and was not yet read is lost to it. */
const RESET = 'reset';

/** All that comes until the connection is closed; by this end, if the other does not do it in a minute. */
function said(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = '';
    socket.setTimeout(60_000, () => socket.destroy());
    socket.on('data', (chunk) => {
      text += chunk;
    });
    let isReset = false;
    socket.on('error', () => {
      isReset = true;
    });
    socket.on('close', () => resolve(text === '' && isReset ? RESET : text));
  });
}
