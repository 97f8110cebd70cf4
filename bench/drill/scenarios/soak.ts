import { type Answer, type Ask, ask, askAll } from '../ask.ts';
import { countsOf, type Drill, range, type Scenario } from '../drill.ts';

/**
 * MiB that a process may have more at the end than after a fifth of the requests. In the short form that fifth is 30,
 * after which neither the heap of V8 nor the allocator's has its size yet: only what leaves four MiB behind with every
 * request is found out there.
 */
const SPARE = { long: 48, short: 512 };

const WRONG = 100_000;
const LONG = 400;

export const soak: Scenario = {
  name: 'soak',
  title: 'Thousands of requests, some of which are wrong, or left in the middle',
  async run(drill) {
    const sidecar = await drill.sidecar();
    const edge = await drill.edge([sidecar]);
    const asks = mixed(drill, drill.isShort ? 150 : 10_000);
    const spare = drill.isShort ? SPARE.short : SPARE.long;
    const fifth = asks.length / 5;
    const answers: Answer[] = [];
    const levels: { edge: number; sidecar: number; tensors: number }[] = [];
    for (const part of [asks.slice(0, fifth), asks.slice(fifth)]) {
      const some = await askAll(part, 12, (what) =>
        ask(edge.url, what, what.steps === LONG ? { leave: AbortSignal.timeout(30) } : {}),
      );
      answers.push(...some);
      const { memory } = await sidecar.idle();
      levels.push({ edge: edge.rss, sidecar: sidecar.rss, tensors: memory.tensors ?? 0 });
    }
    const [wrong, left] = [WRONG, LONG].map((steps) => answers.filter((each) => each.steps === steps));
    drill.answered(answers.filter(({ steps }) => steps !== WRONG && steps !== LONG));
    drill.promise(
      'what is wrong is refused with 400; the work of who leaves ends',
      `${countsOf(wrong!.map(({ status }) => `${status}`))}; ${countsOf(left!.map(({ code }) => code))}`,
      wrong!.every(({ status }) => status === 400) && left!.every(({ code }) => code === 'left'),
    );
    // They leave after a few steps; of those who stayed some shared a run.
    const stayed = answers.filter(({ code }) => code === 'ok').reduce((sum, { steps }) => sum + steps, 0);
    const { steps } = await sidecar.figures();
    const most = (left!.length * LONG) / 2;
    drill.promise(
      `no more steps are run for those than they were there for: fewer than half of their ${LONG}`,
      `${steps} steps in all, ${stayed} of those who stayed; ${left!.length} left`,
      steps - stayed < most,
    );
    const [first, last] = [levels[0]!, levels[1]!];
    const grown = (name: 'edge' | 'sidecar') =>
      `${name} ${first[name].toFixed(0)} → ${last[name].toFixed(0)} MiB`;
    drill.promise(
      `memory ${drill.isShort ? 'does not grow with each request' : 'is back at its level'}: at the end within ${spare} MiB of what it was after a fifth`,
      `${grown('edge')}, ${grown('sidecar')}`,
      !(last.edge > first.edge + spare) && !(last.sidecar > first.sidecar + spare),
    );
    await drill.settled(sidecar, { tensors: first.tensors });
  },
};

/** Three quarters take one step, one quarter four with guidance; of each fifty one is wrong, and one is left. */
function mixed(drill: Drill, count: number): Ask[] {
  const asks = [...drill.asksOf(0, 36), ...drill.asksOf(1, 12)];
  return range(count).map((i) => {
    const what = asks[(i * 7) % asks.length]!;
    if (i % 50 === 13) return { ...what, steps: WRONG };
    // Of a seed of its own: those who ask for the same at once share one run.
    return i % 50 === 37 ? { ...what, seed: 1_000_000 + i, steps: LONG } : what;
  });
}
