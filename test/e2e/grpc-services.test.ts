import { readFileSync } from 'node:fs';
import {
  type ChannelCredentials,
  type Client,
  credentials,
  loadPackageDefinition,
  Metadata,
  type ServiceError,
  status,
} from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { protoPath } from 'grpc-health-check';
import { afterEach, describe, expect, it } from 'vitest';
import { grpcSidecar } from '../../edge/sidecar/grpc.ts';
import { grpcWebSidecar } from '../../edge/sidecar/grpc-web.ts';
import { diffusion } from '../../proto/index.ts';
import { Engine } from '../../sidecar/engine/engine.ts';
import { modelFolders } from '../../sidecar/engine/roots.ts';
import { type RunningServer, type ServeOptions, serve } from '../../sidecar/main.ts';
import { reflectedFile } from '../support/reflection.ts';

// The sidecar as other services and their tools find it: health, reflection, tokens, TLS, the end.

const TOKEN = 'a token of the test';

type Health = Client & {
  Check(request: object, done: (error: ServiceError | null, reply?: { status: string }) => void): void;
  Watch(request: object): AsyncIterable<{ status: string }> & { cancel(): void };
};
const health = loadPackageDefinition(loadSync(protoPath, { enums: String, defaults: true })) as unknown as {
  grpc: { health: { v1: { Health: new (address: string, credentials: ChannelCredentials) => Health } } };
};

const cleanUp: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

async function start(options: Partial<ServeOptions> = {}): Promise<RunningServer> {
  const engine = await Engine.open({ folders: await modelFolders(), concurrency: 2 });
  return serve(engine, { host: '127.0.0.1', port: 0, ...options });
}

async function started(options: Partial<ServeOptions> = {}): Promise<RunningServer> {
  const server = await start(options);
  cleanUp.push(() => server.stop(0));
  await server.ready;
  return server;
}

function healthOf({ address }: RunningServer, insecure = credentials.createInsecure()) {
  const client = new health.grpc.health.v1.Health(address, insecure);
  cleanUp.push(() => client.close());
  const check = (service = '') =>
    new Promise<string>((resolve) => {
      client.Check({ service }, (error, reply) => resolve(error ? status[error.code]! : reply!.status));
    });
  return { client, check };
}

describe('health', () => {
  it('is NOT_SERVING until the sidecar is warm, and knows its models', async () => {
    let warm = () => {};
    const server = await start({
      warmUp: () =>
        new Promise<void>((resolve) => {
          warm = resolve;
        }),
    });
    cleanUp.push(() => server.stop(0));
    const { check } = healthOf(server);
    const sidecar = grpcSidecar(server.address);
    cleanUp.push(() => sidecar.close());
    expect(await check()).toBe('NOT_SERVING');
    expect(await check('latentedge.v1.Diffusion')).toBe('NOT_SERVING');
    expect((await sidecar.deviceInfo()).ready).toBe(false);
    warm();
    await server.ready;
    expect(await check()).toBe('SERVING');
    expect(await check('latentedge.v1.Diffusion')).toBe('SERVING');
    await expect.poll(() => check('latentedge.v1.Diffusion/tiny-emoji-ldm')).toBe('SERVING');
    expect(await check('latentedge.v1.Diffusion/nope')).toBe('NOT_FOUND');
    expect((await sidecar.deviceInfo()).ready).toBe(true);
  });

  it('says so first when the sidecar is stopped; what is in flight is finished', async () => {
    const server = await start();
    await server.ready;
    const { client } = healthOf(server);
    const seen: string[] = [];
    const watching = (async () => {
      for await (const { status } of client.Watch({ service: '' })) seen.push(status);
    })().catch(() => {});
    await expect.poll(() => seen).toEqual(['SERVING']);
    const sidecar = grpcSidecar(server.address);
    cleanUp.push(() => sidecar.close());
    const events: string[] = [];
    let stopped: Promise<void> | undefined;
    for await (const { event, progress } of sidecar.generate({ prompt: 'x', seeds: [1], steps: 12 })) {
      events.push(event!);
      if (progress?.step === 1) stopped = server.stop(60_000);
      if (progress?.step === 2) await expect.poll(() => seen).toEqual(['SERVING', 'NOT_SERVING']);
    }
    expect(events.at(-1)).toBe('result');
    await stopped;
    await watching;
  });

  it('takes requests for as long as it was told to while others learn of it', async () => {
    const server = await start();
    await server.ready;
    const { check } = healthOf(server);
    const sidecar = grpcSidecar(server.address);
    cleanUp.push(() => sidecar.close());
    await sidecar.listModels();
    const stopped = server.stop(60_000, 1500);
    expect(await check()).toBe('NOT_SERVING');
    const events = [];
    for await (const { event } of sidecar.generate({ prompt: 'x', seeds: [1], steps: 1 })) events.push(event);
    expect(events.at(-1)).toBe('result');
    await stopped;
  });
});

