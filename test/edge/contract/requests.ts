import { request } from 'node:http';
import { expect } from 'vitest';
import type { Edge } from '../../support/runtimes.ts';

/** POST /v1/images/generations */
export function generate(edge: Edge, body: object, init: RequestInit = {}): Promise<Response> {
  return edge.fetch('/v1/images/generations', {
    method: 'POST',
    body: JSON.stringify({ prompt: 'x', ...body }),
    ...init,
    headers: { 'content-type': 'application/json', ...init.headers },
  });
}

/** Server-sent events, each with its name held against its type. */
export async function events(response: Response) {
  const blocks = (await response.text()).split('\n\n').filter((block) => block && !block.startsWith(':'));
  return blocks.map((block) => {
    const [, name, data] = /^event: (.*)\ndata: (.*)$/.exec(block)!;
    const json = JSON.parse(data!);
    if (name !== 'error') expect(json.type).toBe(name);
    return { name: name!, ...json };
  });
}

/**
 * The same, by a client who can leave. It resets its connection: of a mere close workerd, on plain TCP, learns only
 * when it writes next.
 */
export function generateAndLeave(edge: Edge, body: object): { leave(): void } {
  const asked = request(`${edge.url}/v1/images/generations`, {
    method: 'POST',
    agent: false,
    headers: { 'content-type': 'application/json' },
  });
  asked.on('error', () => {});
  asked.on('response', (response) => response.on('error', () => {}).resume());
  asked.end(JSON.stringify({ prompt: 'x', ...body }));
  return { leave: () => asked.socket!.resetAndDestroy() };
}

/** Of a mere close workerd, on plain TCP, learns only when it writes next: at the end of a step that is paused. */
export function endStep({ runtime, sidecar }: Edge): void {
  if (runtime === 'workerd') sidecar.go();
}
