// Asks a running service (npm start) for one prompt and seed of its default model with every sampler and schedule, in
// 4, 8 and 20 steps each, and puts the pictures side by side: docs/images/samplers.png
//   node docs/sampler-grid.mjs [http://127.0.0.1:8787]
import sharp from 'sharp';
import { samplers, schedules } from '../dist/sidecar/samplers/table.js';
import { picture } from './ask.mjs';
import { save } from './save.mjs';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const request = { prompt: 'rocket', seed: 9 };
const steps = [4, 8, 20];
const [columns, side, labelWidth, head, gap] = [3, 64, 132, 18, 4];

const rows = samplers.map(({ name }) => ({ label: name, sampler: name }));
for (const schedule of Object.keys(schedules))
  if (schedule !== 'default') rows.push({ label: `euler, ${schedule}`, sampler: 'euler', schedule });

const height = Math.ceil(rows.length / columns);
const blockWidth = labelWidth + steps.length * (side + gap) + gap;
const left = (row) => Math.floor(row / height) * blockWidth;
const top = (row) => head + (row % height) * (side + gap);
const place = (row, step) => left(row) + labelWidth + step * (side + gap);

const tiles = [];
for (const [row, { sampler, schedule }] of rows.entries())
  for (const [step, count] of steps.entries()) {
    const input = await picture(url, { ...request, sampler, schedule, steps: count });
    tiles.push({ input, left: place(row, step), top: top(row) });
  }

const text = (x, y, anchor, words) => `<text x="${x}" y="${y}" text-anchor="${anchor}">${words}</text>`;
const labels = [
  ...rows.map(({ label }, row) => text(left(row) + labelWidth - 8, top(row) + side / 2 + 4, 'end', label)),
  ...Array.from({ length: columns }, (_, column) =>
    steps.map((count, step) => text(place(column * height, step) + side / 2, 13, 'middle', `${count} steps`)),
  ).flat(),
];
const sheet = { width: columns * blockWidth, height: head + height * (side + gap) };
const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${sheet.width}" height="${sheet.height}"
  font-family="sans-serif" font-size="12">${labels.join('')}</svg>`;
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite([
  ...tiles,
  { input: Buffer.from(svg), left: 0, top: 0 },
]);
await save('samplers.png', image.png({ palette: true, effort: 10 }));
