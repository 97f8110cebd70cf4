import type { Drill, Scenario } from './drill.ts';

/**
 * Runs scenarios, so many beside one another, each in a drill of its own.
 * @returns their drills, in the order of the scenarios.
 */
export async function runAll(
  drill: Drill,
  scenarios: readonly Scenario[],
  { atOnce, retries }: { atOnce: number; retries: number },
): Promise<Drill[]> {
  const drills: Drill[] = [];
  let next = 0;
  const some = async () => {
    for (let i = next++; i < scenarios.length; i = next++) {
      // Of several at once each is told when it is over.
      const lines: string[] = [];
      drills[i] = drill.another(atOnce > 1 ? (line) => lines.push(line) : drill.say);
      await drills[i]!.run(scenarios[i]!, retries);
      if (lines.length > 0) drill.say(lines.join('\n'));
    }
  };
  await Promise.all(Array.from({ length: atOnce }, some));
  return drills;
}
