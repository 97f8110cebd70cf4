import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const built = (file: string) => JSON.stringify(new URL(`../../dist/sidecar/${file}`, import.meta.url).href);

/** What a program prints, of one value as JSON. */
async function told(program: string): Promise<unknown> {
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const args = ['--input-type=module', '-e', program];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  return JSON.parse(stdout);
}

it('makes hints in a thread, while others have their turns, and ends with the process', async () => {
  const program = `
    const { choosePreprocessor, hintOf } = await import(${built('preprocessors/index.js')});
    const { hintInThread } = await import(${built('preprocessors/thread.js')});
    let turns = 0;
    const count = () => { turns++; turn = setImmediate(count); };
    let turn = setImmediate(count);
    const size = { width: 64, height: 48 };
    const image = { ...size, data: Uint8Array.from({ length: 3 * 64 * 48 }, (_, i) => (7 * i) % 256) };
    const canny = choosePreprocessor('canny');
    const mask = new Uint8Array(64 * 48).fill(255, 1000);
    const all = [[canny, image, size, 'crop'], [choosePreprocessor('inpaint'), image, size, 'fit', mask]];
    const hints = await Promise.all(all.map((each) => hintInThread(...each)));
    const isSame = all.every((each, i) => String(hintOf(...each).data) === String(hints[i].data));
    const wrong = await hintInThread({ ...canny, values: { low: 1 } }, image, size, 'crop').catch((error) => error.message);
    const after = await hintInThread(canny, image, size, 'crop');
    clearImmediate(turn);
    console.log(JSON.stringify({ isSame, hadTurns: turns > 0, wrong, isAfter: String(after.data) === String(hints[0].data) }));
  `;
  expect(await told(program)).toEqual({
    ...{ isSame: true, hadTurns: true, isAfter: true },
    wrong: expect.stringContaining('low_threshold'),
  });
});

it('who leaves is not waited for: work that waits is dropped, of what is under way the result', async () => {
  const program = `
    const { fillMasked } = await import(${built('engine/masked-content.js')});
    const { inThread } = await import(${built('thread/in-thread.js')});
    const size = { width: 64, height: 48 };
    const rgb = Uint8Array.from({ length: 3 * 64 * 48 }, (_, i) => (7 * i) % 256);
    const mask = new Uint8Array(64 * 48).fill(255, 1000, 2000);
    const fill = (signal) => inThread('fillMasked', [rgb, mask, size], { signal });
    const order = [];
    const leaving = [new AbortController(), new AbortController()];
    const ended = leaving.map((left, i) =>
      fill(left.signal).catch((reason) => order.push(String(reason) + i)));
    const stays = fill().then((filled) => { order.push('stays'); return filled; });
    // The first is under way, the second waits.
    for (const left of leaving) left.abort('left');
    await Promise.all(ended);
    const filled = await stays;
    const early = await fill(AbortSignal.abort('early')).catch((reason) => reason);
    const isSame = String(filled) === String(fillMasked(rgb, mask, size));
    console.log(JSON.stringify({ order, early, isSame, after: String(await fill()) === String(filled) }));
  `;
  expect(await told(program)).toEqual({
    ...{ order: ['left0', 'left1', 'stays'], early: 'early' },
    ...{ isSame: true, after: true },
  });
});

it("a stream of requests' own work does not hold up other work without end", async () => {
  const program = `
    const { inThread } = await import(${built('thread/in-thread.js')});
    const size = { width: 8, height: 8 };
    const rgb = new Uint8Array(3 * 64);
    const mask = new Uint8Array(64).fill(255, 20);
    const order = [];
    const fill = (name, isForRequest) =>
      inThread('fillMasked', [rgb, mask, size], { isForRequest }).then(() => order.push(name));
    await Promise.all([
      ...['first', 'other', 'another'].map((name) => fill(name, false)),
      ...Array.from({ length: 20 }, () => fill('own', true)),
    ]);
    console.log(JSON.stringify(order.join(' ').replace(/own( own)*/g, (all) => all.split(' ').length)));
  `;
  expect(await told(program)).toBe('first 8 other 8 another 4');
});

it("requests' own work goes before what is asked for by itself, each in the order of coming", async () => {
  const program = `
    const { choosePreprocessor } = await import(${built('preprocessors/index.js')});
    const { hintInThread } = await import(${built('preprocessors/thread.js')});
    const { hintPixels } = await import(${built('engine/control/hint.js')});
    const { inThread } = await import(${built('thread/in-thread.js')});
    const size = { width: 64, height: 48 };
    const data = Uint8Array.from({ length: 3 * 64 * 48 }, (_, i) => (7 * i) % 256);
    const greys = new Uint8Array(64 * 48).fill(255, 1000);
    const order = [];
    const then = (name) => [() => order.push(name), (reason) => order.push(name + ' ' + reason)];
    const preprocessor = choosePreprocessor('canny');
    const call = (name) => hintInThread(preprocessor, { ...size, data }, size, 'crop').then(...then(name));
    const fill = (name) => inThread('fillMasked', [data, greys, size], { isForRequest: true }).then(...then(name));
    const picture = { ...size, rgb: () => data, grey: () => greys };
    const source = { picture, mask: picture, preprocessor, resize: 'crop' };
    const hint = (name, signal) => hintPixels(source, size, undefined, signal).then(...then(name));
    const part = { whole: size, region: { left: 0, top: 0, ...size } };
    const leaving = new AbortController();
    const all = [call('first'), call('second'), call('third'), fill('fill')];
    all.push(hint('leaves', leaving.signal), hint('hint'));
    all.push(hintPixels(source, size, part).then(...then('part')));
    // They have asked for their pictures, and wait by now; an answer would be a message.
    for (let i = 0; i < 10; i++) await Promise.resolve();
    leaving.abort('left');
    await Promise.all(all);
    console.log(JSON.stringify(order));
  `;
  // A part is made in two goes: the second is asked for once the first has ended, when 'second' has begun.
  expect(await told(program)).toEqual([
    'leaves left',
    ...['first', 'fill', 'hint', 'second', 'part', 'third'],
  ]);
});
