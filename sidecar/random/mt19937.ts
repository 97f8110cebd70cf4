const N = 624;
const M = 397;

/** The Mersenne Twister MT19937 of Matsumoto and Nishimura (ACM TOMACS 8:1, 1998): 32 uniform bits a call. */
export class Mt19937 {
  private readonly state = new Uint32Array(N);
  private at = N;

  /** @param seed its low 32 bits count. */
  constructor(seed: number) {
    const s = this.state;
    s[0] = seed;
    for (let i = 1; i < N; i++) s[i] = Math.imul(1812433253, s[i - 1]! ^ (s[i - 1]! >>> 30)) + i;
  }

  /** The next whole number, 0…2³² − 1. */
  next(): number {
    if (this.at === N) this.twist();
    let y = this.state[this.at++]!;
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private twist(): void {
    const s = this.state;
    for (let i = 0; i < N; i++) {
      const y = (s[i]! & 0x80000000) | (s[(i + 1) % N]! & 0x7fffffff);
      s[i] = s[(i + M) % N]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}
