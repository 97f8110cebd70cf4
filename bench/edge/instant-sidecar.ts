// A sidecar that answers at once, in a process of its own: what is left is what the edge and the wire cost. Its
// argument is the size of its picture in pixels; it tells its parent its port.
import { createHash, randomFillSync } from 'node:crypto';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Metadata, Server, ServerCredentials, type ServerWritableStream, status } from '@grpc/grpc-js';
import sharp from 'sharp';
import type { GenerateEvent } from '../../proto/gen/latentedge/v1/GenerateEvent.ts';
import type { GenerateRequest__Output } from '../../proto/gen/latentedge/v1/GenerateRequest.ts';
import { diffusion, metadataKeys } from '../../proto/index.ts';

const SIZE = Number(process.argv[2] ?? 512);
const PROMPT = /^(\d+) steps of (\d+) ms$/;
/** Requests under way, before others are refused: more than are sent at once, as it is the edge that is measured. */
const LIMIT = 512;

/** Of a smooth picture with some noise: about as large as a photograph's. */
async function png(): Promise<Buffer> {
  const noise = randomFillSync(new Uint8Array(SIZE * SIZE * 3));
  const data = noise.map((value, i) => 96 + ((i / 3 / SIZE) % SIZE) / 8 + (value >> 4));
  return sharp(data, { raw: { width: SIZE, height: SIZE, channels: 3 } })
    .png({ compressionLevel: 2 })
    .toBuffer();
}

type Call = ServerWritableStream<GenerateRequest__Output, GenerateEvent>;

let running = 0;

async function generate(call: Call, data: Buffer): Promise<void> {
  if (running >= LIMIT) return refuse(call);
  running++;
  const [, steps = '1', ms = '0'] = PROMPT.exec(call.request.prompt) ?? [];
  const [total, stepMs] = [Number(steps), Number(ms)];
  let left = false;
  call.on('cancelled', () => {
    left = true;
  });
  call.write({ queued: { position: 0 } });
  for (let step = 1; step <= total && !left; step++) {
    if (stepMs > 0) await new Promise((resolve) => setTimeout(resolve, stepMs));
    call.write({ progress: { step, total, stepMs } });
  }
  const first = call.request.seeds[0] ?? 0;
  const seeds = Array.from({ length: Math.max(1, call.request.count) }, (_, i) => first + i);
  const image = { data, format: 'IMAGE_FORMAT_PNG', width: SIZE, height: SIZE } as const;
  const effective = {
    ...{ model: 'instant', modelHash: '0'.repeat(64), prompt: call.request.prompt, promptSyntax: 'weighted' },
    ...{ width: SIZE, height: SIZE, count: seeds.length, seeds, steps: total, stepsRun: total },
    ...{ sampler: 'euler', schedule: 'default', decoder: 'model', format: 'IMAGE_FORMAT_PNG' as const },
  };
  call.write({ result: { images: seeds.map((seed) => ({ ...image, seed })), effective, textTokens: 3 } });
  call.end();
  running--;
}

function refuse(call: Call): void {
  const metadata = new Metadata();
  metadata.set(metadataKeys.errorCode, 'queue_full');
  metadata.set(metadataKeys.httpStatus, '429');
  metadata.set(metadataKeys.retryAfterMs, '1000');
  call.emit('error', {
    code: status.RESOURCE_EXHAUSTED,
    details: 'As many requests wait as may wait',
    metadata,
  });
}

const data = await png();
const sha256 = createHash('sha256').update(data).digest('hex');
const server = new Server();
server.addService(diffusion.service, {
  Generate: (call: Call) => void generate(call, data),
  DeviceInfo: (_: unknown, reply: (error: null, value: object) => void) =>
    reply(null, { running, ready: true }),
});
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  // The same bytes over HTTP with nothing before or behind: what a hop costs that carries them.
  const bare = createServer((request, response) => {
    request.resume().on('end', () => {
      response.writeHead(200, { 'content-type': 'image/png', 'content-length': data.length }).end(data);
    });
  });
  bare.listen(0, '127.0.0.1', () => {
    const { port: barePort } = bare.address() as AddressInfo;
    process.send?.({ port, barePort, bytes: data.length, sha256 });
  });
});
process.on('disconnect', () => process.exit(0));
