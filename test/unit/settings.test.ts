import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readAccess } from '../../sidecar/settings/access.ts';
import { updated } from '../../sidecar/settings/page.ts';
import { readSettings } from '../../sidecar/settings/read.ts';
import { settingsFolder } from '../support/settings-file.ts';

const { folder, fileOf } = settingsFolder();

describe('settings of the sidecar', () => {
  it('are a flag, else a variable, else in the file, else the default', () => {
    const file = fileOf({
      sidecar: { port: 1, grace: 1, queue_limit: 1, memory_budget: '2GiB' },
      edge: { port: 4 },
    });
    const env = { GRPC_PORT: '2', LATENT_EDGE_GRACE: '2', LATENT_EDGE_LOG: '' };
    const settings = readSettings({ flags: { port: '3' }, env, file });
    expect(settings).toMatchObject({
      port: 3,
      grace: 2,
      queue_limit: 1,
      memory_budget: 2 ** 31,
      log: 'text',
    });
    expect(settings.threads).toBeUndefined();
  });

  it('come from the file that LATENT_EDGE_CONFIG names', () => {
    const LATENT_EDGE_CONFIG = fileOf({ sidecar: { preload: true, model: ['a', 'b'] } });
    expect(readSettings({ env: { LATENT_EDGE_CONFIG } })).toMatchObject({ preload: true, model: ['a', 'b'] });
  });

  it.each<[string, object, string]>([
    [
      'a flag',
      { flags: { port: '65536' } },
      'Expected a whole number from 0 to 65535 for --port but received 65536',
    ],
    [
      'a variable',
      { env: { GRPC_PORT: 'x' } },
      'Expected a whole number from 0 to 65535 for GRPC_PORT but received "x"',
    ],
    [
      'a switch',
      { env: { LATENT_EDGE_PRELOAD: 'yes' } },
      'Expected true or false for LATENT_EDGE_PRELOAD but received "yes"',
    ],
    [
      'memory',
      { env: { LATENT_EDGE_MEMORY_BUDGET: 'lots' } },
      'Expected an amount of memory such as "8GiB" or "500MB", or bytes for LATENT_EDGE_MEMORY_BUDGET but received "lots"',
    ],
  ])('say what is wrong with %s', (_, given, message) => {
    expect(() => readSettings(given)).toThrow(message);
  });

  it.each([
    [
      { sidecar: { port: '1' } },
      /^Expected a whole number from 0 to 65535 for sidecar.port but received "1", in .+latent-edge.json$/,
    ],
    [
      { sidecar: { dtype: 'f8' } },
      /^Expected one of f32, f16, bf16 for sidecar.dtype but received "f8", in /,
    ],
    [{ sidecar: { prot: 1 } }, /^Expected one of host, port, .+ in sidecar but received "prot", in /],
    [{ sidecar: { token: 5 } }, /^Expected text for sidecar.token but received something else, in /],
    [{ server: {} }, /^Expected an object with sidecar and edge, .+, in /],
    ['{', /^Expected JSON: .+, in /],
  ])('say what is wrong in a file: %j', (contents, message) => {
    expect(() => readSettings({ file: fileOf(contents) })).toThrow(message);
  });

  it('are all on their page', () => {
    const page = readFileSync(new URL('../../docs/settings.md', import.meta.url), 'utf8');
    expect(page, 'npm run build && node docs/settings.mjs').toBe(updated(page));
  });
});

describe('who is let in', () => {
  const access = (env: Record<string, string>) => readAccess(readSettings({ env }));
  const tls = (name: string) => join(import.meta.dirname, `../fixtures/tls/${name}.pem`);
  const GRPC_TOKEN = '0123456789abcdef';

  it('is whoever is on this machine, and from others who brings a token or a certificate', () => {
    expect(access({})).toEqual({ tokens: [], tls: undefined, web: undefined });
    const open = { GRPC_HOST: '0.0.0.0' };
    expect(() => access(open)).toThrow(/^Expected a token .+ as other machines reach 0.0.0.0/);
    expect(() => access({ GRPC_WEB_PORT: '1', GRPC_WEB_HOST: '::' })).toThrow(/GRPC_WEB_TOKEN.+reach ::/);
    expect(access({ ...open, GRPC_ALLOW_ANONYMOUS: 'true' }).tokens).toEqual([]);
    expect(access({ ...open, GRPC_TOKEN }).tokens).toEqual([GRPC_TOKEN]);
    const certificates = { GRPC_TLS_CERT: tls('server'), GRPC_TLS_KEY: tls('server-key') };
    expect(() => access({ ...open, ...certificates })).toThrow(/^Expected a token/);
    expect(access({ ...open, ...certificates, GRPC_TLS_CLIENT_CA: tls('ca') }).tls!.clientCa).toBeDefined();
    expect(() => access({ GRPC_TLS_CERT: tls('server') })).toThrow(/both GRPC_TLS_CERT and GRPC_TLS_KEY/);
    expect(() => access({ ...certificates, GRPC_TLS_KEY: '/nope' })).toThrow(/for GRPC_TLS_KEY: ENOENT/);
  });

  it('can be told by one of several tokens in a file', () => {
    const file = join(folder, 'tokens');
    writeFileSync(file, `${GRPC_TOKEN}\n\nanother-token-of-it\n`);
    expect(access({ GRPC_TOKEN_FILE: file }).tokens).toEqual([GRPC_TOKEN, 'another-token-of-it']);
    writeFileSync(file, 'short');
    expect(() => access({ GRPC_TOKEN_FILE: file })).toThrow(
      /tokens of 16 visible ASCII characters at least in/,
    );
    expect(() => access({ GRPC_TOKEN: 'short' })).toThrow(/in GRPC_TOKEN$/);
  });
});
