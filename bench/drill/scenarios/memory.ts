import { ask } from '../ask.ts';
import { pause, type Scenario } from '../drill.ts';

/** Bytes: room for the weights of one of the embedded models, but not of both. */
const BUDGET = 48 * 2 ** 20;

export const memory: Scenario = {
  name: 'memory',
  title: 'The budget of memory holds one model, and two are asked for in turn',
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
    const answers = await drill.load(edge, drill.asks(drill.isShort ? 40 : 400), 6);
    isOver = true;
    await watch;
    drill.answered(answers);
    const { memory } = await sidecar.figures();
    drill.promise(
      'weights stay within the budget: one model is unloaded for the other, between requests',
      `${mib(most)} at most of ${mib(BUDGET)}`,
      most > 0 && most <= BUDGET,
    );

    const large = await ask(edge.url, { ...drill.asksOf(0, 1)[0]!, steps: 1 }, { headers: {} });
    drill.answered([large]);
    await drill.settled(sidecar, memory);
  },
};

const mib = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
