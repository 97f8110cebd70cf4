import type { AddressInfo } from 'node:net';
import { serve as serveHttp } from '@hono/node-server';
import { createApp } from '../../edge/app.ts';
import { JobStore } from '../../edge/jobs/store.ts';
import { reference } from '../../edge/reference.ts';
import type { SidecarClient } from '../../edge/sidecar/client.ts';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import type { CallLog } from '../../sidecar/calls.ts';
import { Engine, type EngineOptions } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { serve } from '../../sidecar/main.ts';

export interface Servers {
  engine: Engine;
  sidecar: SidecarClient;
  /** `127.0.0.1:PORT` of the sidecar. */
  address: string;
  /** `http://127.0.0.1:PORT` of the edge. */
  url: string;
  /** Calls that the sidecar has answered. */
  calls: CallLog[];
  stepsRun(): Promise<number>;
  stop(): Promise<void>;
}

/** Sidecar and edge with the embedded model, on ports that are free, in this process but over the wire. */
export async function startServers(options: Partial<EngineOptions> = {}): Promise<Servers> {
  const engine = await Engine.open({ folders: await modelFolders(), concurrency: 2, ...options });
  const calls: CallLog[] = [];
  const server = await serve(engine, { host: '127.0.0.1', port: 0, log: (entry) => calls.push(entry) });
  const sidecar = grpcSidecar(server.address);
  const { fetch } = createApp({ sidecar, reference: reference(), jobs: new JobStore(sidecar) });
  const http = await new Promise<ReturnType<typeof serveHttp>>((resolve) => {
    const listening = serveHttp({ fetch, hostname: '127.0.0.1', port: 0 }, () => resolve(listening));
  });
  return {
    engine,
    sidecar,
    address: server.address,
    url: `http://127.0.0.1:${(http.address() as AddressInfo).port}`,
    calls,
    stepsRun: async () => (await sidecar.deviceInfo()).stepsRun,
    async stop() {
      http.close();
      if ('closeAllConnections' in http) http.closeAllConnections();
      sidecar.close();
      await server.stop(5000);
    },
  };
}
