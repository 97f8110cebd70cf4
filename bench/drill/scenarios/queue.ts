import { ask, askAll } from '../ask.ts';
import { range, type Scenario } from '../drill.ts';
import { pause, until } from '../until.ts';

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

    const leaving = new AbortController();
    const taken = range(running + waiting).map((i) =>
      ask(edge.url, { model: asks[0]!.model, steps: 500, seed: 1000 + i }, { leave: leaving.signal }),
    );
    let full = await sidecar.figures();
    await until(async () => {
      full = await sidecar.figures();
      return full.running + full.waiting === running + waiting;
    });
    const refused = await drill.load(edge, drill.asksOf(1, 6), 6);
    leaving.abort();
    await Promise.all(taken);
    drill.promise(
      `as many as may run and wait (${running} and ${waiting}) are taken, the rest refused at once with 429 and retry-after`,
      `${full.running} run, ${full.waiting} wait; refused: ${refused.length}, retry-after ${[...new Set(refused.map(({ retryAfter }) => `${retryAfter} s`))].join(', ')}`,
      full.running === running &&
        full.waiting === waiting &&
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
