import { type Renewal, stampOf, whenChanged } from '../../proto/renewal.ts';
import type { SidecarClient } from './client.ts';

export interface RenewedOptions extends Pick<Renewal, 'files' | 'say' | 'everyMs'> {
  /** A client that shows what the files say now. Throws where that is wrong: then the one before goes on. */
  open: () => SidecarClient;
}

/** A sidecar's client that is opened anew when files have changed; calls under way end with the one they began with. */
export function renewedSidecar({ open, ...renewal }: RenewedOptions): SidecarClient {
  const since = stampOf(renewal.files);
  let client = open();
  if (renewal.files.length === 0) return client;
  const end = whenChanged({
    ...{ ...renewal, since },
    what: 'token and certificates for the sidecar',
    renew() {
      const next = open();
      client.close();
      client = next;
    },
  });
  return {
    generate: (...args) => client.generate(...args),
    listModels: (...args) => client.listModels(...args),
    deviceInfo: (...args) => client.deviceInfo(...args),
    listNames: (...args) => client.listNames(...args),
    preprocess: (...args) => client.preprocess(...args),
    close() {
      end();
      client.close();
    },
  };
}