it('answers what is left over when its time is over with UNAVAILABLE', async () => {
  const server = await start();
  await server.ready;
  const client = new diffusion(server.address, credentials.createInsecure());
  cleanUp.push(() => client.close());
  let stopped: Promise<void> | undefined;
  const read = async () => {
    for await (const { progress } of client.generate({ prompt: 'x', steps: 1000 }))
      if (progress) stopped ??= server.stop(100);
  };
  await expect(read()).rejects.toMatchObject({ code: status.UNAVAILABLE });
  await stopped;
});

it('tells who asks by reflection what its messages are', async () => {
  const server = await started();
  const { services, file } = await reflectedFile(server.address, 'latentedge.v1.Diffusion');
  expect(services).toEqual(expect.arrayContaining(['latentedge.v1.Diffusion', 'grpc.health.v1.Health']));
  const request = file.messageType.find(({ name }) => name === 'GenerateRequest')!;
  expect(request.field.find(({ name }) => name === 'guidance_scale')).toMatchObject({ proto3Optional: true });
  expect(file.service[0]!.method.map(({ name }) => name)).toEqual(
    expect.arrayContaining(['Generate', 'Encode', 'Decode', 'EncodeText', 'Denoise']),
  );
});

describe('tokens', () => {
  it('are asked for by every service but health, over gRPC and gRPC-Web', async () => {
    const server = await started({
      tokens: ['another token of the test', TOKEN],
      web: { host: '127.0.0.1', port: 0 },
    });
    const url = `http://${server.webAddress}`;
    const refused = [
      grpcSidecar(server.address),
      grpcSidecar(server.address, { token: `${TOKEN}.` }),
      grpcWebSidecar(url),
      grpcWebSidecar(url, { headers: { authorization: TOKEN } }),
    ];
    for (const sidecar of refused)
      await expect(sidecar.listModels()).rejects.toMatchObject({ code: 'sidecar_refused', httpStatus: 502 });
    const taken = [
      grpcSidecar(server.address, { token: TOKEN }),
      grpcWebSidecar(url, { headers: { authorization: `Bearer ${TOKEN}` } }),
    ];
    for (const sidecar of taken) expect(await sidecar.listModels()).not.toHaveLength(0);
    expect(await healthOf(server).check()).toBe('SERVING');
    await expect(reflectedFile(server.address, 'latentedge.v1.Diffusion')).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
    });
    for (const sidecar of [...refused, ...taken]) sidecar.close();

    const client = new diffusion(server.address, credentials.createInsecure());
    cleanUp.push(() => client.close());
    const error = await new Promise<ServiceError>((resolve) => {
      client.listModels({}, new Metadata(), (error) => resolve(error!));
    });
    expect(error.code).toBe(status.UNAUTHENTICATED);
    expect(error.metadata.get('error-code')).toEqual(['unauthenticated']);
  });

  it('are asked for at a port of gRPC-Web that has its own', async () => {
    const server = await started({ web: { host: '127.0.0.1', port: 0, tokens: [TOKEN] } });
    await expect(grpcWebSidecar(`http://${server.webAddress}`).listModels()).rejects.toThrow();
    const open = grpcSidecar(server.address);
    expect(await open.listModels()).not.toHaveLength(0);
    open.close();
  });
});

describe('TLS', () => {
  const pem = (name: string) => readFileSync(new URL(`../fixtures/tls/${name}.pem`, import.meta.url));

  it('is served, and clients without a certificate of the authority are kept out', async () => {
    const tls = { cert: pem('server'), key: pem('server-key') };
    const server = await started({ tls, tokens: [TOKEN] });
    const [token, ca] = [TOKEN, pem('ca')];
    const trusting = grpcSidecar(server.address, { token, tls: { ca } });
    expect(await trusting.listModels()).not.toHaveLength(0);
    const named = grpcSidecar(server.address, { token, tls: { ca, serverName: 'sidecar.test' } });
    expect(await named.listModels()).not.toHaveLength(0);
    for (const options of [{ token }, { token, tls: {} }]) {
      const other = grpcSidecar(server.address, options);
      await expect(other.listModels({ timeoutMs: 20_000 })).rejects.toMatchObject({ httpStatus: 503 });
      other.close();
    }

    const mutual = await started({ tls: { ...tls, clientCa: ca }, web: { host: '127.0.0.1', port: 0 } });
    const known = { ca, cert: pem('client'), key: pem('client-key') };
    const client = grpcSidecar(mutual.address, { tls: known });
    expect(await client.listModels()).not.toHaveLength(0);
    for (const options of [{ ca }, { ca, cert: pem('stranger'), key: pem('stranger-key') }]) {
      const other = grpcSidecar(mutual.address, { tls: options });
      await expect(other.listModels({ timeoutMs: 20_000 })).rejects.toMatchObject({ httpStatus: 503 });
      other.close();
    }
    // The port of gRPC-Web is held to the same.
    await expect(fetch(`https://${mutual.webAddress}/`)).rejects.toThrow();
    for (const sidecar of [trusting, named, client]) sidecar.close();
  });
});
