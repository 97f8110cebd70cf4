import { describe, expect, it } from 'vitest';
import { errorCodes, toServiceError } from '../../sidecar/errors.ts';

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
