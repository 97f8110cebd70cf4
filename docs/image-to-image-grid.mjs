// Asks a running service (npm start) for the pictures of docs/image-to-image.md and puts them side by side:
// docs/images/image-to-image.png
//   node docs/image-to-image-grid.mjs [http://127.0.0.1:8787]
import sharp from 'sharp';
import { picture } from './ask.mjs';
import { save } from './save.mjs';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const [side, gap] = [128, 6];
const ask = (fields) => picture(url, fields);
const base64 = (png) => png.toString('base64');

const half = '<rect width="2" height="1"/><rect x="1" width="1" height="1" fill="#fff"/>';
const svg = `<svg viewBox="0 0 2 1" width="64" height="64" preserveAspectRatio="none">${half}</svg>`;
const mask = await sharp(Buffer.from(svg)).png().toBuffer();
const apple = await ask({ prompt: 'red apple', seed: 0 });
const init = { init_image: base64(apple) };
const painted = { mask: base64(mask), mask_blur: 1, keep_unmasked: true };
const heart = { prompt: 'red heart', seed: 5 };
const pictures = [
  apple,
  await ask({ ...init, prompt: 'green apple', strength: 0.7, seed: 1 }),
  await ask({ ...init, prompt: 'lemon', strength: 0.8, seed: 1 }),
  mask,
  await ask({ ...init, ...painted, prompt: 'watermelon', seed: 2 }),
  await ask({ ...heart, hires_scale: 2, hires_strength: 0.4 }),
  await ask({ ...heart, size: '128x128' }),
];

const left = (i) => 1 + i * (side + gap);
const tiles = await Promise.all(
  pictures.map(async (png, i) => {
    const input = await sharp(png).resize(side, side, { kernel: 'nearest' }).toBuffer();
    return { input, left: left(i), top: 1 };
  }),
);
const sheet = { width: left(pictures.length) - gap + 1, height: side + 2 };
// Half of a mask is as white as the page.
const frame = `<svg xmlns="http://www.w3.org/2000/svg" width="${sheet.width}" height="${sheet.height}">
  <rect x="${left(3) - 0.5}" y="0.5" width="${side + 1}" height="${side + 1}" fill="none" stroke="#888"/></svg>`;
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite([
  ...tiles,
  { input: Buffer.from(frame), left: 0, top: 0 },
]);
await save('image-to-image.png', image.png({ palette: true, effort: 10 }));
