import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { Calls } from '../../sidecar/calls.ts';
import { errorCodes, errors, toServiceError } from '../../sidecar/errors.ts';

describe('toServiceError', () => {
  it('knows an allocation that failed, on the device or in JavaScript', () => {
    const native = Object.assign(new Error('Not enough memory: cannot allocate 9 bytes for scratch'), {
      code: 'ERR_OUT_OF_MEMORY',
    });
    for (const error of [native, new RangeError('Array buffer allocation failed')])
      expect(toServiceError(error)).toMatchObject({
        code: 'out_of_memory',
        message: expect.stringContaining(error.message),
        retryAfterMs: 5000,
      });
    expect(errorCodes.out_of_memory).toMatchObject({ grpc: 'UNAVAILABLE', http: 503 });
  });

  it('says nothing of other faults', () => {
    const error = toServiceError(Object.assign(new Error('/secret'), { code: 'EIO' }));
    expect(error).toMatchObject({ code: 'internal', message: expect.not.stringContaining('secret') });
  });
});

it('an adapter that is not here: where it was looked for is for those on this machine', async () => {
  const error = errors.adapterNotFound('x', [], ['/models/a/loras', '/models/loras']);
  expect(error.message).toMatch(/there is no such adapter in \/models\/a\/loras or \/models\/loras$/);
  const calls = new Calls({ publicMessage: async (message) => `${message}.` });
  const call = { metadata: new Metadata(), on: () => {}, getDeadline: () => Number.POSITIVE_INFINITY };
  const answer = calls.attend('Generate', call as never, async () => {
    throw error;
  });
  await expect(answer).rejects.toMatchObject({
    details: 'Expected an adapter for adapters but received "x": there is no such adapter here.',
  });
});
