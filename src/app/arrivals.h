/* arrivals: when the requests of an open loop come. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_ARRIVALS_H
#define APP_ARRIVALS_H
#include <stddef.h>
#include <stdint.h>

/* at_s[i]: when request i arrives, in seconds, ascending from 0. The gaps have a gamma distribution with mean 1 / rate_per_s: burstiness 1 is
 * a Poisson process, below 1 come bursts, above 1 the gaps grow even. An infinite rate lets all arrive at 0. */
void arrivals_make(uint64_t seed, double rate_per_s, double burstiness, double *at_s, size_t n);

#endif
