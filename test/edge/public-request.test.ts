import { describe, expect, it } from 'vitest';
import { isPublic, type PublicRequest, publicRequest } from '../../edge/net/public-request.ts';
import { type Routes, serveRoutes } from '../support/web-server.ts';

const routes: Routes = {
  '/image': (_, response) => response.end('bytes'),
  '/large': (_, response) => response.end(Buffer.alloc(2000)),
  '/endless': (_, response) => {
    response.write('a');
    const more = setInterval(() => response.write('a'), 20);
    response.on('close', () => clearInterval(more));
  },
  '/silent': () => {},
  '/inside': (_, response) => response.writeHead(302, { location: 'http://169.254.169.254/latest' }).end(),
  '/named': (_, response) => response.writeHead(302, { location: 'http://inside.test/' }).end(),
  '/file': (_, response) => response.writeHead(302, { location: 'file:///etc/passwd' }).end(),
  '/once': (_, response) => response.writeHead(302, { location: '/image' }).end(),
  '/round': (_, response) => response.writeHead(302, { location: '/round' }).end(),
};

const served = serveRoutes(routes);

/** As if this server were a public one: `outside.test`. */
const ask = (path: string, options: Partial<PublicRequest> = {}) =>
  publicRequest(new URL(`http://outside.test:${served.port}${path}`), {
    ...{ maxBytes: 1000, timeoutMs: 20_000, redirects: 2 },
    resolve: async (host) => [host === 'outside.test' ? '127.0.0.1' : '10.0.0.1'],
    isAllowed: (address) => address === '127.0.0.1',
    ...options,
  });

describe('publicRequest', () => {
  it('brings what is there, sent on within the limit', async () => {
    expect((await ask('/image')).body.toString()).toBe('bytes');
    expect((await ask('/once')).body.toString()).toBe('bytes');
    await expect(ask('/once', { redirects: 0 })).rejects.toThrow('sends requests on');
    await expect(ask('/round')).rejects.toThrow('sends requests on');
  });

  it.each(['/inside', '/named'])('is not sent on to the inside: %s', async (path) => {
    await expect(ask(path)).rejects.toThrow('is no public address');
  });

  it('is not sent on to files', async () => {
    await expect(ask('/file')).rejects.toThrow('Expected an http or https address');
  });

  it('resolves a name once: a second answer changes nothing', async () => {
    let asked = 0;
    const resolve = async () => [asked++ === 0 ? '127.0.0.1' : '10.0.0.1'];
    expect((await ask('/image', { resolve })).status).toBe(200);
    expect(asked).toBe(1);
  });

  it('takes no name one of whose addresses is inside', async () => {
    await expect(ask('/image', { resolve: async () => ['127.0.0.1', '10.0.0.1'] })).rejects.toThrow(
      'no public',
    );
    await expect(ask('/image', { resolve: async () => [] })).rejects.toThrow('no public');
  });

  it('ends what is too large or too slow', async () => {
    await expect(ask('/large')).rejects.toThrow('more than 1000 bytes');
    await expect(ask('/endless', { timeoutMs: 200 })).rejects.toThrow('takes too long');
    await expect(ask('/silent', { timeoutMs: 200 })).rejects.toThrow('takes too long');
    await expect(ask('/image', { timeoutMs: 100, resolve: () => new Promise(() => {}) })).rejects.toThrow(
      'too long',
    );
  });

  it('refuses the inside in every spelling', async () => {
    const spellings = [
      ...[
        '127.0.0.1',
        '127.1',
        '2130706433',
        '0x7f.1',
        '0177.0.0.1',
        '0.0.0.0',
        '0',
        '10.0.0.1',
        '172.16.0.1',
      ],
      ...['192.168.1.1', '169.254.169.254', '100.64.0.1', '224.0.0.1', '255.255.255.255', '192.0.2.1'],
      ...[
        '[::1]',
        '[::]',
        '[::ffff:127.0.0.1]',
        '[::ffff:7f00:1]',
        '[fe80::1]',
        '[fc00::1]',
        '[fd00:ec2::254]',
      ],
      ...['[64:ff9b::7f00:1]', '[2002:7f00:1::]', '[ff02::1]', '[2001:db8::1]', '[::127.0.0.1]'],
    ];
    for (const host of spellings)
      await expect(
        publicRequest(new URL(`http://${host}/`), { maxBytes: 1, timeoutMs: 500 }),
        host,
      ).rejects.toThrow('is no public address');
    await expect(
      publicRequest(new URL('http://localhost/'), { maxBytes: 1, timeoutMs: 20_000 }),
    ).rejects.toThrow('is no public address');
    for (const address of ['8.8.8.8', '2606:4700::1111', '::ffff:8.8.8.8'])
      expect(isPublic(address)).toBe(true);
  });

  it.each(['ftp://outside.test/', 'file:///etc/passwd', 'http://user:pass@outside.test/'])(
    'refuses %s',
    async (url) => {
      await expect(publicRequest(new URL(url), { maxBytes: 1, timeoutMs: 500 })).rejects.toThrow(
        'Expected an',
      );
    },
  );
});
