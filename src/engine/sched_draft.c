/* sched_draft: whether a draft model shall guess for a sequence, and how far. SPDX-License-Identifier: Apache-2.0
 *
 * A guess costs a row of the large model and its share of a pass of the small one; both are counted in the time that a token takes at this batch.
 * With the chance a that a guess is right, k guesses give 1 + a + … + a^k tokens in the time 1 + k · cost: the best k is taken, if it beats
 * none and the text's own draft. What the draft model has not seen yet of a sequence (its prompt, mostly) is only computed when that is
 * little beside what drafting may gain; in portions, so that no step is much longer for it.
 * What a step costs without drafts cannot be told from steps that all have them, so one in many has none.
 * Where drafting does not pay it is tried once in a while, for a share of the time that is small, since texts change. */
#include "engine/sched.h"

/* The chance that a guess is right before any was seen, and how much one moves it: of the sequence, and of what new ones begin with. */
static const double RIGHT_AT_FIRST = 0.6, LEARN = 0.08, LEARN_ALL = 0.04;
static const double TRIED_SHARE = 0.03;                  /* of the time, at most, spent on trying what does not seem to pay */
static const double LEARN_PLAIN = 0.25, LEARN_ROW = 0.1; /* of what steps cost */
enum { PLAIN_EVERY = 32 /* steps with drafts */, AHEAD_TOKENS = 32, ALWAYS_TOKENS = 4, PORTION_ROWS_MIN = 16 };

void sched__draft_take(struct sequence *s) {
  for (size_t i; (i = s->model_draft.n_kv / KV_PAGE_TOKENS) < s->n_shared && s->nodes[i] && s->nodes[i]->drafted;)
    s->model_draft.n_kv = (i + 1) * KV_PAGE_TOKENS;
  if (s->model_draft.n_kv > s->n_tokens - 1) s->model_draft.n_kv = s->n_tokens - 1;
}

void sched__draft_tell(const struct sequence *s) {
  for (size_t i = 0; i < s->n_shared && (i + 1) * KV_PAGE_TOKENS <= s->model_draft.n_kv; i++)
    if (s->nodes[i]) s->nodes[i]->drafted = true;
}

/* What is needed to decide; times in ns. */
struct prospect {
  double token; /* a token at this batch, without drafts */
  double guess; /* one more guess, over `token` */
  double catch_up, right;
  size_t missing; /* rows to catch up */
};

static struct prospect look(const struct sched *c, const struct sequence *s, size_t n_decoding) {
  double step = c->plain_ns[n_decoding], pass = cost_decode_ns(&c->draft_cost, n_decoding);
  double row = c->draft_row_ns > 0 ? c->draft_row_ns : cost_row_ns(&c->cost),
         prompt = c->draft_cost.prompt_ns > 0 ? c->draft_cost.prompt_ns : row * c->config.draft_weight;
  if (pass <= 0) pass = step * c->config.draft_weight;
  struct prospect p = {.token = step / (double)n_decoding, .missing = s->n_tokens - 1 - s->model_draft.n_kv, .right = s->model_draft.right};
  p.guess = p.token > 0 ? (row + pass / (double)n_decoding) / p.token : 1;
  p.catch_up = (double)p.missing * prompt;
  return p;
}

/* Tokens for the time of one, with k guesses. */
static double speed_of(const struct prospect *p, size_t k) {
  double tokens = 1, chance = 1;
  for (size_t i = 0; i < k; i++) tokens += chance *= p->right;
  return tokens / (1 + (double)k * p->guess);
}

static size_t best_of(const struct prospect *p, size_t most, double *ret_speed) {
  size_t best = 0;
  *ret_speed = 1;
  for (size_t k = 1; k <= most; k++) {
    double speed = speed_of(p, k);
    if (speed > *ret_speed) best = k, *ret_speed = speed;
  }
  return best;
}

