import type { IncomingMessage, Server } from 'node:http';
import type { Socket } from 'node:net';

/** Milliseconds that are waited for the rest of a body that nobody wants any more, and bytes of it that are taken. */
const [LINGER_MS, LINGER_BYTES] = [5000, 64 * 2 ** 20];

/**
 * Has connections that end within a body end late: what is closed with something unread is reset, and with it goes the
 * reply, which who is still sending has not read. The rest is taken and dropped, for a while.
 */
export function lingering(server: Server): void {
  const requests = new WeakMap<Socket, IncomingMessage>();
  server.on('request', (incoming: IncomingMessage) => requests.set(incoming.socket, incoming));
  server.on('connection', (socket: Socket) => {
    const close = socket.destroySoon.bind(socket);
    // What Node calls after the last reply of a connection.
    socket.destroySoon = () => {
      const incoming = requests.get(socket);
      if (!incoming || incoming.complete || socket.destroyed) return close();
      // It may be called again meanwhile.
      socket.destroySoon = () => {};
      socket.end();
      const timer = setTimeout(() => socket.destroy(), LINGER_MS);
      socket.once('close', () => clearTimeout(timer));
      // Whoever has read it until now may have stopped to.
      incoming.removeAllListeners('data');
      let bytes = 0;
      incoming.on('data', (chunk: Buffer) => {
        bytes += chunk.length;
        if (bytes > LINGER_BYTES) socket.destroy();
      });
      incoming.once('end', () => socket.destroy()).resume();
    };
  });
}
