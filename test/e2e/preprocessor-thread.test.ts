import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const built = (file: string) =>
  JSON.stringify(new URL(`../../dist/sidecar/preprocessors/${file}`, import.meta.url).href);

it('makes hints in a thread, while others have their turns, and ends with the process', async () => {
  const program = `
    const { choosePreprocessor, hintOf } = await import(${built('index.js')});
    const { hintInThread } = await import(${built('thread.js')});
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
  const root = fileURLToPath(new URL('../..', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    cwd: root,
  });
  expect(JSON.parse(stdout)).toEqual({
    ...{ isSame: true, hadTurns: true, isAfter: true },
    wrong: expect.stringContaining('low_threshold'),
  });
});
