import { toBinary } from '@bufbuild/protobuf';
import { diffusionService, toMessage } from '../../proto/web.ts';
import type { GenerateRequest } from './client.ts';

/** SHA-256 of a request as it goes to the sidecar, without its previews, which change no result. */
export async function requestDigest(request: GenerateRequest): Promise<Uint8Array<ArrayBuffer>> {
  const { input } = diffusionService.method.generate;
  const plain = { ...request, previewCount: 0, previewInterval: 0 };
  const bytes = toBinary(input, toMessage(input, plain as Record<string, unknown>));
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>));
}

/** Bytes as hexadecimal digits. */
export function toHex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
