// Asks a running service (npm start) for 24 pictures of its default model and puts them side by side: docs/images/contact-sheet.png
//   node docs/contact-sheet.mjs [http://127.0.0.1:8787]
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const prompts = [
  ...['red apple', 'cat face', 'dog face', 'pizza', 'grinning face', 'red heart'],
  ...['cactus', 'hamburger', 'frog', 'rocket', 'house', 'soccer ball'],
  ...['strawberry', 'banana', 'panda', 'airplane', 'butterfly', 'green apple'],
  ...['lemon', 'sun', 'crying face', 'smiling face with heart-eyes', 'umbrella', 'skull'],
];
const [columns, side] = [6, 128];

async function picture(prompt, seed) {
  const response = await fetch(`${url}/v1/images/generations`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', accept: 'image/png' },
    body: JSON.stringify({ prompt, seed }),
  });
  if (!response.ok) throw new Error(`${response.status} ${await response.text()}`);
  return sharp(await response.arrayBuffer())
    .resize(side, side, { kernel: 'nearest' })
    .toBuffer();
}

const tiles = [];
for (const [seed, prompt] of prompts.entries()) {
  const input = await picture(prompt, seed);
  tiles.push({ input, left: (seed % columns) * side, top: Math.floor(seed / columns) * side });
}
const sheet = { width: columns * side, height: Math.ceil(prompts.length / columns) * side };
const file = fileURLToPath(new URL('images/contact-sheet.png', import.meta.url));
await sharp({ create: { ...sheet, channels: 3, background: 'white' } })
  .composite(tiles)
  .png()
  .toFile(file);
console.log(file);
