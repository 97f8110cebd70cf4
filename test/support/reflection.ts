import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { type FileDescriptorProto, FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { type Client, type ClientDuplexStream, credentials, loadPackageDefinition } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const require = createRequire(import.meta.url);
const root = dirname(require.resolve('@grpc/reflection/package.json'));

interface Reply {
  listServicesResponse?: { service: { name: string }[] };
  fileDescriptorResponse?: { fileDescriptorProto: Buffer[] };
}
type Reflection = Client & { ServerReflectionInfo(): ClientDuplexStream<object, Reply> };

/** What grpcurl asks a server: which services there are, and the file that one of them is in. */
export async function reflectedFile(
  address: string,
  symbol: string,
): Promise<{ services: string[]; file: FileDescriptorProto }> {
  const definition = loadPackageDefinition(
    loadSync(join(root, 'build/proto/grpc/reflection/v1/reflection.proto')),
    // biome-ignore lint/suspicious/noExplicitAny: packages are nested as their names are
  ) as any;
  const client: Reflection = new definition.grpc.reflection.v1.ServerReflection(
    address,
    credentials.createInsecure(),
  );
  const call = client.ServerReflectionInfo();
  call.write({ listServices: '' });
  call.write({ fileContainingSymbol: symbol });
  call.end();
  try {
    const replies: Reply[] = [];
    for await (const reply of call) replies.push(reply as Reply);
    const services = replies[0]!.listServicesResponse!.service.map(({ name }) => name);
    const files = replies[1]!.fileDescriptorResponse!.fileDescriptorProto.map((bytes) =>
      fromBinary(FileDescriptorProtoSchema, bytes),
    );
    const file = files.find(({ service }) => service.some(({ name }) => symbol.endsWith(`.${name}`)))!;
    return { services, file };
  } finally {
    client.close();
  }
}
