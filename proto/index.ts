import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import type { ProtoGrpcType } from './gen/diffusion.ts';

export type { DiffusionClient, DiffusionHandlers } from './gen/latentedge/v1/Diffusion.ts';
export { metadataKeys } from './metadata.ts';

/**
 * The service as grpc-js wants it, from the .proto itself: `diffusion.service` for a server, `new diffusion(address, …)` for
 * a client. Fields in camelCase, 64-bit integers as numbers (exact to 2^53), enums as strings, defaults filled
 * in: what the generated types (proto/gen) say.
 */
export const diffusion = load().latentedge.v1.Diffusion;

function load(): ProtoGrpcType {
  const definition = loadSync('latentedge/v1/diffusion.proto', {
    keepCase: false,
    longs: Number,
    enums: String,
    defaults: true,
    oneofs: true,
    includeDirs: [protoRoot()],
  });
  return loadPackageDefinition(definition) as unknown as ProtoGrpcType;
}

// From sources (proto/) and from the build (dist/proto/).
function protoRoot(): string {
  const roots = ['.', '../../proto'].map((path) => fileURLToPath(new URL(path, import.meta.url)));
  const root = roots.find((path) => existsSync(`${path}/latentedge/v1/diffusion.proto`));
  if (root === undefined) {
    throw new Error(`Expected latentedge/v1/diffusion.proto in ${roots.join(' or ')} but it is in neither`);
  }
  return root;
}
