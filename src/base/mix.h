/* mix: small hashes and small random numbers, where neither has to withstand an attacker. SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_MIX_H
#define BASE_MIX_H
#include <stdint.h>

/* A step of a hash: h takes in v. */
static inline uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x9E3779B97F4A7C15u;
  return h ^ h >> 29;
}

/* The n-th of the uniform numbers that follow a seed, n from 1: SplitMix64 (Steele, Lea, Flood 2014). Any seed is a good one. */
static inline uint64_t mix_nth(uint64_t seed, uint64_t n) {
  uint64_t z = seed + n * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

/* The next of them; state begins as the seed. */
static inline uint64_t mix_next(uint64_t *state) {
  uint64_t next = mix_nth(*state, 1);
  *state += 0x9E3779B97F4A7C15u;
  return next;
}

#endif
