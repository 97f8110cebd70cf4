import { execFileSync } from 'node:child_process';
import { connect, createServer, type Socket } from 'node:net';
import type { Figures, Sidecar } from './children.ts';
import { figuresOf } from './children.ts';
import type { Drill } from './drill.ts';

/** What leads to a sidecar, and can be cut without either end being told. */
export interface Cable {
  /** How it is made. */
  what: string;
  /** Where the edge reaches the sidecar. */
  address: string;
  cut(): void;
  mend(): void;
  /** Of the sidecar, read on its own side. */
  figures(): Promise<Figures>;
}

/** Starts a sidecar at the other end of a cable. */
export function cable(drill: Drill, env: Record<string, string>): Promise<Cable> {
  return drill.hasNetworks ? namespace(drill, env) : proxy(drill, env);
}

// Of a range that is for examples (RFC 5737). They exist in the drill's own networks alone.
const [HERE, THERE] = ['192.0.2.1', '192.0.2.2'];

/** A network namespace of its own, and a pair of virtual interfaces. */
async function namespace(drill: Drill, env: Record<string, string>): Promise<Cable> {
  const ip = (...args: string[]) => execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'inherit'] });
  const within = ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'];
  const sidecar = await drill.sidecar({ env: { GRPC_HOST: '0.0.0.0', ...env }, within });
  const pid = String(sidecar.process.pid);
  const inside = (...args: string[]) =>
    execFileSync('nsenter', ['--target', pid, '--net', ...args], { encoding: 'utf8' });
  ip('link', 'add', 'le-here', 'type', 'veth', 'peer', 'name', 'le-there', 'netns', pid);
  ip('address', 'add', `${HERE}/30`, 'dev', 'le-here');
  ip('link', 'set', 'le-here', 'up');
  inside('ip', 'address', 'add', `${THERE}/30`, 'dev', 'le-there');
  inside('ip', 'link', 'set', 'le-there', 'up');
  const read = `fetch(${JSON.stringify(sidecar.metricsUrl)}).then((r) => r.text()).then(console.log)`;
  return {
    what: 'two network namespaces, joined by a pair of virtual interfaces, of which one is taken down',
    address: `${THERE}:${sidecar.port}`,
    cut: () => void inside('ip', 'link', 'set', 'le-there', 'down'),
    mend: () => void inside('ip', 'link', 'set', 'le-there', 'up'),
    figures: async () => figuresOf(inside(process.execPath, '-e', read)),
  };
}

/** A TCP proxy that stops forwarding, and answers no new connection. */
async function proxy(drill: Drill, env: Record<string, string>): Promise<Cable> {
  const sidecar: Sidecar = await drill.sidecar({ env });
  const sockets = new Set<Socket>();
  let isCut = false;
  const forward = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on('data', (chunk) => isCut || to.write(chunk));
    // That one end has gone is a word too.
    from.on('close', () => {
      sockets.delete(from);
      if (!isCut) to.destroy();
    });
    from.on('error', () => {});
  };
  const server = createServer((here) => {
    // Taken, as by a machine whose programs stand still, and never answered.
    if (isCut) return void sockets.add(here.on('error', () => {}));
    const there = connect(Number(sidecar.port), '127.0.0.1');
    forward(here, there);
    forward(there, here);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  server.unref();
  return {
    what: 'a TCP proxy that stops forwarding: network namespaces are not to be had, or not wanted',
    address: `127.0.0.1:${(server.address() as { port: number }).port}`,
    cut: () => {
      isCut = true;
    },
    mend: () => {
      isCut = false;
      for (const socket of sockets) socket.destroy();
    },
    figures: () => sidecar.figures(),
  };
}
