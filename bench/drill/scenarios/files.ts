import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../../root.ts';
import { ask, askAll } from '../ask.ts';
import { countsOf, type Scenario } from '../drill.ts';

export const files: Scenario = {
  name: 'files',
  title: 'A model’s file is damaged, cut short and written over under a running server',
  async run(drill) {
    const models = mkdtempSync(join(tmpdir(), 'drill-models-'));
    const copy = (name: string) =>
      cpSync(join(ROOT, 'models', name), join(models, name), { recursive: true, verbatimSymlinks: true });
    for (const name of ['tiny-emoji-ldm', 'tiny-emoji-turbo']) copy(name);
    const file = join(models, 'tiny-emoji-turbo/unet/diffusion_pytorch_model.safetensors');
    const good = readFileSync(file);
    try {
      const sidecar = await drill.sidecar({
        args: ['--model', join(models, 'tiny-emoji-ldm'), '--model', models],
      });
      const edge = await drill.edge([sidecar]);
      const damaged = Buffer.from(good);
      damaged.fill(0xff, 0, 64);
      const faults = {
        'its header written over': () => writeFileSync(file, damaged),
        'half of it cut off': () => truncateSync(file, good.length / 2),
        'nothing in it': () => truncateSync(file, 0),
        gone: () => rmSync(file),
      };
      for (const [what, damage] of Object.entries(faults)) {
        writeFileSync(file, good);
        damage();
        const answers = await drill.load(edge, drill.asksOf(0, 4), 2);
        drill.promise(
          `before it is loaded, ${what}: 422 for the model`,
          countsOf(answers.map(({ status, code }) => `${status} ${code}`)),
          answers.every(({ status }) => status === 422),
        );
      }
      drill.answered(await drill.load(edge, drill.asksOf(1, 8), 4));

      // Put back as a file is that is pulled anew.
      writeFileSync(`${file}.new`, good);
      renameSync(`${file}.new`, file);
      drill.answered(await drill.load(edge, drill.asksOf(0, 8), 4));

      let done = 0;
      const asks = drill.asks(drill.isShort ? 24 : 300);
      const answers = await askAll(asks, 6, async (what) => {
        const answer = await ask(edge.url, what);
        done++;
        if (done === Math.floor(asks.length / 3)) writeFileSync(file, damaged);
        if (done === Math.floor((2 * asks.length) / 3)) truncateSync(file, 1000);
        return answer;
      });
      drill.answered(answers, { allowed: ['checkpoint_unusable'] });
      drill.promise(
        'a loaded model goes on with what it has read, and the process lives',
        sidecar.isRunning ? 'it runs' : 'it ended',
        sidecar.isRunning,
      );

      // The good one is back; and what nobody has read of the other model yet, its encoder of pictures, is written over.
      writeFileSync(file, good);
      drill.answered(await drill.load(edge, drill.asks(12), 6));
      const [what] = drill.asksOf(1, 1);
      const { data } = await ask(edge.url, what!);
      const fromPicture = { ...what!, init_image: Buffer.from(data!).toString('base64') };
      const vae = join(models, 'tiny-emoji-ldm/vae/diffusion_pytorch_model.safetensors');
      writeFileSync(vae, readFileSync(vae));
      const under = drill.load(edge, drill.asksOf(1, 12), 6);
      const named = await ask(edge.url, fromPicture);
      drill.promise(
        'what needs weights that were written over while their model is loaded fails by name: 422',
        `${named.status} ${named.code}`,
        named.status === 422 && named.code === 'checkpoint_unusable',
      );
      const next = await ask(edge.url, fromPicture);
      drill.promise(
        'the model is loaded anew for the next request, also while others use it, who go on',
        `${next.status} ${next.code}`,
        next.code === 'ok',
      );
      drill.answered(await under);
      await drill.settled(sidecar, {});
    } finally {
      rmSync(models, { recursive: true });
    }
  },
};
