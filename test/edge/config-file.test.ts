import { describe, expect, it } from 'vitest';
import { readSettings } from '../../edge/config.ts';
import { withConfigFile } from '../../edge/config-file.ts';
import { settingsFolder } from '../support/settings-file.ts';

const { fileOf } = settingsFolder();

describe('the file of settings', () => {
  it('says what the environment does not', () => {
    const edge = {
      max_body_bytes: 1000,
      allowed_origins: ['https://a', 'https://b'],
      cache_shared: true,
      cache_seconds: 5,
    };
    const LATENT_EDGE_CONFIG = fileOf({ sidecar: { anything: 1 }, edge });
    const env = { LATENT_EDGE_CONFIG, CACHE_SECONDS: '7', MAX_BODY_BYTES: '' };
    const { limits, guard, cache } = withConfigFile(env, readSettings);
    expect(limits.imageBodyBytes).toBe(1000);
    expect(guard.allowedOrigins).toEqual(['https://a', 'https://b']);
    expect(cache).toMatchObject({ seconds: 7, shared: true });
  });

  it('may hold keys', () => {
    const key = { name: 'ana', sha256: 'ab'.repeat(32), scopes: ['generate'] };
    const { guard } = withConfigFile(
      { LATENT_EDGE_CONFIG: fileOf({ edge: { api_keys: [key] } }) },
      readSettings,
    );
    expect(guard.keys).toMatchObject([{ name: 'ana' }]);
  });

  it.each([
    [
      { edge: { port: '1' } },
      /^expected a whole number for edge.port but received "1", in .+latent-edge.json$/,
    ],
    [
      { edge: { max_body_bytes: 1e9 } },
      /^expected a whole number from 0 to \d+ for edge.max_body_bytes but received "1000000000", in /,
    ],
    [{ edge: { prot: 1 } }, /^expected one of host, port, .+ in edge but received "prot", in /],
    [
      { edge: { sidecar_token: 1 } },
      /^expected text for edge.sidecar_token but received something else, in /,
    ],
    [{ server: {} }, /^expected an object with sidecar and edge/],
    ['{', /^expected a file of settings, JSON: .+, in /],
  ])('refuses %j', (contents, message) => {
    expect(() => withConfigFile({ LATENT_EDGE_CONFIG: fileOf(contents) }, readSettings)).toThrow(message);
  });
});