/* As long as what was generated, or AHEAD_TOKENS, is to come: then a wrong bet costs no more than was gained before, or little. */
static bool pays_to_catch_up(const struct prospect *p, const struct sequence *s, double speed) {
  size_t made = s->n_tokens - s->n_prompt, ahead = made > AHEAD_TOKENS ? made : AHEAD_TOKENS, left = s->n_tokens_max - s->n_tokens;
  if (ahead > left) ahead = left;
  return p->catch_up <= (double)ahead * p->token * (1 - 1 / speed);
}

static bool may_try(const struct prospect *p, const struct sequence *s) {
  return p->catch_up + p->guess * p->token <= TRIED_SHARE * (double)(s->n_tokens - s->model_draft.tried_at) * p->token;
}

bool sched__is_plain(struct sched *c, size_t n_decoding) {
  if (!c->config.guess || n_decoding > SCHED_DRAFTED_MAX || c->config.speculation == ENGINE_SPECULATE_ALWAYS) return false;
  return c->plain_ns[n_decoding] <= 0 || c->n_since_plain >= PLAIN_EVERY;
}

void sched__learn_cost(struct sched *c, size_t n_decoding, size_t draft_rows, uint64_t ns) {
  if (n_decoding == 0 || n_decoding > SCHED_DRAFTED_MAX) return;
  double *plain = &c->plain_ns[n_decoding];
  if (draft_rows == 0) {
    *plain = *plain > 0 ? *plain + LEARN_PLAIN * ((double)ns - *plain) : (double)ns;
    c->n_since_plain = 0;
    return;
  }
  c->n_since_plain++;
  if (*plain <= 0) return;
  double row = (double)ns > *plain ? ((double)ns - *plain) / (double)draft_rows : 0;
  c->draft_row_ns = c->draft_row_ns > 0 ? c->draft_row_ns + LEARN_ROW * (row - c->draft_row_ns) : row;
}

size_t sched__model_draft(struct sched *c, struct sequence *s, size_t most, size_t n_decoding, double text_speed) {
  struct model_draft *m = &s->model_draft;
  if (!m->learns) m->right = c->draft_seen ? c->draft_right : RIGHT_AT_FIRST, m->tried_at = s->n_tokens;
  m->learns = true;
  sched__draft_take(s);
  if (s->n_tokens >= c->config.draft_context) return 0;
  if (most > c->config.draft_context - s->n_tokens) most = c->config.draft_context - s->n_tokens;
  if (most > SPECULATE_ROWS_MAX) most = SPECULATE_ROWS_MAX;
  if (most == 0) return 0;
  if (c->config.speculation == ENGINE_SPECULATE_ALWAYS) return most < ALWAYS_TOKENS ? most : ALWAYS_TOKENS;
  double speed;
  struct prospect p = look(c, s, n_decoding);
  size_t k = best_of(&p, most, &speed);
  if (k && speed > text_speed && pays_to_catch_up(&p, s, speed)) return k;
  return text_speed <= 1 && may_try(&p, s) ? 1 : 0;
}

size_t sched__catch_up_rows(const struct sched *c, size_t n_decoding) {
  double step = cost_decode_ns(&c->cost, n_decoding), row = c->draft_cost.prompt_ns;
  if (step <= 0 || row <= 0) return PORTION_ROWS_MIN;
  double rows = step / row;
  return rows < PORTION_ROWS_MIN ? PORTION_ROWS_MIN : rows < 1e6 ? (size_t)rows : 1000000;
}

void sched__learn_draft(struct sched *c, struct sequence *s, const int32_t *came, size_t n) {
  for (size_t i = 0; i < n && i < s->n_draft; i++) {
    bool hit = came[i] == s->model_draft.guess[i];
    s->model_draft.right += LEARN * (hit - s->model_draft.right);
    if (!c->draft_seen) c->draft_right = RIGHT_AT_FIRST;
    c->draft_seen = true;
    c->draft_right += LEARN_ALL * (hit - c->draft_right);
    if (!hit) return;
  }
}
