import type { Socket } from 'node:net';
import type { ChannelCredentials } from '@grpc/grpc-js';

interface Connection {
  socket: Socket;
  /** What HTTP/2 speaks over, once there is TLS, if there is to be any. */
  within?: Socket | undefined;
}

/**
 * Has the credentials of one client keep its connections: one that waits for the first word of its other end stays open
 * when gRPC closes the client, for as long as that end says nothing.
 * @returns what closes those, and any that comes about later; it is called once the client is closed.
 */
export function closesSilent(credentials: ChannelCredentials): () => void {
  const connections = new Set<Connection>();
  let isClosed = false;

  const connectorOf = credentials._createSecureConnector.bind(credentials);
  credentials._createSecureConnector = (...args) => {
    const connector = connectorOf(...args);
    const connect = connector.connect.bind(connector);
    connector.connect = async (socket) => {
      if (isClosed) throw new Error('Expected an open client for a connection but it has been closed');
      const connection: Connection = { socket };
      connections.add(connection);
      socket.once('close', () => connections.delete(connection));
      const secured = await connect(socket);
      connection.within = secured.socket;
      return secured;
    };
    return connector;
  };
  return () => {
    isClosed = true;
    for (const { socket, within } of connections) if (!within?.bytesRead) socket.destroy();
  };
}
