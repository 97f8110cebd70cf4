// Asks a running service (npm start) for some prompts by the student, in 1, 2 and 4 steps, and by its base, in 1, 4 and
// 20, and puts the pictures side by side: docs/images/turbo.png
//   node docs/turbo-grid.mjs [http://127.0.0.1:8787]
import sharp from 'sharp';
import { picture } from './ask.mjs';
import { save } from './save.mjs';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const prompts = ['red apple', 'cat face', 'pizza', 'frog', 'rocket', 'cactus'];
const columns = [
  ...[1, 2, 4].map((steps) => ({ model: 'tiny-emoji-turbo', name: 'student', steps })),
  ...[1, 4, 20].map((steps) => ({ model: 'tiny-emoji-ldm', name: 'base', steps })),
];
const [side, labelWidth, head, gap] = [64, 84, 36, 4];

// A little more between student and base.
const left = (column) => labelWidth + column * (side + gap) + (column < 3 ? 0 : 3 * gap);
const top = (row) => head + row * (side + gap);
const tiles = [];
for (const [row, prompt] of prompts.entries())
  for (const [column, { model, steps }] of columns.entries()) {
    const input = await picture(url, { model, steps, prompt, seed: 2 });
    tiles.push({ input, left: left(column), top: top(row) });
  }

const text = (x, y, anchor, words) => `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
const labels = [
  ...prompts.map((prompt, row) => text(labelWidth - 8, top(row) + side / 2 + 4, 'end', prompt)),
  ...columns.flatMap(({ name, steps }, column) => [
    text(left(column) + side / 2, 14, 'middle', name),
    text(left(column) + side / 2, 29, 'middle', steps === 1 ? '1 step' : `${steps} steps`),
  ]),
];
const sheet = { width: left(columns.length), height: top(prompts.length) };
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${sheet.width}" height="${sheet.height}"
  font-family="sans-serif" font-size="12">${labels.join('')}</svg>`;
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite([
  ...tiles,
  { input: Buffer.from(svg), left: 0, top: 0 },
]);
await save('turbo.png', image.png({ palette: true, effort: 10 }));
