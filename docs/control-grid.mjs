// Asks a running service (npm start) for some prompts along outlines drawn here, and puts the hints and the pictures
// side by side: docs/images/controlnet.png
//   node docs/control-grid.mjs [http://127.0.0.1:8787]
import sharp from 'sharp';
import { picture } from './ask.mjs';
import { save } from './save.mjs';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const control = 'tiny-emoji-controlnet-canny';
/** Outlines in 64×64 pixels, as an edge detector would find them. */
const rows = [
  { path: 'M32 6 A25 25 0 1 1 31.9 6 Z', prompts: ['lemon', 'sun', 'doughnut'] },
  {
    path: 'M32 56 C2 34 8 8 22 10 Q30 11 32 20 Q34 11 42 10 C56 8 62 34 32 56 Z',
    prompts: ['red heart', 'strawberry', 'carrot'],
  },
  { path: 'M10 12 L54 12 L54 54 L10 54 Z', prompts: ['lion', 'wrapped gift', 'hamburger'] },
  { path: 'M32 6 L58 54 L6 54 Z', prompts: ['pizza', 'evergreen tree', 'strawberry'] },
];
const [side, head, gap] = [64, 22, 4];

function outline(path) {
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${side}" height="${side}" shape-rendering="crispEdges">
    <rect width="100%" height="100%"/><path d="${path}" fill="none" stroke="white"/></svg>`;
  return sharp(Buffer.from(svg)).removeAlpha().png().toBuffer();
}

// Each prompt with the outline, and beside it without.
const left = (column) => side + 4 * gap + column * (side + gap) + (column >> 1) * 2 * gap;
const top = (row) => row * (side + head + gap);
const tiles = [];
const labels = [];
for (const [row, { path, prompts }] of rows.entries()) {
  const hint = await outline(path);
  tiles.push({ input: hint, left: 0, top: top(row) });
  for (const [i, prompt] of prompts.entries()) {
    const fields = { prompt, seed: 2 };
    const unit = { model: control, image: hint.toString('base64') };
    tiles.push({
      input: await picture(url, { ...fields, control: [unit] }),
      left: left(2 * i),
      top: top(row),
    });
    tiles.push({ input: await picture(url, fields), left: left(2 * i + 1), top: top(row) });
    labels.push(`<text x="${left(2 * i) + side + gap / 2}" y="${top(row) + side + 15}">${prompt}</text>`);
  }
}

const sheet = { width: left(6) - 3 * gap, height: top(rows.length) - gap };
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${sheet.width}" height="${sheet.height}"
  font-family="sans-serif" font-size="12" text-anchor="middle">${labels.join('')}</svg>`;
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite([
  ...tiles,
  { input: Buffer.from(svg), left: 0, top: 0 },
]);
await save('controlnet.png', image.png({ palette: true, effort: 10 }));
