import type { Server } from '@grpc/grpc-js';
import { loadSync, type PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { protoPath } from 'grpc-health-check';
import { descriptor } from '../proto/gen/descriptor.ts';

/** gRPC's own reflection service (v1 and v1alpha): what grpcurl and its like ask for the contract. */
export function addReflection(server: Server): void {
  // The generated descriptor: proto-loader's own leaves out which fields are `optional`.
  const contract = { fileDescriptorProtos: [Buffer.from(descriptor, 'base64')] };
  const files = { ...loadSync(protoPath), 'latentedge.v1.Diffusion': contract };
  new ReflectionService(files as unknown as PackageDefinition).addToServer(server);
}
