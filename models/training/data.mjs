// Draws the emoji sets at 64×64 and writes down what each shows:
//   out/data/pictures.rgba   one picture after the other, 64×64×4 bytes, colour premultiplied by alpha
//   out/data/pictures.jsonl  a line for each: { set, name, label, tags, group, subgroup, tone }
//   node data.mjs [--smoke]: 300 of each set, in out/smoke/data
import { fork } from 'node:child_process';
import { createRequire } from 'node:module';
import { appendFileSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';

const require = createRequire(import.meta.url);
const side = 64;
const sets = ['fluent-emoji-flat', 'fluent-emoji', 'noto'];
const tones = ['light', 'medium-light', 'medium', 'medium-dark', 'dark'];

/** A label as the sets write names: "smiling face with heart-eyes" → smiling-face-with-heart-eyes. */
const slug = (text) =>
  text
    .normalize('NFD')
    .toLowerCase()
    .replace(/[\u0300-\u036f’'.“”]/g, '')
    .replace(/&/g, ' and ')
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-|-$/g, '');

/** What emojibase says of every emoji, by the name that the sets use. */
function words() {
  const { groups, subgroups } = require('emojibase-data/en/messages.json');
  const names = (list) => new Map(list.map((each) => [each.order, each.message]));
  const [group, subgroup] = [names(groups), names(subgroups)];
  const known = new Map();
  for (const emoji of require('emojibase-data/en/data.json')) {
    const about = {
      label: emoji.label,
      tags: emoji.tags ?? [],
      group: group.get(emoji.group) ?? '',
      subgroup: subgroup.get(emoji.subgroup) ?? '',
      tone: '',
    };
    known.set(slug(emoji.label), about);
    for (const tone of emoji.skins ? tones : []) known.set(`${slug(emoji.label)}-${tone}`, { ...about, tone });
  }
  return known;
}

/** The icons of a set as [name, SVG]. */
function icons(set) {
  const { icons, width = 16, height = 16 } = require(`@iconify-json/${set}/icons.json`);
  const svg = (icon) => {
    const box = [icon.left ?? 0, icon.top ?? 0, icon.width ?? width, icon.height ?? height].join(' ');
    return `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="${box}" width="${side}" height="${side}">${icon.body}</svg>`;
  };
  return Object.entries(icons).flatMap(([name, icon]) => (icon.hidden ? [] : [[name, svg(icon)]]));
}

/** In a process of its own: draws a set's icons from `first` on into a folder, one message for each. */
async function draw(folder, set, first, limit) {
  const { Resvg } = require('@resvg/resvg-js');
  const known = words();
  for (const [index, [name, svg]] of icons(set).slice(0, limit).entries()) {
    if (index < first) continue;
    const about = known.get(name);
    await new Promise((sent) => process.send(index, sent)); // what is being drawn, should it end this process
    if (!about) continue;
    const { width, height, pixels } = new Resvg(svg, {
      fitTo: { mode: 'width', value: side },
      font: { loadSystemFonts: false },
    }).render();
    if (width !== side || height !== side) continue;
    appendFileSync(new URL('pictures.rgba', folder), pixels);
    appendFileSync(new URL('pictures.jsonl', folder), `${JSON.stringify({ set, name, ...about })}\n`);
  }
  process.disconnect();
}

/** Draws a set into a folder; the renderer aborts its whole process on a few icons, which are left out. */
async function drawAll(folder, set, limit) {
  const left = [];
  for (let next = 0; ; ) {
    const child = fork(new URL(import.meta.url), [folder.href, set, String(next), String(limit)], { stdio: 'ignore' });
    child.on('message', (index) => {
      next = index + 1;
    });
    const [code] = await new Promise((ended) => child.on('exit', (...how) => ended(how)));
    if (code === 0) break;
    left.push(icons(set)[next - 1]?.[0]);
  }
  console.log(`${set}: left out ${left.length ? left.join(', ') : 'none'}`);
}

if (process.send) {
  const [folder, set, first, limit] = process.argv.slice(2);
  await draw(folder, set, Number(first), Number(limit));
} else {
  const smoke = process.argv.includes('--smoke');
  const [folder, limit] = [new URL(smoke ? 'out/smoke/data/' : 'out/data/', import.meta.url), smoke ? 300 : 1e6];
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const file of ['pictures.rgba', 'pictures.jsonl']) writeFileSync(new URL(file, folder), '');
  for (const set of sets) await drawAll(folder, set, limit);
}
