import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ROOT } from '../root.ts';
import { until } from './until.ts';

/** What a process is started with. */
export interface Start {
  env?: Record<string, string>;
  args?: string[];
  /** A command that runs it: `unshare --net sh -c '…'`. */
  within?: string[];
}

/** A sidecar or an edge in a process of its own, which ends with this one. */
export class Child {
  readonly process: ChildProcess;
  /** What it has said on standard error. */
  output = '';
  /** Status, or the signal that ended it. */
  readonly ended: Promise<number | string>;
  #exit: number | string | undefined;

  constructor(script: string, { env = {}, args = [], within = [] }: Start) {
    const before = ['clock', 'held'].flatMap((name) => ['--import', built(`bench/drill/${name}.js`)]);
    const [command, ...rest] = [...within, process.execPath, ...before, join(ROOT, script), ...args];
    this.process = spawn(command!, rest, {
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      env: { ...process.env, LATENT_EDGE_CONFIG: '', ...env },
    });
    this.process.stderr!.on('data', (chunk) => {
      this.output += chunk;
    });
    this.ended = new Promise((resolve) => {
      this.process.once('exit', (status, signal) => {
        this.#exit = signal ?? status ?? 0;
        resolve(this.#exit);
      });
    });
  }

  get isRunning(): boolean {
    return this.#exit === undefined;
  }

  /** What a line of its output has in the place of the expression's group. */
  async said(expression: RegExp): Promise<string> {
    await until(() => expression.test(this.output) || !this.isRunning);
    const found = expression.exec(this.output);
    if (found) return found[1] ?? found[0];
    throw new Error(`Expected ${expression} of a process but it said:\n${this.output}`);
  }

  /** Resident memory in MiB, from Linux's /proc; NaN elsewhere. */
  get rss(): number {
    try {
      const [, kib] = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.process.pid}/status`, 'utf8'))!;
      return Number(kib) / 1024;
    } catch {
      return Number.NaN;
    }
  }

  /** Open sockets, from Linux's /proc; NaN elsewhere. */
  get sockets(): number {
    const folder = `/proc/${this.process.pid}/fd`;
    try {
      return readdirSync(folder).filter((fd) => isSocket(join(folder, fd))).length;
    } catch {
      return Number.NaN;
    }
  }

  /** Sets its clock, as it shows the time of day, so many milliseconds off. */
  setClock(offsetMs: number): void {
    this.process.send({ clockOffsetMs: offsetMs });
  }

  /** Bytes in use, garbage aside. */
  async held(): Promise<number> {
    const told = new Promise<number>((resolve) => {
      const hear = ({ heldBytes }: { heldBytes?: number }) => {
        if (heldBytes === undefined) return;
        this.process.off('message', hear);
        resolve(heldBytes);
      };
      this.process.on('message', hear);
    });
    this.process.send({ isHeldAsked: true });
    const first = await Promise.race([told, this.ended]);
    if (!this.isRunning) throw new Error(`Expected a process that runs but it ended:\n${this.output}`);
    return first as number;
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}

const built = (path: string) => pathToFileURL(join(ROOT, 'dist', path)).href;

function isSocket(fd: string): boolean {
  try {
    return readlinkSync(fd).startsWith('socket:');
  } catch {
    // Closed since the folder was read.
    return false;
  }
}

/** What the metrics say of a sidecar. */
export interface Figures {
  running: number;
  waiting: number;
  /** Requests for pictures that were answered with them. */
  generated: number;
  /** Denoising steps run. */
  steps: number;
  /** Bytes on the device, by what they are used for. */
  memory: Record<string, number>;
  text: string;
}

let lasting = 20_000 + 10 * (process.pid % 1000);

/** A free port that nobody is given who asks for any: for a sidecar that comes back to it. */
export async function lastingPort(): Promise<string> {
  for (;;) {
    const port = lasting++;
    if (await isFree(port)) return `${port}`;
  }
}

/** @throws RangeError beyond 65535 */
function isFree(port: number): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

export class Sidecar extends Child {
  address = '';
  metricsUrl = '';

  /** On ports that are free unless they are given, with one thread, warm. */
  static async start({ env, args = [], within }: Start = {}): Promise<Sidecar> {
    const ports = { GRPC_PORT: '0', METRICS_PORT: '0' };
    const sidecar = new Sidecar('sidecar/bin/latent-edge.mjs', {
      env: { LATENT_EDGE_SETUP: 'off', LATENT_EDGE_THREADS: '1', ...ports, ...env },
      args: ['serve', '--preload', ...args],
      ...(within && { within }),
    });
    sidecar.metricsUrl = await sidecar.said(/metrics at (\S+)/);
    sidecar.address = await sidecar.said(/grpcs?:\/\/(\S+)/);
    return sidecar;
  }

  get port(): string {
    return this.address.split(':').at(-1)!;
  }

  async figures(): Promise<Figures> {
    return figuresOf(await (await fetch(this.metricsUrl)).text());
  }

  /** Until it has nothing to do, and no more than so many bytes of tensors. */
  async idle(tensors = Number.POSITIVE_INFINITY): Promise<Figures> {
    let figures = await this.figures();
    const isIdle = () => figures.running + figures.waiting === 0 && (figures.memory.tensors ?? 0) <= tensors;
    await until(async () => {
      figures = await this.figures();
      return isIdle();
    });
    return figures;
  }
}

/** A sidecar that computes nothing: it answers at once, with one picture for all (bench/edge/instant-sidecar.ts). */
export class InstantSidecar extends Child {
  address = '';
  /** Of its picture, and of its bytes. */
  picture = { bytes: 0, sha256: '' };

  /** @param size of its picture, pixels. */
  static async start(size: number): Promise<InstantSidecar> {
    const sidecar = new InstantSidecar('dist/bench/edge/instant-sidecar.js', { args: [`${size}`] });
    type Told = { port: number; bytes: number; sha256: string };
    const told = new Promise<Told>((resolve) =>
      sidecar.process.once('message', (told) => resolve(told as Told)),
    );
    const first = await Promise.race([told, sidecar.ended]);
    if (typeof first !== 'object') throw new Error(`Expected a sidecar but it ended:\n${sidecar.output}`);
    const { port, ...picture } = first;
    sidecar.address = `127.0.0.1:${port}`;
    sidecar.picture = picture;
    return sidecar;
  }
}

export function figuresOf(text: string): Figures {
  const one = (name: string) => Number(new RegExp(`^${name} (\\S+)`, 'm').exec(text)?.[1]);
  const memory = Object.fromEntries(
    [...text.matchAll(/^latent_edge_memory_bytes\{.*kind="(\w+)".*\} (\S+)/gm)].map(([, kind, bytes]) => [
      kind!,
      Number(bytes),
    ]),
  );
  const [running, waiting] = [one('latent_edge_requests_running'), one('latent_edge_requests_waiting')];
  const generated = Number(/requests_total\{method="Generate",code="ok"\} (\d+)/.exec(text)?.[1] ?? 0);
  const steps = one('latent_edge_steps_total');
  return { running, waiting, generated, steps, memory, text };
}

export class Edge extends Child {
  url = '';

  /** Before these sidecars, keeping no results. */
  static async start(sidecars: readonly string[], { env, ...rest }: Start = {}): Promise<Edge> {
    const edge = new Edge('dist/edge/node.js', {
      env: { HOST: '127.0.0.1', PORT: '0', CACHE_SECONDS: '0', SIDECAR_ADDRESS: sidecars.join(','), ...env },
      ...rest,
    });
    edge.url = await edge.said(/edge: (http\S+)/);
    return edge;
  }
}
