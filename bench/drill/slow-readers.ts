import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { sha256 } from './ask.ts';
import type { Edge } from './children.ts';
import { type Drill, range, seconds } from './drill.ts';
import { until } from './until.ts';

const READERS = 4;

/** Of each reply, and their size in pixels: together far more than the kernel keeps for a connection that nobody reads. */
const PICTURES = 10;
const SIZE = 768;

/** Looks that find what the kernel has unchanged, before it is taken to have all it takes. */
const LOOKS = 25;

/** Of the replies' text, what the edge may hold besides the pictures: of ten, three are on their way at a time. */
const TEXT_HELD = 0.5;

/** Readers of large replies, who at first read nothing, then slowly: of a sidecar that has them at once. */
export async function readersOfLarge(drill: Drill): Promise<void> {
  const sidecar = await drill.instantSidecar(SIZE);
  const edge = await drill.edge([sidecar.address]);
  const { bytes, sha256: expected } = sidecar.picture;
  const one = { prompt: 'x', seed: 1 };
  for (const _ of range(20)) await whole(edge, one);
  const before = await edge.held();

  const body = JSON.stringify({ ...one, n: PICTURES, stream: true });
  const readers = range(READERS).map(() => new Reader(edge, body));
  const areHeld = await until(() => readers.map((reader) => reader.isHeld()).every(Boolean));
  // The kernel's buffers are full: what is left of the replies is the edge's to keep.
  const kept = readers.map((reader) => reader.onTheWay());
  const held = (await edge.held()) - before;
  const began = performance.now();
  const others = await Promise.all(range(16).map(() => whole(edge, one)));
  const othersMs = performance.now() - began;
  const stillHeld = readers.every((reader) => !reader.isOver);
  const replies = await Promise.all(readers.map((reader) => reader.read()));

  const least = Math.min(...replies.map((reply, i) => reply.length - kept[i]!));
  drill.promise(
    'who does not read holds up the edge’s writing, and nobody else',
    `of replies of ${mib(replies[0]!.length)} the kernel took ${mib(Math.max(...kept))}; ${others.filter((each) => each === expected).length} of ${others.length} others were answered meanwhile, in ${seconds(othersMs)}`,
    areHeld && stillHeld && least > 0 && others.every((each) => each === expected),
  );
  const pictures = replies.flatMap(picturesOf);
  drill.promise(
    'who reads slowly gets the whole reply',
    `${pictures.filter((each) => each === expected).length} of ${READERS * PICTURES} pictures, by SHA-256`,
    pictures.length === READERS * PICTURES && pictures.every((each) => each === expected),
  );
  // Whole replies are kept: the sidecar's answer is one message, with all pictures. But not their text as well.
  const all = READERS * PICTURES * bytes;
  const text = replies.reduce((sum, { length }) => sum + length, 0);
  drill.promise(
    'what is kept for them has a bound: their pictures, once, and half of the replies’ text',
    `${mib(held)} in use more than before, while ${READERS} replies were held up, together ${mib(all)} of pictures and ${mib(text)} of text`,
    held <= all + TEXT_HELD * text,
  );
}

/** Sends a request, and reads nothing of the reply until it is told to. */
class Reader {
  isOver = false;
  readonly #socket: Socket;
  readonly #port: number;
  #looks = 0;
  #before = 0;

  constructor(edge: Edge, body: string) {
    const { hostname, port } = new URL(edge.url);
    this.#port = Number(port);
    this.#socket = connect({ host: hostname, port: this.#port });
    this.#socket.pause();
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.isOver = true;
    });
    this.#socket.write(
      `POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    );
  }

  /** Bytes of the reply that have left the edge: those read, and those in the kernel's buffers, from Linux's /proc. */
  onTheWay(): number {
    const { localPort } = this.#socket;
    if (localPort === undefined) return 0;
    const [here, there] = [localPort, this.#port].map(hex);
    const lines = readFileSync('/proc/self/net/tcp', 'utf8').split('\n');
    const queues = lines.flatMap((line) => {
      const [, local, remote, , queued] = line.trim().split(/\s+/);
      const [sent, received] = (queued ?? '').split(':').map((digits) => Number.parseInt(digits, 16));
      if (local?.endsWith(there!) && remote?.endsWith(here!)) return [sent!];
      return local?.endsWith(here!) && remote?.endsWith(there!) ? [received!] : [];
    });
    return queues.reduce((sum, bytes) => sum + bytes, this.#socket.bytesRead);
  }

  /** Whether nothing has moved for a while; to be asked again and again. */
  isHeld(): boolean {
    const now = this.onTheWay();
    // More than the head of the reply.
    this.#looks = now === this.#before && now > 2 ** 16 ? this.#looks + 1 : 0;
    this.#before = now;
    return this.#looks >= LOOKS;
  }

  /** Some of it every few milliseconds, to its end. */
  async read(): Promise<Buffer> {
    const chunks: Buffer[] = [];
    this.#socket.on('end', () => {});
    await until(() => {
      const chunk = this.#socket.read() as Buffer | null;
      if (chunk) chunks.push(chunk);
      return this.isOver;
    });
    return Buffer.concat(chunks);
  }
}

/** The SHA-256 of a picture that somebody asks for who reads it at once. */
function whole(edge: Edge, body: object): Promise<string> {
  const headers = { 'content-type': 'application/json', accept: 'image/png' };
  return new Promise((resolve, reject) => {
    const sent = request(`${edge.url}/v1/images/generations`, { method: 'POST', headers }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('end', () => resolve(sha256(Buffer.concat(chunks)))).on('error', reject);
    });
    sent.on('error', reject).end(JSON.stringify(body));
  });
}

/** SHA-256 of the pictures in a stream's last events; the reply comes in chunks. */
function picturesOf(reply: Buffer): string[] {
  const body = unchunked(reply);
  const found = body.matchAll(/event: image_generation\.completed\ndata: .*?"b64_json":"([^"]+)"/g);
  return [...found].map(([, picture]) => sha256(Buffer.from(picture!, 'base64')));
}

function unchunked(reply: Buffer): string {
  const parts: string[] = [];
  for (let at = reply.indexOf('\r\n\r\n') + 4; at > 3; ) {
    const end = reply.indexOf('\r\n', at);
    const length = Number.parseInt(reply.toString('latin1', at, end), 16);
    if (!(length > 0)) break;
    parts.push(reply.toString('utf8', end + 2, end + 2 + length));
    at = end + 2 + length + 2;
  }
  return parts.join('');
}

const hex = (port: number) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
