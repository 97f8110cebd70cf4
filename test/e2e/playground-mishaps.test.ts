import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { missingBrowser, openBrowser } from '../support/browser.ts';
import { fakeSidecar, PIXEL } from '../support/fake-sidecar.ts';
import { type Edge, nodeRuntime } from '../support/runtimes.ts';

// The playground before a sidecar whose steps the tests take: what comes in the way of a picture.

const patient = { timeout: 60_000 };
const why = missingBrowser ? ` (skipped: ${missingBrowser})` : '';

describe.skipIf(missingBrowser)(`the playground, disturbed${why}`, () => {
  let edge: Edge;
  let browser: Browser;
  let page: Page;

  beforeAll(async () => {
    [edge, browser] = await Promise.all([nodeRuntime.start(), openBrowser()]);
  });
  afterAll(async () => {
    await browser?.close();
    await edge?.stop();
  });
  beforeEach(async () => {
    await page?.context().close();
    page = await (await browser.newContext()).newPage();
  });

  async function open() {
    edge.use(fakeSidecar());
    await page.goto(edge.url);
    await page.locator('#model option').first().waitFor({ state: 'attached' });
  }
  const generate = (prompt: string) =>
    page.fill('#prompt', prompt).then(() => page.keyboard.press('Control+Enter'));
  const alt = () => page.locator('#pictures img').getAttribute('alt');
  const step = (text: string) => page.locator(`#progress-text:has-text("Step ${text}")`).waitFor();
  const idle = () => page.locator('#generate').waitFor();

  /** The first picture is in the history, and the second rests after one of four steps. */
  async function generateTwo() {
    await open();
    await generate('the first');
    await page.locator('#history [aria-current]').waitFor();
    const sidecar = edge.use(fakeSidecar({ steps: 4, pauseAfter: 1 }));
    await generate('the second');
    return sidecar;
  }

  /** A picture is asked for in a browser that throws in a method of its storage. */
  async function generateWithout(type: 'IDBFactory' | 'IDBObjectStore', method: string, error: string[]) {
    await page.addInitScript(
      ([type, method, error]) => {
        const failing = () => {
          throw new DOMException(...error);
        };
        Object.assign(window[type].prototype, { [method]: failing });
      },
      [type, method, error] as const,
    );
    await open();
    await generate('a fox');
  }

  it('shows a picture of the history while another is made', async () => {
    const sidecar = await generateTwo();
    await page.locator('#pictures img[alt="A preview"]').waitFor();
    await page.locator('#history button').click();
    expect(await alt()).toBe('the first');
    // The second step's preview comes, and does not take its place.
    for (let i = 0; i < 2; i++) sidecar.go();
    await step('3 of 4');
    expect(await alt()).toBe('the first');
    expect(await page.locator('#shown').isVisible()).toBe(true);
    await page.keyboard.press('Escape');
    await idle();
    await expect.poll(() => sidecar.cancelled, patient).toBe(1);
    expect(await alt()).toBe('the first');
    // Not cancelled, it is shown when it is there.
    const other = edge.use(fakeSidecar({ steps: 2, pauseAfter: 1 }));
    await generate('the third');
    await step('1 of 2');
    await page.locator('#history button').click();
    other.go();
    await page.locator('#pictures img[alt="the third"]').waitFor();
    await expect.poll(() => page.locator('#history li').count(), patient).toBe(2);
    expect(other.cancelled).toBe(0);
  });

  it('does not show a picture again that was deleted while another was made', async () => {
    const sidecar = await generateTwo();
    await step('1 of 4');
    await page.locator('#history button').click();
    await page.locator('#delete').click();
    await expect.poll(() => page.locator('#history li').count(), patient).toBe(0);
    await page.keyboard.press('Escape');
    await idle();
    await expect.poll(() => sidecar.cancelled, patient).toBe(1);
    expect(await page.locator('#pictures img').count()).toBe(0);
    expect(await page.locator('#shown').isVisible()).toBe(false);
  });

  it('shows what the browser does not keep, and says so', async () => {
    await generateWithout('IDBObjectStore', 'add', ['No room', 'QuotaExceededError']);
    await page.locator('#banner:has-text("has not kept the picture")').waitFor();
    expect(await page.locator('#banner').textContent()).toContain('No room');
    expect(await alt()).toBe('a fox');
    expect(await page.locator('#effective').textContent()).toContain('a fox');
    await page.locator('#delete').click();
    await expect.poll(() => page.locator('#pictures img').count(), patient).toBe(0);
  });

  it('works where there is no storage', async () => {
    await generateWithout('IDBFactory', 'open', ['Not here', 'SecurityError']);
    await page.locator('#pictures img[alt="a fox"]').waitFor();
    await page.locator('#banner:has-text("Not here")').waitFor();
  });

  it('says when a stream ends before its picture', async () => {
    await open();
    const fields = { b64_json: PIXEL.toString('base64'), image_index: 0, output_format: 'png' };
    const event = (name: string, more: object) =>
      `event: image_generation.${name}\ndata: ${JSON.stringify({ ...fields, ...more })}\n\n`;
    const effective = { seeds: [1, 2] };
    for (const body of ['', event('partial_image', {}), event('completed', { effective })]) {
      await page.route('**/v1/images/generations', (route) =>
        route.fulfill({ body, contentType: 'text/event-stream' }),
      );
      await generate('cut');
      await page.locator('#banner:has-text("ended before the picture was there")').waitFor();
      await idle();
      expect(await page.locator('#pictures img').count()).toBe(0);
      expect(await page.locator('#progress').isVisible()).toBe(false);
      await page.unrouteAll();
    }
  });

  it('keeps its drawing board while a size stands there that is not made', async () => {
    await open();
    const size = () =>
      page.locator('#control canvas').evaluate(({ width, height }: HTMLCanvasElement) => [width, height]);
    await page.fill('#width', '768');
    await page.fill('#height', '512');
    expect(await size()).toEqual([768, 512]);
    for (const width of ['99999', '4104', '5', '0', '-8', '1e9']) {
      await page.fill('#width', width);
      expect([width, ...(await size())]).toEqual([width, 768, 512]);
    }
    await page.fill('#width', '1024');
    expect(await size()).toEqual([1024, 512]);
  });

  it('is drawn on by keys', async () => {
    await open();
    const board = page.locator('#control canvas');
    /** Where the board is light: columns and rows, in shares of its sides. */
    const light = () =>
      board.evaluate((canvas: HTMLCanvasElement) => {
        const { width, height } = canvas;
        const { data } = canvas.getContext('2d')!.getImageData(0, 0, width, height);
        const at: number[] = [];
        for (let i = 0; i < width * height; i++) if (data[4 * i]! > 127) at.push(i);
        const sides = (all: number[]) => [Math.min(...all), Math.max(...all)].map((x) => x.toFixed(2));
        return {
          columns: sides(at.map((i) => (i % width) / width)),
          rows: sides(at.map((i) => Math.floor(i / width) / height)),
        };
      });
    const press = async (key: string, times = 1) => {
      for (let i = 0; i < times; i++) await page.keyboard.press(key);
    };
    await page.locator('#control summary').focus();
    await press('Enter');
    await press('Tab');
    expect(await board.evaluate((canvas) => canvas === document.activeElement)).toBe(true);
    await press('ArrowUp', 5);
    await press('Space');
    await press('ArrowRight', 10);
    await press('Space');
    await press('ArrowDown', 30);
    // Without its cursor: one line, from the middle to the right, a tenth above the middle.
    await press('Tab');
    expect(await light()).toEqual({
      ...{ columns: ['0.49', '0.71'], rows: ['0.39', '0.41'] },
    });
    expect(await page.locator('#control .tools button:has-text("Undo")').isEnabled()).toBe(true);
    expect(await page.locator('#status').textContent()).toBe('The pen is up');
  });
});
