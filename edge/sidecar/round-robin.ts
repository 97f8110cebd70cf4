import { experimental, type Metadata } from '@grpc/grpc-js';

const { ChildLoadBalancerHandler, createChildChannelControlHelper, parseLoadBalancingConfig } = experimental;
const { PickResultType, registerLoadBalancerType, UnavailablePicker } = experimental;

const NAME = 'latent_edge_round_robin';
/** The addresses that a call has been to, in what is sent with it; only this file reads it. */
const BEEN_TO = 'x-latent-edge-been-to';

/** gRPC's round_robin, in which a call can be sent where it has not been yet. */
export const roundRobin: string = JSON.stringify({ loadBalancingConfig: [{ [NAME]: {} }] });

/** Has a call go to another of the addresses behind its name; where all that are ready are among these, it fails. */
export function goElsewhere(metadata: Metadata, beenTo: readonly string[]): void {
  for (const address of beenTo) metadata.add(BEEN_TO, encodeURI(address));
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
    const passed = new Set<string>();
    for (;;) {
      const picked = this.#inner.pick(args);
      if (beenTo.size === 0 || picked.pickResultType !== PickResultType.COMPLETE) return picked;
      const address = picked.subchannel?.getAddress();
      if (address === undefined || !beenTo.has(encodeURI(address))) return picked;
      // It has been round.
      if (passed.has(address)) return new UnavailablePicker({ details: 'There is no other' }).pick(args);
      passed.add(address);
    }
  }
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
