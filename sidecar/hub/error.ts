/** A model that cannot be had from the hub; the message is for the operator. */
export class HubError extends Error {
  override name = 'HubError';
}
