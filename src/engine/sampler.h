/* sampler: from logits to a token. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * temperature 0 takes the largest logit (lowest id on ties). Otherwise, in this order: temperature scales the logits, top_k keeps the k
 * most likely, top_p keeps the fewest most likely whose probability reaches p, and one draw u in [0, 1) picks by running sum: over ids
 * in ascending order when nothing was cut off, else over candidates from most to least likely (lower id first on ties). u comes from
 * Philox 4x32-10 (Salmon et al., 2011) keyed by the seed, with the position as counter: the same seed and position give the same draw. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H
#include "engine/engine.h"

struct sampler; /* scratch for one thread */

struct sampler *sampler_create(size_t n_vocab);
void sampler_destroy(struct sampler *s); /* NULL is fine */

/* position: number of tokens in front of the one to choose. */
int32_t sampler_choose(struct sampler *s, const float *logits, const struct engine_sampling *sampling, uint64_t position);
/* Log-probability of id under softmax(logits), and the n_top most likely ids, most likely first (lower id first on ties). */
float sampler_logprobs(struct sampler *s, const float *logits, int32_t id, struct engine_logprob *top, int n_top);

/* The uniform number in [0, 1) for (seed, position), 53 bits. */
double sampler_uniform(uint64_t seed, uint64_t position);
/* Philox 4x32-10, one block: for tests against the published vectors. */
void sampler_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
