import { type Answer, type Ask, ask, askAll } from '../ask.ts';
import type { Child } from '../children.ts';
import { countsOf, type Drill, range, type Scenario } from '../drill.ts';

/**
 * MiB that a process may have more at the end than after a fifth of the requests: in use, garbage aside, and of memory
 * that is resident, which has garbage too and what the allocators of JavaScript and C++ keep. In the short form that
 * fifth is 30, after which neither has its size yet: only what leaves half a MiB behind with every request is found then.
 */
const SPARE = { long: { held: 8, rss: 96 }, short: { held: 64, rss: 512 } };

const WRONG = 100_000;
const LONG = 400;

export const soak: Scenario = {
  name: 'soak',
  title: 'Thousands of requests, some of which are wrong, or left in the middle',
  async run(drill) {
    const sidecar = await drill.sidecar();
    const edge = await drill.edge([sidecar]);
    const asks = mixed(drill, drill.isShort ? 150 : 10_000);
    const spare = SPARE[drill.isShort ? 'short' : 'long'];
    const fifth = asks.length / 5;
    const answers: Answer[] = [];
    const levels: Level[] = [];
    for (const part of [asks.slice(0, fifth), asks.slice(fifth)]) {
      const some = await askAll(part, 12, (what) =>
        ask(edge.url, what, what.steps === LONG ? { leave: AbortSignal.timeout(30) } : {}),
      );
      answers.push(...some);
      const { memory } = await sidecar.idle();
      levels.push({
        edge: await memoryOf(edge),
        sidecar: await memoryOf(sidecar),
        tensors: memory.tensors ?? 0,
      });
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
    for (const kind of ['held', 'rss'] as const) {
      const grown = (['edge', 'sidecar'] as const).map((name) => ({
        text: `${name} ${first[name][kind].toFixed(0)} → ${last[name][kind].toFixed(0)} MiB`,
        isWithin: !(last[name][kind] > first[name][kind] + spare[kind]),
      }));
      drill.promise(
        `memory ${kind === 'held' ? 'in use, garbage aside, ' : 'that is resident '}${drill.isShort ? 'does not grow with each request' : 'is back at its level'}: at the end within ${spare[kind]} MiB of what it was after a fifth`,
        grown.map(({ text }) => text).join(', '),
        grown.every(({ isWithin }) => isWithin),
      );
    }
    await drill.settled(sidecar, { tensors: first.tensors });
  },
};

/** MiB of both processes, and of the sidecar's tensors. */
interface Level extends Record<'edge' | 'sidecar', { held: number; rss: number }> {
  tensors: number;
}

/** Resident memory first: to be asked about what is held collects garbage. */
async function memoryOf(child: Child) {
  const { rss } = child;
  return { rss, held: (await child.held()) / 2 ** 20 };
}

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
