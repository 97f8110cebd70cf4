import { type Answer, ask, askAll } from '../ask.ts';
import { countsOf, type Scenario } from '../drill.ts';

export const soak: Scenario = {
  name: 'soak',
  title: 'Ten thousand requests, some of which are left or wrong',
  async run(drill) {
    const sidecar = await drill.sidecar();
    const edge = await drill.edge([sidecar]);
    const count = drill.isShort ? 400 : 10_000;
    const levels: { edge: number; sidecar: number; tensors: number }[] = [];
    const level = async () => {
      const { memory } = await sidecar.figures();
      levels.push({ edge: edge.rss, sidecar: sidecar.rss, tensors: memory.tensors ?? 0 });
    };
    const wrong: Answer[] = [];
    const left: Answer[] = [];
    // Mostly of one step; a quarter of four, with guidance.
    const asks = [drill.asksOf(0, 36), drill.asksOf(1, 12)].flat();
    const mixed = Array.from({ length: count }, (_, i) => asks[(i * 7) % asks.length]!);
    const answers: Answer[] = [];
    for (const share of [0.2, 0.8]) {
      const part = mixed.slice(
        answers.length + wrong.length + left.length,
        Math.ceil(count * share) + answers.length + wrong.length + left.length,
      );
      await askAll(part, 12, async (what, i) => {
        const isWrong = i % 50 === 13;
        const isLeft = i % 50 === 37;
        const answer = await ask(
          edge.url,
          isWrong
            ? { ...what, steps: 100_000 }
            : isLeft
              ? { ...what, seed: 1_000_000 + i, steps: 400 }
              : what,
          isLeft ? { leaveAfter: 30 } : {},
        );
        (isWrong ? wrong : isLeft ? left : answers).push(answer);
        return answer;
      });
      await sidecar.idle();
      await level();
    }
    drill.answered(answers);
    drill.promise(
      'what is wrong is refused with 400; who leaves costs a step at most',
      `${countsOf(wrong.map(({ status }) => `${status}`))}; ${countsOf(left.map(({ code }) => code))}`,
      wrong.every(({ status }) => status === 400) && left.every(({ code }) => code === 'left'),
    );
    const [first, last] = [levels[0]!, levels.at(-1)!];
    const bound = 48;
    drill.promise(
      `memory is back at its level: at the end within ${bound} MiB of what it was after a fifth`,
      `edge ${first.edge.toFixed(0)} → ${last.edge.toFixed(0)} MiB, sidecar ${first.sidecar.toFixed(0)} → ${last.sidecar.toFixed(0)} MiB`,
      !(last.edge > first.edge + bound) && !(last.sidecar > first.sidecar + bound),
    );
    await drill.settled(sidecar, { tensors: first.tensors });
  },
};
