import { Metadata, type StatusObject, status } from '@grpc/grpc-js';
import { expect, it } from 'vitest';
import type { Engine, PartOptions } from '../../sidecar/engine/engine.ts';
import { diffusionService } from '../../sidecar/service.ts';

const tensor = { shape: [1], data: new Float32Array(1) };
const result = { mean: tensor, std: tensor, hiddenStates: tensor, latents: tensor, ...tensor };

/** Handlers before an engine that notes how parts of requests are to be run, and what a call of one comes to. */
function service() {
  const options: PartOptions[] = [];
  const engine = {
    async part(_: unknown, given: PartOptions) {
      options.push(given);
      return result;
    },
    publicMessage: async (text: string) => text,
  };
  type Handler = (call: unknown, answer: (error: StatusObject | null) => void) => void;
  const { handlers } = diffusionService(engine as unknown as Engine) as unknown as {
    handlers: Record<string, Handler>;
  };
  const call = (method: 'Encode' | 'Decode' | 'EncodeText' | 'Denoise', request: object) =>
    new Promise<StatusObject | undefined>((resolve) => {
      const end = () => resolve(undefined);
      const streamed = { write: () => true, end, emit: (_: string, error: StatusObject) => resolve(error) };
      const given = { metadata: new Metadata(), on: () => {}, getDeadline: () => Number.POSITIVE_INFINITY };
      const answer = (error: StatusObject | null) => resolve(error ?? undefined);
      handlers[method]!({ request: { texts: ['x'], ...request }, ...given, ...streamed }, answer);
    });
  return { call, options };
}

it.each(['Encode', 'Decode', 'EncodeText', 'Denoise'] as const)('%s has a priority', async (method) => {
  const { call, options } = service();
  for (const priority of ['bulk', 'interactive', ''])
    expect(await call(method, { priority })).toBeUndefined();
  expect(options.map(({ priority }) => priority)).toEqual(['bulk', 'interactive', undefined]);
  const refused = await call(method, { priority: 'high' });
  expect(refused).toMatchObject({ code: status.INVALID_ARGUMENT });
  expect(refused!.metadata.get('error-field')).toEqual(['priority']);
  expect(options).toHaveLength(3);
});
