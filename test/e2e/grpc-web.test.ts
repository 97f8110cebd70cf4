import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { grpcWebSidecar } from '../../edge/sidecar/grpc-web.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { type RunningServer, serve } from '../../sidecar/main.ts';

describe('the sidecar over gRPC-Web', () => {
  let server: RunningServer;
  beforeAll(async () => {
    const engine = await Engine.open({ folders: await modelFolders() });
    server = await serve(engine, {
      host: '127.0.0.1',
      port: 0,
      web: { host: '127.0.0.1', port: 0, tokens: ['t'] },
    });
  });
  afterAll(() => server.stop(1000));

  it('gives the image that it gives over gRPC, and asks for its token', async () => {
    const headers = { authorization: 'Bearer t' };
    const url = `http://${server.webAddress}`;
    const clients = [grpcSidecar(server.address), grpcWebSidecar(url, { headers })];
    const images = [];
    for (const client of clients)
      for await (const { result } of client.generate({ prompt: 'red apple', seeds: [7], steps: 2 }))
        if (result) images.push(Buffer.from(result.images[0]!.data));
    expect(images[0]!.length).toBeGreaterThan(1000);
    expect(images[1]!.equals(images[0]!)).toBe(true);
    await expect(grpcWebSidecar(url).listModels()).rejects.toThrow();
    for (const client of clients) client.close();
  });

  it('stops, also while a call is under way', async () => {
    const engine = await Engine.open({ folders: await modelFolders() });
    const stopped = await serve(engine, { host: '127.0.0.1', port: 0, web: { host: '127.0.0.1', port: 0 } });
    const client = grpcWebSidecar(`http://${stopped.webAddress}`);
    let stopping: Promise<void> | undefined;
    const read = async () => {
      for await (const { progress } of client.generate({ prompt: 'x', seeds: [1], steps: 1000 }))
        if (progress) stopping ??= stopped.stop(0);
    };
    await expect(read()).rejects.toMatchObject({ code: 'shutting_down', httpStatus: 503 });
    await stopping;
  });
});
