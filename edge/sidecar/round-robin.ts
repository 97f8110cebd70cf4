import { createHash } from 'node:crypto';
import { experimental, type Metadata } from '@grpc/grpc-js';

const { ChildLoadBalancerHandler, createChildChannelControlHelper, parseLoadBalancingConfig } = experimental;
const { PickResultType, registerLoadBalancerType, UnavailablePicker } = experimental;

const NAME = 'latent_edge_round_robin';
/** The addresses that a call has been to, in what is sent with it; only this file reads it. */
const BEEN_TO = 'x-latent-edge-been-to';
/** What a call is known by, likewise. */
const KNOWN_BY = 'x-latent-edge-known-by';

/** gRPC's round_robin, in which a call can be sent where it has not been yet, or where others of its name have been. */
export const roundRobin: string = JSON.stringify({ loadBalancingConfig: [{ [NAME]: {} }] });

/** Has a call go to another of the addresses behind its name; where all that are ready are among these, it fails. */
export function goElsewhere(metadata: Metadata, beenTo: readonly string[]): void {
  for (const address of beenTo) metadata.add(BEEN_TO, encodeURI(address));
}

/**
 * Has calls of the same name go to the same of the addresses that are ready (rendezvous hashing): where one comes or
 * goes, the names of the others stay where they are.
 * @param name ASCII.
 */
export function goTogether(metadata: Metadata, name: string): void {
  metadata.set(KNOWN_BY, name);
}

class Config implements experimental.TypedLoadBalancingConfig {
  readonly inner = parseLoadBalancingConfig({ round_robin: {} });

  static createFromJson(): Config {
    return new Config();
  }

  getLoadBalancerName(): string {
    return NAME;
  }

  toJsonObject(): object {
    return { [NAME]: {} };
  }
}

class Elsewhere implements experimental.Picker {
  readonly #inner: experimental.Picker;

  constructor(inner: experimental.Picker) {
    this.#inner = inner;
  }

  pick(args: experimental.PickArgs): experimental.PickResult {
    const beenTo = new Set(args.metadata.get(BEEN_TO).map(String));
    const [name] = args.metadata.get(KNOWN_BY);
    const round = new Map<string, experimental.PickResult>();
    for (;;) {
      const picked = this.#inner.pick(args);
      const isAny = beenTo.size === 0 && name === undefined;
      if (isAny || picked.pickResultType !== PickResultType.COMPLETE) return picked;
      const address = picked.subchannel?.getAddress();
      if (address === undefined) return picked;
      // It has been round.
      if (round.has(address)) break;
      round.set(address, picked);
    }
    const others = [...round.keys()].filter((address) => !beenTo.has(encodeURI(address)));
    if (name !== undefined) others.sort((a, b) => (rank(name, a) < rank(name, b) ? 1 : -1));
    const [first] = others;
    if (first === undefined) return new UnavailablePicker({ details: 'There is no other' }).pick(args);
    return round.get(first)!;
  }
}

/** Of the addresses, a name goes to the one where this is largest. */
function rank(name: string | Buffer, address: string): string {
  return createHash('sha256').update(name).update(`\0${address}`).digest('hex');
}

class Balancer extends ChildLoadBalancerHandler implements experimental.LoadBalancer {
  constructor(helper: experimental.ChannelControlHelper) {
    const updateState: typeof helper.updateState = (state, picker, error) =>
      helper.updateState(state, new Elsewhere(picker), error);
    super(createChildChannelControlHelper(helper, { updateState }));
  }

  override updateAddressList(...args: Parameters<experimental.LoadBalancer['updateAddressList']>): boolean {
    const [addresses, config, ...rest] = args;
    return super.updateAddressList(addresses, (config as Config).inner, ...rest);
  }

  override getTypeName(): string {
    return NAME;
  }
}

registerLoadBalancerType(NAME, Balancer, Config);
