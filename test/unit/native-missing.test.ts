import { afterEach, expect, test, vi } from 'vitest';
import { native } from '../../sidecar/native.ts';

afterEach(() => vi.unstubAllEnvs());

test('without the addon, the error says which command builds it', () => {
  vi.stubEnv('LATENT_EDGE_ADDON', '/no/such/latent_edge.node');
  expect(() => native()).toThrow(
    'The native addon is not built: looked for /no/such/latent_edge.node. Build it with: npm run build:native',
  );
});
