#!/usr/bin/env node
// Writes proto/gen/descriptor.ts: the contract as a serialized google.protobuf.FileDescriptorProto, for runtimes that
// can neither read files nor make code from strings (Workers). Part of `npm run build:proto`.
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { loadSync } from '@grpc/proto-loader';

const FILE = 'latentedge/v1/diffusion.proto';
const root = fileURLToPath(new URL('.', import.meta.url));

/** What proto-loader leaves out: full names of types, and which fields are `optional`. */
function complete(file) {
  const names = new Map();
  const list = (scope, { messageType = [], nestedType = [], enumType = [] }) => {
    for (const type of [...messageType, ...nestedType, ...enumType]) {
      names.set(`${scope}.${type.name}`, type);
      if (type.field) list(`${scope}.${type.name}`, type);
    }
  };
  list(`.${file.package}`, file);
  const resolve = (scope, name) => {
    for (let at = scope; at; at = at.slice(0, at.lastIndexOf('.')))
      if (names.has(`${at}.${name}`)) return `${at}.${name}`;
    throw new Error(`${FILE}: no type ${name} in ${scope}`);
  };
  for (const [scope, { field = [], oneofDecl = [] }] of names)
    for (const each of field) {
      if (each.typeName && !each.typeName.startsWith('.')) each.typeName = resolve(scope, each.typeName);
      // Unset fields of this message read as their defaults.
      const oneof = Object.hasOwn(each, 'oneofIndex') ? oneofDecl[each.oneofIndex] : undefined;
      if (oneof?.name.startsWith('_')) each.proto3Optional = true;
    }
  file.name = FILE;
  return file;
}

const definitions = loadSync(FILE, { keepCase: true, includeDirs: [root] });
const [bytes] = definitions['latentedge.v1.GenerateRequest'].fileDescriptorProtos;
const file = complete(fromBinary(FileDescriptorProtoSchema, bytes));
const base64 = Buffer.from(toBinary(FileDescriptorProtoSchema, file)).toString('base64');
writeFileSync(
  `${root}gen/descriptor.ts`,
  `// Original file: proto/${FILE}\n\n/** google.protobuf.FileDescriptorProto, base64. */\nexport const descriptor =\n  '${base64}';\n`,
);
