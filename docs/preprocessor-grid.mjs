// What each preprocessor makes of a picture, and those for drawings of a drawing, side by side:
// docs/images/preprocessors.png
//   node docs/preprocessor-grid.mjs
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { choosePreprocessor, hintOf, hintTensor } from '../dist/sidecar/preprocessors/index.js';
import { save } from './save.mjs';

const path = (name) => fileURLToPath(new URL(name, import.meta.url));
const size = { width: 160, height: 120 };
const [columns, head, gap] = [5, 18, 6];

async function picture(name) {
  const image = sharp(path(`../test/fixtures/hints/${name}.png`))
    .removeAlpha()
    .raw();
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  return { data: new Uint8Array(data), width: info.width, height: info.height };
}

const [photo, drawing] = [await picture('photo'), await picture('drawing')];
const mask = Uint8Array.from({ length: photo.width * photo.height }, (_, i) => {
  const [x, y] = [i % photo.width, Math.floor(i / photo.width)];
  return Math.hypot(x - 64, y - 70) < 34 ? 255 : 0;
});
const cells = [
  { image: photo, name: 'none' },
  { image: photo, name: 'canny' },
  { image: photo, name: 'soft-edge' },
  { image: photo, name: 'soft-edge', options: { sigma: 2, levels: 2 } },
  { image: photo, name: 'scribble-xdog' },
  { image: photo, name: 'tile', options: { down_sampling_rate: 8 } },
  { image: photo, name: 'blur', options: { sigma: 4 } },
  { image: photo, name: 'inpaint', mask },
  { image: photo, name: 'segmentation' },
  { image: photo, name: 'threshold' },
  { image: photo, name: 'gray' },
  { image: photo, name: 'luminance' },
  { image: photo, name: 'intensity' },
  { image: drawing, name: 'none' },
  { image: drawing, name: 'invert' },
  { image: drawing, name: 'scribble' },
  { image: drawing, name: 'lineart' },
];

const place = (i) => ({
  left: gap + (i % columns) * (size.width + gap),
  top: head + Math.floor(i / columns) * (size.height + head + gap),
});
const tiles = cells.map(({ image, name, options, mask }, i) => {
  const tensor = hintTensor(hintOf(choosePreprocessor(name, options), image, size, 'crop', mask));
  const area = size.width * size.height;
  const data = Uint8ClampedArray.from(
    { length: 3 * area },
    (_, j) => 255 * tensor[(j % 3) * area + Math.floor(j / 3)],
  );
  return { input: data, raw: { ...size, channels: 3 }, ...place(i) };
});
const labels = cells.map(({ name, options = {} }, i) => {
  const words = [name, ...Object.entries(options).map(([key, value]) => `${key}=${value}`)].join(' ');
  return `<text x="${place(i).left}" y="${place(i).top - 5}">${words}</text>`;
});
const rows = Math.ceil(cells.length / columns);
const sheet = { width: gap + columns * (size.width + gap), height: rows * (size.height + head + gap) };
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${sheet.width}" height="${sheet.height}"
  font-family="sans-serif" font-size="11">${labels.join('')}</svg>`;
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite([
  ...tiles,
  { input: Buffer.from(svg), left: 0, top: 0 },
]);
await save('preprocessors.png', image.png({ palette: true, effort: 10 }));
