/* sampler: from logits to a token. Private to the room. SPDX-License-Identifier: Apache-2.0
 *
 * In this order, which is that of vLLM (V1):
 *   1. min_tokens: what must not come yet gets the logit −∞;
 *   2. logit_bias is added;
 *   3. repetition penalty r, for every token of the prompt and of the text so far: a positive logit is divided by r, another one is
 *      multiplied by it;
 *   4. frequency penalty f, then presence penalty p, for tokens of the generated text alone: logit − f · (how often), then − p;
 *   5. with temperature 0, or top_k 1, the largest logit is taken (the lowest id on ties), and nothing below has an effect;
 *   6. temperature: weight = exp((logit − largest logit) · (1 / temperature));
 *   7. min_p keeps what has at least min_p times the weight of the most likely;
 *   8. top_k keeps the k most likely of these;
 *   9. top_p keeps the fewest of these, most likely first, whose weights reach p of their sum;
 *  10. one draw u in [0, 1) picks by running sum: over ids in ascending order when neither top_k nor top_p is set, else from most to
 *      least likely (the lower id first on ties).
 * Every operation is one fp32 rounding, sums of 9 and 10 apart, which are those of sampler.c in a fixed order. u comes from Philox 4x32-10
 * (Salmon et al., 2011) keyed by the seed, with the position as counter: the same seed and position give the same draw. Where the weights
 * are no numbers (a model that gives NaN or ∞), the largest logit is taken. */
#ifndef ENGINE_SAMPLER_H
#define ENGINE_SAMPLER_H
#include "engine/engine.h"
#include "engine/tally.h"

struct sampler; /* scratch for one thread */

struct sampler *sampler_create(size_t n_vocab);
void sampler_destroy(struct sampler *s); /* NULL is fine */

/* What decides beside the logits. Ids are in the vocabulary. */
struct sampler_choice {
  const struct engine_sampling *sampling;
  const struct tally *tally; /* of the sequence; NULL: no penalties */
  const int32_t *banned;     /* ids that cannot be chosen */
  size_t n_banned;
  uint64_t position; /* number of tokens in front of the one to choose */
};

/* Whether a penalty is set, so that a tally is needed. */
bool sampler_penalizes(const struct engine_sampling *sampling);
/* logits are changed and put back, so what is asked about them afterwards is the model's own. */
int32_t sampler_choose(struct sampler *s, float *logits, const struct sampler_choice *choice);
/* Log-probability of id under softmax(logits), and the n_top most likely ids, most likely first (lower id first on ties). */
float sampler_logprobs(struct sampler *s, const float *logits, int32_t id, struct engine_logprob *top, int n_top);

/* The uniform number in [0, 1) for (seed, position), 53 bits. */
double sampler_uniform(uint64_t seed, uint64_t position);
/* Philox 4x32-10, one block: for tests against the published vectors. */
void sampler_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
