import { ask } from '../ask.ts';
import { countsOf, range, type Scenario } from '../drill.ts';
import { pause } from '../until.ts';

/** Bytes: room for the weights of one of the embedded models, but not of both. */
const BUDGET = 48 * 2 ** 20;

/** Bytes of a device: enough for pictures of 64×64, but not for those of 1024×1024. */
const TIGHT = 128 * 2 ** 20;
const LARGE = { model: 'tiny-emoji-ldm', steps: 1, size: '1024x1024' };

export const memory: Scenario = {
  name: 'memory',
  title: 'Memory runs out: the budget holds one of two models; a device is too small for some pictures',
  async run(drill) {
    const sidecar = await drill.sidecar({ args: ['--memory-budget', `${BUDGET}`] });
    const edge = await drill.edge([sidecar]);
    let most = 0;
    let isOver = false;
    const watch = (async () => {
      while (!isOver) {
        most = Math.max(most, (await sidecar.figures()).memory.weights ?? 0);
        await pause(10);
      }
    })();
    // It is looked at below.
    watch.catch(() => {});
    const answers = await drill.load(edge, drill.asks(drill.isShort ? 16 : 400), 6);
    isOver = true;
    await watch;
    drill.answered(answers);
    const { memory } = await sidecar.figures();
    drill.promise(
      'weights stay within the budget: one model is unloaded for the other, between requests',
      `${mib(most)} at most of ${mib(BUDGET)}`,
      most > 0 && most <= BUDGET,
    );

    const tight = await drill.sidecar({ args: ['--device-memory', `${TIGHT}`] });
    const before = await drill.edge([tight]);
    const [small, large] = await Promise.all([
      drill.load(before, drill.asks(drill.isShort ? 8 : 60), 4),
      Promise.all(range(4).map((seed) => ask(before.url, { ...LARGE, seed }))),
    ]);
    drill.answered(small);
    drill.promise(
      'what never fits is refused before it begins, 503 and no time to come back at, and hinders nobody',
      countsOf(large.map(({ status, code }) => `${status} ${code}`)),
      large.every(
        ({ status, code, retryAfter }) => status === 503 && code === 'out_of_memory' && !retryAfter,
      ),
    );
    await drill.settled(sidecar, memory);
  },
};

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
