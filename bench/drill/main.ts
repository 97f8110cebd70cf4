// npm run drill -- [options]; docs/fault-drill.md has what came of it.
import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { circumstances, whole } from '../report.ts';
import { runAll } from './at-once.ts';
import { Drill } from './drill.ts';
import { writePage } from './page.ts';
import { scenarios } from './scenarios/index.ts';

/** Set in the process that has a network of its own. */
const INSIDE = 'LATENT_EDGE_DRILL_INSIDE';

interface Options {
  short?: boolean;
  only?: string[];
  networks: boolean;
  page?: string;
  retry: number;
  atOnce: number;
}

await new Command('drill')
  .description(
    'Lets things go wrong around the edge and its sidecars, and says what was promised and what happened.',
  )
  .option('--short', 'few requests: two to three minutes, for CI')
  .option('--only <names...>', `of ${scenarios.map(({ name }) => name).join(', ')}`)
  .option('--no-networks', 'cuts the network by a proxy that stops forwarding')
  .option('--retry <times>', 'tries a scenario again where a promise broke', whole, 0)
  .option('--at-once <number>', 'so many scenarios beside one another', whole, 1)
  .option('--page <file>', 'writes the result there, as a page')
  .action(run)
  .parseAsync();

async function run({ short = false, only, networks, page, retry, atOnce }: Options): Promise<void> {
  if (networks && !process.env[INSIDE]) {
    const status = insideItsOwnNetwork();
    if (status !== undefined) {
      process.exitCode = status;
      return;
    }
  }
  const when = circumstances();
  const say = (line: string) => console.log(line);
  const drill = new Drill({ isShort: short, hasNetworks: Boolean(process.env[INSIDE]), say });
  const began = performance.now();
  await drill.learn();
  const chosen = scenarios.filter(({ name }) => !only || only.includes(name));
  const drills = await runAll(drill, chosen, { atOnce, retries: retry });
  const [outcomes, retried] = [
    drills.flatMap((each) => each.outcomes),
    drills.flatMap((each) => each.retried),
  ];
  const broken = outcomes.filter(({ isKept }) => !isKept).length;
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  if (!drill.hasNetworks && chosen.some(({ name }) => name === 'network'))
    say('\nThe network was cut by a proxy that stops forwarding, and not by namespaces.');
  if (retried.length > 0) say(`\nTried again: ${retried.join(', ')}`);
  say(`\n${outcomes.length - broken} promises kept, ${broken} broken, in ${minutes} minutes`);
  if (page) writePage(page, outcomes, { ...when, minutes, isShort: short, retried });
  if (broken > 0 || outcomes.length === 0) process.exitCode = 1;
}

/**
 * Runs this program again in a network namespace of its own, which nothing leaves.
 * @returns its status; undefined where that is not allowed, or there are no such namespaces.
 */
function insideItsOwnNetwork(): number | undefined {
  const lo = 'ip link set lo up && exec "$@"';
  for (const how of [['--net'], ['--user', '--map-root-user', '--net']]) {
    const within = (...command: string[]) => [...how, 'sh', '-c', lo, 'sh', ...command];
    const joined = ['ip', 'link', 'add', 'le-try', 'type', 'veth', 'peer', 'name', 'le-other'];
    if (spawnSync('unshare', within(...joined), { stdio: 'ignore' }).status !== 0) continue;
    const again = within(process.execPath, ...process.execArgv, ...process.argv.slice(1));
    return (
      spawnSync('unshare', again, { stdio: 'inherit', env: { ...process.env, [INSIDE]: 'yes' } }).status ?? 1
    );
  }
  return undefined;
}
