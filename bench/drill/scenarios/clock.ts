import { ask, askAll } from '../ask.ts';
import { type Scenario, seconds } from '../drill.ts';

const MINUTE = 60 * 1000;
const DAY = 24 * 60 * MINUTE;

export const clock: Scenario = {
  name: 'clock',
  title: 'The clocks jump, by a day ahead, then two back, while requests run',
  async run(drill) {
    const sidecar = await drill.sidecar({ args: ['--log', 'json'] });
    const edge = await drill.edge([sidecar]);
    const asks = drill.asks(drill.isShort ? 32 : 400);
    const third = Math.floor(asks.length / 3);
    let done = 0;
    const answers = await askAll(asks, 6, async (what) => {
      const answer = await ask(edge.url, what);
      done++;
      // Both at once, and one without the other.
      if (done === third) for (const child of [sidecar, edge]) child.setClock(DAY);
      if (done === 2 * third) sidecar.setClock(-DAY);
      return answer;
    });
    edge.setClock(-DAY);
    answers.push(...(await drill.load(edge, drill.asks(12), 6)));
    drill.answered(answers);
    // What follows the last line break may be a part of one.
    const lines = sidecar.output
      .split('\n')
      .slice(0, -1)
      .filter((line) => line.startsWith('{'));
    const ms = lines.map((line) => (JSON.parse(line) as { ms: number }).ms);
    const longest = Math.max(...answers.map((answer) => answer.ms));
    drill.promise(
      'durations are of a clock that does not jump',
      `${lines.length} lines of the log, from ${Math.min(...ms)} to ${Math.max(...ms)} ms; nobody waited longer than ${seconds(longest)}`,
      Math.min(...ms) >= 0 && Math.max(...ms) <= longest + MINUTE,
    );
    await drill.settled(sidecar, {});
  },
};
