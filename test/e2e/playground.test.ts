import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { promisify } from 'node:util';
import type { Browser, Locator, Page } from 'playwright-core';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { missingBrowser, openBrowser } from '../support/browser.ts';
import { type Servers, startServers } from '../support/servers.ts';

const patient = { timeout: 30_000 };
const run = promisify(execFile);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const why = missingBrowser ? ` (skipped: ${missingBrowser})` : '';

describe.skipIf(missingBrowser)(`the playground${why}`, () => {
  let servers: Servers;
  let browser: Browser;
  let page: Page;
  /** What the browser complained of. */
  const complaints: string[] = [];

  beforeAll(async () => {
    [servers, browser] = await Promise.all([startServers(), openBrowser()]);
    page = await open({ width: 1200, height: 900 });
  });
  afterAll(async () => {
    await browser?.close();
    await servers?.stop();
  });

  async function open(
    viewport: { width: number; height: number },
    colorScheme: 'light' | 'dark' = 'light',
    path = '/',
    ready = '#model option',
  ) {
    const context = await browser.newContext({ viewport, colorScheme, hasTouch: viewport.width < 500 });
    const opened = await context.newPage();
    opened.on('pageerror', (error) => complaints.push(error.message));
    opened.on('console', (message) => {
      if (message.type() === 'error') complaints.push(message.text());
    });
    await opened.goto(servers.url + path);
    await opened.locator(ready).first().waitFor({ state: 'attached' });
    return opened;
  }

  async function generate(prompt: string, fields: Record<string, string>) {
    for (const [id, value] of Object.entries({ prompt, ...fields })) await page.fill(`#${id}`, value);
    await page.keyboard.press('Control+Enter');
  }
  /** The picture is there, and in the history. */
  const finished = () => page.locator('#history [aria-current]').waitFor({ timeout: 60_000 });
  const shown = () => page.locator('#pictures img');
  /** RGBA of an image of the page. */
  const pixelsOf = (img: Locator) =>
    img.evaluate(async (each: HTMLImageElement) => {
      await each.decode();
      const canvas = new OffscreenCanvas(each.naturalWidth, each.naturalHeight);
      const context = canvas.getContext('2d')!;
      context.drawImage(each, 0, 0);
      return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
    });
  const pixelsIn = async (file: Buffer) => [...(await sharp(file).ensureAlpha().raw().toBuffer())];
  const parameter = (name: string) => page.locator(`#effective dt:text-is("${name}") + dd`).textContent();

  /** axe's rules of WCAG, and what it calls good practice. */
  async function violations(of: Page) {
    await of.evaluate(axe);
    const result = await of.evaluate('axe.run()');
    const { violations } = result as { violations: { id: string; nodes: { html: string }[] }[] };
    return violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
  }

  it('shows the picture while it is made, and what made it', async () => {
    await page.evaluate(() => {
      const blobs = new Map<string, Blob>();
      const create = URL.createObjectURL;
      URL.createObjectURL = (blob: Blob) => {
        const url = create(blob);
        blobs.set(url, blob);
        return url;
      };
      /** By address, in order: what has been shown. */
      const shown = new Map<string, Blob>();
      new MutationObserver(() => {
        const { src } = document.querySelector<HTMLImageElement>('#pictures img') ?? { src: '' };
        if (src) shown.set(src, blobs.get(src)!);
      }).observe(document.querySelector('#pictures')!, { subtree: true, attributes: true, childList: true });
      Object.assign(window, { shown });
    });
    await generate('red apple', { seed: '3', steps: '12' });
    await finished();
    const pictures = await page.evaluate(async () => {
      const { shown } = window as never as { shown: Map<string, Blob> };
      return Promise.all(
        [...shown.values()].map(async (blob) => [...new Uint8Array(await blob.arrayBuffer())]),
      );
    });
    // Three previews and the picture, each with pixels of its own.
    const pixels = await Promise.all(pictures.map(async (file) => String(await pixelsIn(Buffer.from(file)))));
    expect([pixels.length, new Set(pixels).size]).toEqual([4, 4]);
    expect(pixels.at(-1)).toBe(String(await pixelsOf(shown())));
    expect(await parameter('seeds')).toBe('3');
    expect(await parameter('steps run')).toBe('12');
    expect(await pixelsOf(shown())).toHaveLength(64 * 64 * 4);
  });

  it('gives the same picture by the copied command', async () => {
    await page.locator('#code summary').click();
    await page.locator('[data-language=curl]').click();
    const command = await page.locator('#snippet').inputValue();
    expect(command).toContain('-o picture.png');
    // The server is in this process: it must not wait for the command.
    const { stdout } = await run('sh', ['-c', command.replace('picture.png', '-')], { encoding: 'buffer' });
    expect(await pixelsIn(stdout)).toEqual(await pixelsOf(shown()));
  });

  it('says at the field what is wrong with it', async () => {
    const before = await parameter('prompt');
    await generate('red apple', { steps: '1001' });
    const problem = page.locator('#steps-problem');
    await problem.waitFor();
    expect(await problem.textContent()).toContain('1000');
    expect(await page.locator('#steps').getAttribute('aria-invalid')).toBe('true');
    // And the picture that was there before is there again.
    await finished();
    expect(await parameter('prompt')).toBe(before);
    expect(await shown().isVisible()).toBe(true);
    await generate('red apple', { steps: '', height: '1000000' });
    expect(await page.locator('#height-problem').textContent()).toContain('multiple of 8, from 8 to 4096');
    expect(await page.locator('#width').getAttribute('aria-invalid')).toBeNull();
    await page.fill('#height', '');
    // The browser's own word on a reply with status 400.
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes('status of 400')));
  });

  it('stops the work when it is cancelled', async () => {
    await generate('red apple', { steps: '1000' });
    await page.locator('#progress-text:has-text("Step")').waitFor();
    await page.keyboard.press('Escape');
    await expect.poll(() => servers.engine.info().running, patient).toBe(0);
    await page.locator('#generate').waitFor();
    expect(await page.locator('#progress').isVisible()).toBe(false);
  });

  it('draws a sketch and follows it', async () => {
    await page.locator('#control summary').click();
    const board = page.locator('#control canvas');
    await board.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await board.boundingBox())!;
    const at = (turn: number) =>
      [x + width * (0.5 + 0.3 * Math.sin(turn)), y + height * (0.5 - 0.3 * Math.cos(turn))] as const;
    await page.mouse.move(...at(0));
    await page.mouse.down();
    for (let i = 1; i <= 16; i++) await page.mouse.move(...at((i / 16) * 2 * Math.PI));
    await page.mouse.up();
    const before = servers.engine.info().controlnetEvaluations;
    await generate('red apple', { seed: '3', steps: '4' });
    await finished();
    expect(servers.engine.info().controlnetEvaluations).toBeGreaterThan(before);
    expect(await parameter('control')).toContain('tiny-emoji-controlnet-canny');
  });

  it('begins from a picture, and makes anew what is painted over', async () => {
    await page.locator('#control summary').click();
    const half = sharp({ create: { width: 64, height: 64, channels: 3, background: '#3060c0' } });
    await page.locator('#begin summary').click();
    const buffer = await half.png().toBuffer();
    await page
      .locator('#begin input[type=file]')
      .setInputFiles({ name: 'blue.png', mimeType: 'image/png', buffer });
    const board = page.locator('#begin canvas');
    await board.scrollIntoViewIfNeeded();
    const { x, y, width, height } = (await board.boundingBox())!;
    await page.mouse.move(x + width * 0.7, y + height * 0.2);
    await page.mouse.down();
    await page.mouse.move(x + width * 0.7, y + height * 0.8, { steps: 4 });
    await page.mouse.up();
    await generate('red apple', { seed: '3', steps: '4' });
    await finished();
    const pixels = await pixelsOf(shown());
    const pixel = (column: number, row: number) => pixels.slice(4 * (row * 64 + column)).slice(0, 3);
    expect(pixel(8, 32)).toEqual([0x30, 0x60, 0xc0]);
    expect(pixel(45, 32)).not.toEqual([0x30, 0x60, 0xc0]);
    expect(await violations(page)).toEqual([]);
  });

  it('finds its history again, and the settings of each picture', async () => {
    const last = await pixelsOf(shown());
    await page.reload();
    const thumbnails = page.locator('#history img');
    await expect.poll(() => thumbnails.count(), patient).toBe(3);
    expect(await pixelsOf(thumbnails.first())).toEqual(last);
    await thumbnails.first().click();
    await page.locator('#reuse').click();
    await expect.poll(() => page.locator('#begin canvas').isVisible(), patient).toBe(true);
    await expect.poll(() => page.locator('#prompt').inputValue(), patient).toBe('red apple');
    await page.keyboard.press('Control+Enter');
    await expect.poll(() => thumbnails.count(), patient).toBe(4);
    expect(await pixelsOf(shown())).toEqual(last);
  });

  /** A picture as the clipboard or a drag has it. */
  const transfer = (colour: string) =>
    page.evaluateHandle(async (colour) => {
      const canvas = new OffscreenCanvas(64, 64);
      const context = canvas.getContext('2d')!;
      context.fillStyle = colour;
      context.fillRect(16, 16, 32, 32);
      const data = new DataTransfer();
      data.items.add(new File([await canvas.convertToBlob()], 'a.png', { type: 'image/png' }));
      return data;
    }, colour);

  it('takes several ControlNets, by drop and by paste, and a second pass', async () => {
    await page.reload();
    await page.locator('#control_model option').first().waitFor({ state: 'attached' });
    await page.locator('#control summary').click();
    await page.getByRole('button', { name: 'Another ControlNet' }).click();
    const [first, second] = [page.locator('#control'), page.locator('#control-2')];
    await first.locator('.drop').dispatchEvent('drop', { dataTransfer: await transfer('#f00') });
    await expect.poll(() => first.locator('[data-field=preprocessor]').inputValue(), patient).toBe('canny');
    await second.locator('summary').focus();
    const pasted = await transfer('#00f');
    await page.evaluate(
      (clipboardData) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData })),
      pasted,
    );
    await expect.poll(() => second.locator('[data-field=preprocessor]').inputValue(), patient).toBe('canny');
    await second.locator('[data-field=scale]').fill('0.5');
    await page.locator('#more summary').click();
    expect(await page.getByRole('button', { name: 'This server has no LoRA' }).isDisabled()).toBe(true);
    await generate('red apple', { seed: '3', steps: '2', hires_scale: '2' });
    await finished();
    const effective = await parameter('control');
    expect(effective!.match(/tiny-emoji-controlnet-canny/g)).toHaveLength(2);
    expect(await parameter('hires scale')).toBe('2');
    expect(await pixelsOf(shown())).toHaveLength(128 * 128 * 4);
    expect(await violations(page)).toEqual([]);
    // What is wrong with a unit is said there.
    await second.locator('[data-field=scale]').fill('11');
    await page.keyboard.press('Control+Enter');
    await second.locator('.error').waitFor();
    complaints.splice(0, complaints.length, ...complaints.filter((text) => !text.includes('status of 400')));
    await page.locator('#history img').first().click();
    await page.locator('#reuse').click();
    await expect.poll(() => second.locator('[data-field=scale]').inputValue(), patient).toBe('0.5');
    await second.getByRole('button', { name: 'Remove' }).click();
    expect(await second.count()).toBe(0);
  });

  it('asks for a key where the server does, and keeps it', async () => {
    const keyed = await (await browser.newContext()).newPage();
    const sent: (string | undefined)[] = [];
    await keyed.route('**/v1/models', async (route) => {
      const { authorization } = route.request().headers();
      sent.push(authorization);
      if (authorization === 'Bearer right') return route.continue();
      const json = { error: { message: 'Expected an API key', type: 'invalid_request_error' } };
      return route.fulfill({ status: 401, json });
    });
    await keyed.goto(servers.url);
    const dialog = keyed.locator('#key-dialog');
    await dialog.waitFor();
    expect(await violations(keyed)).toEqual([]);
    await keyed.fill('#key', 'right');
    await keyed.keyboard.press('Enter');
    await keyed.locator('#model option').first().waitFor({ state: 'attached' });
    expect(sent).toEqual([undefined, 'Bearer right']);
    expect(await dialog.isVisible()).toBe(false);
    await keyed.context().close();
  });

  it('shows the API, to be tried out', async () => {
    const docs = await open({ width: 1200, height: 900 }, 'light', '/docs', '.opblock');
    const route = docs.locator('.opblock', { hasText: '/v1/models' }).first();
    await route.locator('.opblock-summary-control').first().click();
    await route.locator('.execute').click();
    await route.locator('.live-responses-table .response', { hasText: 'tiny-emoji-ldm' }).first().waitFor();
    await docs.context().close();
  });

  it('fits a phone, in the dark', async () => {
    const phone = await open({ width: 390, height: 800 }, 'dark');
    for (const id of ['more', 'control', 'begin']) await phone.locator(`#${id} summary`).tap();
    expect(await phone.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(390);
    const background = await phone.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(
      background
        .match(/\d+/g)!
        .map(Number)
        .every((level) => level < 64),
    ).toBe(true);
    expect(await violations(phone)).toEqual([]);
  });

  it('leaves nothing to complain of', () => {
    expect(complaints).toEqual([]);
  });
});
