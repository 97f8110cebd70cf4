import { expect, it } from 'vitest';
import { accessLogger, logFormat } from '../../edge/log-lines.ts';

const entry = { requestId: 'r1', method: 'POST', path: '/v1/images/generations', status: 200, ms: 12.34 };

it('the log is lines for people or objects, and says nothing of who looks whether all is well', () => {
  const lines: string[] = [];
  for (const format of ['text', 'json'] as const) {
    const log = accessLogger(format, (line) => lines.push(line));
    log(entry);
    log({ ...entry, path: '/healthz' });
  }
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(/^\S+Z POST \/v1\/images\/generations 200 12 ms r1$/);
  expect(JSON.parse(lines[1]!)).toEqual({
    ...{ time: expect.any(String), level: 'info', method: 'POST', path: '/v1/images/generations' },
    ...{ status: 200, ms: 12, request_id: 'r1' },
  });
});

it('what failed on this side is told with its stack', () => {
  const lines: string[] = [];
  const error = new Error('gone');
  accessLogger('json', (line) => lines.push(line))({ ...entry, status: 500, error });
  expect(JSON.parse(lines[0]!)).toMatchObject({ level: 'error', stack: expect.stringContaining('gone') });
});

it('there are no other formats', () => {
  expect(logFormat({})).toBe('text');
  expect(() => logFormat({ LATENT_EDGE_LOG: 'xml' })).toThrow(
    'expected text or json for LATENT_EDGE_LOG but received "xml"',
  );
});
