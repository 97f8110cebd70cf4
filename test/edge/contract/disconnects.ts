import { connect } from 'node:net';
import { expect, it } from 'vitest';
import { fakeSidecar } from '../../support/fake-sidecar.ts';
import type { Edge } from '../../support/runtimes.ts';
import { endStep, generate, generateAndLeave } from './requests.ts';

const patient = { timeout: 20_000 };

/** Clients who leave, at each stage: the work stops within a step, and the edge goes on. */
export function disconnects(edge: () => Edge): void {
  /** Within its fourth step, which does not end by itself. */
  const endless = () => edge().use(fakeSidecar({ steps: 1000, pauseAfter: 3 }));
  const alive = async () => expect((await edge().fetch('/healthz')).status).toBe(200);

  it.each([true, false])('while it works, stream %s', async (stream) => {
    const sidecar = endless();
    const { leave } = generateAndLeave(edge(), { stream });
    await expect.poll(() => sidecar.steps).toBe(3);
    leave();
    await expect.poll(() => sidecar.cancelled, patient).toBe(1);
    expect(sidecar.steps).toBe(3);
    await alive();
  });

  it('who no longer reads', async () => {
    const sidecar = endless();
    const reader = (await generate(edge(), { stream: true })).body!.getReader();
    await reader.read();
    await expect.poll(() => sidecar.steps).toBe(3);
    await reader.cancel();
    endStep(edge());
    await expect.poll(() => sidecar.cancelled, patient).toBe(1);
    expect(sidecar.steps).toBeLessThanOrEqual(4);
    await alive();
  });

  it('while it waits to begin', async () => {
    const sidecar = edge().use(fakeSidecar({ steps: 2, stepMs: 3000 }));
    const { leave } = generateAndLeave(edge(), { stream: true });
    await expect.poll(() => sidecar.requests.length).toBe(1);
    leave();
    await expect.poll(() => sidecar.options[0]!.signal!.aborted).toBe(true);
    await alive();
  });

  it.each([
    ['in its first line', 'POST /v1/ima'],
    ['in its headers', 'POST /v1/images/generations HTTP/1.1\r\nhost: localhost\r\ncontent-ty'],
    [
      'in its body',
      'POST /v1/images/generations HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"prompt"',
    ],
  ])('%s', async (_, bytes) => {
    const sidecar = edge().use(fakeSidecar());
    const socket = connect(Number(new URL(edge().url).port), '127.0.0.1');
    socket.on('error', () => {});
    await new Promise((resolve) => socket.write(bytes, resolve));
    await new Promise((resolve) => setTimeout(resolve, 30));
    socket.resetAndDestroy();
    await alive();
    expect(sidecar.requests).toEqual([]);
  });
}
