// Makes docs/images/playground.png, playground-dark.png and playground-phone.png: node docs/playground-shots.mjs [URL of a running server]
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import sharp from 'sharp';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] });

await shoot('playground', { viewport: { width: 1200, height: 1420 }, colorScheme: 'light' });
await shoot('playground-dark', { viewport: { width: 1200, height: 1420 }, colorScheme: 'dark' });
const phone = { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true };
await shoot('playground-phone', { ...phone, colorScheme: 'dark' });
await browser.close();

/** Draws a heart, has a strawberry made of it, and takes a picture of the page. */
async function shoot(name, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(url);
  await page.locator('#control_model option').first().waitFor({ state: 'attached' });
  await page.fill('#prompt', 'strawberry');
  await page.fill('#seed', '2');
  await page.click('#control summary');
  const board = page.locator('#control canvas');
  await board.scrollIntoViewIfNeeded();
  await draw(page, await board.boundingBox(), (turn) => [
    0.5 + 0.37 * Math.sin(turn) ** 3,
    0.45 - (13 * Math.cos(turn) - 5 * Math.cos(2 * turn) - 2 * Math.cos(3 * turn) - Math.cos(4 * turn)) / 43,
  ]);
  await page.keyboard.press('Control+Enter');
  await page.locator('#shown').waitFor();
  await page.evaluate(() => scrollTo(0, 0));
  const file = fileURLToPath(new URL(`images/${name}.png`, import.meta.url));
  const shot = await page.screenshot();
  await sharp(shot).png({ palette: true, colours: 128, effort: 10 }).toFile(file);
  await page.context().close();
}

async function draw({ mouse }, { x, y, width, height }, at) {
  for (let i = 0; i <= 32; i++) {
    const [right, down] = at((i / 32) * 2 * Math.PI);
    await mouse.move(x + width * right, y + height * down);
    if (i === 0) await mouse.down();
  }
  await mouse.up();
}
