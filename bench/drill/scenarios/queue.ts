import { ask, askAll } from '../ask.ts';
import { pause, range, type Scenario } from '../drill.ts';

export const queue: Scenario = {
  name: 'queue',
  title: 'More is asked for than can wait',
  async run(drill) {
    const [running, waiting] = [2, 4];
    const sidecar = await drill.sidecar({
      args: ['--concurrency', `${running}`, '--queue-limit', `${waiting}`],
    });
    const edge = await drill.edge([sidecar]);
    const { memory } = await sidecar.figures();
    const count = drill.isShort ? 16 : 120;
    const asks = drill.asksOf(1, count);

    const together = await drill.load(edge, drill.asksOf(1, 12), 12);
    drill.answered(together, { allowed: ['queue_full'] });
    const refused = together.filter(({ code }) => code === 'queue_full');
    drill.promise(
      `as many as run and wait (${running} and ${waiting}) are taken, the rest refused at once with 429 and retry-after`,
      `${together.length - refused.length} taken; refused: ${refused.length}, retry-after ${[...new Set(refused.map(({ retryAfter }) => `${retryAfter} s`))].join(', ')}`,
      refused.length > 0 &&
        refused.every(({ status, retryAfter }) => status === 429 && retryAfter! >= 1 && retryAfter! <= 60),
    );

    let tries = 0;
    const patient = await askAll(asks, 12, async (what) => {
      for (const attempt of range(60)) {
        const answer = await ask(edge.url, what);
        tries++;
        if (answer.code !== 'queue_full' || attempt === 59) return answer;
        await pause(1000 * answer.retryAfter!);
      }
      throw new Error('unreachable');
    });
    drill.answered(patient);
    drill.promise(
      'whoever comes back after the time that was said is served in the end',
      `${patient.filter(({ code }) => code === 'ok').length} of ${count}, with ${tries} tries`,
      patient.every(({ code }) => code === 'ok'),
    );
    await drill.settled(sidecar, memory);
  },
};
