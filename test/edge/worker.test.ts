import { expect, it, vi } from 'vitest';
import worker from '../../edge/worker.ts';

it('says of wrong settings that they are, in the shape of errors, on every route', async () => {
  const log = vi.spyOn(console, 'error').mockImplementation(() => {});
  const API_KEYS = JSON.stringify([{ name: 'ana', sha256: '0'.repeat(64), requests_per_minute: 5 }]);
  for (const [method, path] of [
    ['GET', '/healthz'],
    ['POST', '/v1/images/generations'],
  ]) {
    const request = new Request(`http://edge.example${path}`, { method: method! });
    const response = await worker.fetch(request, { API_KEYS, SIDECAR_URL: 'http://x' }, {} as never);
    expect(response.status).toBe(500);
    expect(response.headers.get('x-request-id')).toBeTruthy();
    expect((await response.json()).error).toMatchObject({ type: 'server_error', code: 'internal' });
  }
  expect(String(log.mock.calls[0]![0])).toContain('requests_per_minute of ana');
  log.mockRestore();
});
