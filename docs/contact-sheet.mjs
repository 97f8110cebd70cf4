// Asks a running service (npm start) for 24 pictures of its default model and puts them side by side: docs/images/contact-sheet.png
//   node docs/contact-sheet.mjs [http://127.0.0.1:8787]
import sharp from 'sharp';
import { picture } from './ask.mjs';
import { save } from './save.mjs';

const url = process.argv[2] ?? 'http://127.0.0.1:8787';
const prompts = [
  ...['red apple', 'cat face', 'dog face', 'pizza', 'grinning face', 'red heart'],
  ...['cactus', 'hamburger', 'frog', 'rocket', 'house', 'soccer ball'],
  ...['strawberry', 'banana', 'panda', 'airplane', 'butterfly', 'green apple'],
  ...['lemon', 'sun', 'crying face', 'smiling face with heart-eyes', 'umbrella', 'skull'],
];
const [columns, side] = [6, 128];

const tiles = [];
for (const [seed, prompt] of prompts.entries()) {
  const png = await picture(url, { prompt, seed });
  const input = await sharp(png).resize(side, side, { kernel: 'nearest' }).toBuffer();
  tiles.push({ input, left: (seed % columns) * side, top: Math.floor(seed / columns) * side });
}
const sheet = { width: columns * side, height: Math.ceil(prompts.length / columns) * side };
const image = sharp({ create: { ...sheet, channels: 3, background: 'white' } }).composite(tiles);
await save('contact-sheet.png', image.png());
