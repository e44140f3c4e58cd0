/* sim: see sim.h. SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "engine/memory.h"
#include "sim.h"

uint64_t sim_random(struct sim *m, uint64_t below) {
  m->random = m->random * 6364136223846793005u + 1442695040888963407u;
  return (m->random >> 33) % below;
}

/* ---- the model ---- */

static uint64_t chain_next(const struct sequence *s, uint64_t before, size_t position, int32_t token) {
  uint64_t h = position ? before : s->request.tenant * 1000003 + (uint64_t)(uintptr_t)s->request.adapter;
  h = (h ^ (uint32_t)token) * 0x9E3779B97F4A7C15u;
  return h ^ h >> 31;
}

static uint64_t *slot(const struct sequence *s, size_t position) {
  return (uint64_t *)s->pages[position / KV_PAGE_TOKENS] + position % KV_PAGE_TOKENS;
}

static struct sim_request *request_of(const struct sim *m, uint64_t id) { return &m->requests[id % SIM_IDS]; }

/* ---- the draft model: the same hashes, in the second half of a page ---- */

static uint64_t *draft_slot(const struct sequence *s, size_t position) { return slot(s, position) + KV_PAGE_TOKENS; }

/* What stands before a row must be of this very text: a stale or foreign part of a page shows here. */
static uint64_t draft_row(const struct sequence *s, const struct sim_request *r, size_t p, int32_t token) {
  if (p && p <= s->n_tokens) assert_true(*draft_slot(s, p - 1) == r->chain[p - 1]);
  return *draft_slot(s, p) = chain_next(s, p ? *draft_slot(s, p - 1) : 0, p, token);
}

static void guess_one(struct sim *m, struct draft_ask *a) {
  struct sequence *s = a->sequence;
  const struct sim_request *r = request_of(m, s->request.id);
  size_t n_caught_up = 0;
  sched__draft_take(s);
  for (; s->model_draft.n_kv < s->n_tokens - 1 && n_caught_up < a->rows_max; n_caught_up++, s->model_draft.n_kv++)
    draft_row(s, r, s->model_draft.n_kv, s->tokens[s->model_draft.n_kv]);
  sched__draft_tell(s);
  if (s->model_draft.n_kv < s->n_tokens - 1) a->n = 0;
  for (size_t i = 0; i < a->n; i++) {
    size_t p = s->n_tokens - 1 + i;
    uint64_t value = draft_row(s, r, p, i ? s->model_draft.guess[i - 1] : s->tokens[p]);
    s->model_draft.n_kv = p + 1;
    bool right = sim_random(m, 4) > 0;
    s->model_draft.guess[i] = (int32_t)((right ? value : sim_random(m, 1000)) % (uint64_t)m->vocab);
    m->n_guessed++;
  }
}

static void guess(void *ctx, struct draft_ask *asks, size_t n) {
  assert_true(n > 0 && n <= SCHED_DRAFTED_MAX);
  for (size_t i = 0; i < n; i++) guess_one(ctx, &asks[i]);
}

static size_t range_pages(const struct engine_memory *m, size_t page_bytes) {
  return (size_t)((m->bytes_max > m->bytes_usual ? m->bytes_max : m->bytes_usual) / page_bytes);
}

void sim_open(struct sim *m, const struct sim_options *o) {
  static const double equal[ENGINE_CLASSES] = {1, 2, 4, 8};
  struct error err;
  *m = (struct sim){.random = 1, .now_ns = 1, .ns_fixed = 10000000, .ns_row = 1000000, .vocab = 4};
  m->requests = mem_zalloc(SIM_IDS, sizeof *m->requests);
  struct sched_config config = {.running_max = o->running_max,
                                .rows_max = o->rows_max,
                                .out_rows_max = o->rows_max,
                                .prefill_rows_max = o->prefill_rows_max ? o->prefill_rows_max : o->rows_max,
                                .slowdown = 2,
                                .window = o->window,
                                .held_max = o->window + o->rows_max + KV_PAGE_TOKENS,
                                .context_bytes = o->context_bytes,
                                .whole_context_bytes = o->whole_context_bytes,
                                .speculation = o->speculation};
  if (o->drafts) {
    config.guess = guess;
    config.guess_ctx = m;
    config.draft_context = SIM_CONTEXT - 20;
    config.draft_weight = 0.1;
  }
  for (int i = 0; i < ENGINE_CLASSES; i++) config.weights[i] = (o->weights ? o->weights : equal)[i];
  size_t page_bytes = o->page_bytes ? o->page_bytes : (o->drafts ? 2 : 1) * KV_PAGE_TOKENS * sizeof(uint64_t);
  m->memory = o->memory;
  if (!o->memory && !o->embeds) m->memory = m->own_memory = engine_memory_create(o->n_pages * page_bytes);
  if (!o->embeds) assert_int_equal(pages_init(&m->pages, m->memory, page_bytes, range_pages(m->memory, page_bytes), &err), 0);
  sched_init(&m->sched, &config, o->embeds ? NULL : &m->pages);
}

void sim_close(struct sim *m) {
  sched_deinit(&m->sched);
  pages_deinit(&m->pages);
  engine_memory_destroy(m->own_memory);
  free(m->requests);
}

static void extend_truth(struct sim_request *r, const struct sequence *s) {
  for (; r->n_chain < s->n_tokens; r->n_chain++)
    r->chain[r->n_chain] = chain_next(s, r->n_chain ? r->chain[r->n_chain - 1] : 0, r->n_chain, s->tokens[r->n_chain]);
}

static void choose(struct sim *m, struct sequence *s, uint64_t value) {
  sequence_add_token(s, (int32_t)(value % (uint64_t)m->vocab));
  s->n_new++;
  bool stops = m->stop_one_in && (value >> 20) % m->stop_one_in == 0;
  s->finish = stops ? ENGINE_STOP : s->n_tokens >= s->n_tokens_max ? ENGINE_LENGTH : ENGINE_RUNNING;
}

static void compute(struct sim *m, struct sequence *s) {
  struct sim_request *r = request_of(m, s->request.id);
  size_t known = s->n_tokens;
  bool goes_on = true;
  assert_true(r->alive && s->n_rows > 0 && s->n_computed + s->n_rows <= known + s->n_draft);
  for (size_t i = 0; i < s->n_rows; i++) {
    size_t p = s->n_computed + i;
    int32_t token = p < known ? s->tokens[p] : s->draft[p - known];
    uint64_t value = chain_next(s, p ? *slot(s, p - 1) : 0, p, token);
    *slot(s, p) = value;
    if (p < known) assert_true(value == r->chain[p]);
    if (p < known && sequence_reports(s, p)) s->n_reported = p + 2;
    if (p + 1 < known || !goes_on) continue;
    choose(m, s, value);
    goes_on = s->finish == ENGINE_RUNNING && p + 1 < known + s->n_draft && s->tokens[s->n_tokens - 1] == s->draft[p + 1 - known];
  }
  extend_truth(r, s);
}

/* ---- requests ---- */

uint64_t sim_submit(struct sim *m, struct engine_request *r) {
  r->id = m->n_submitted++;
  struct sim_request *mine = request_of(m, r->id);
  assert_false(mine->alive);
  struct sequence *s = sequence_create(r, SIM_CONTEXT, NULL, 0);
  *mine = (struct sim_request){.alive = true, .id = r->id, .begun_step = m->n_steps, .n_prompt = r->n_prompt};
  extend_truth(mine, s);
  sched_add(&m->sched, s, m->now_ns);
  return r->id;
}

bool sim_alive(const struct sim *m, uint64_t id) { return request_of(m, id)->alive && request_of(m, id)->id == id; }

static void end(struct sim *m, struct sequence *s) {
  struct sim_request *r = request_of(m, s->request.id);
  assert_true(r->alive); /* each ends once */
  r->alive = false;
  r->n_tokens = s->n_tokens;
  uint64_t steps = m->n_steps - r->begun_step;
  if (steps > m->longest_steps) m->longest_steps = steps;
  m->n_ended++;
  sequence_destroy(s);
}

void sim_cancel(struct sim *m, uint64_t id) {
  struct sequence *s = sched_find(&m->sched, id);
  assert_true((s != NULL) == sim_alive(m, id));
  if (!s) return;
  sched_remove(&m->sched, s);
  m->n_cancelled++;
  end(m, s);
}

/* ---- a round ---- */

/* What is computed again after a preemption is nobody's work. */
static void count_work(const struct sim *m, const struct sequence *s) {
  if (!m->work) return;
  bool decodes = s->n_new && s->n_computed + 1 == s->n_tokens - s->n_new;
  size_t end = s->n_computed + s->n_rows, fresh = end > s->n_worked ? end - s->n_worked : 0;
  m->work[s->request.principal] += (double)(SCHED_PROMPT_WORK * (decodes ? 0 : fresh) + SCHED_OUTPUT_WORK * s->n_new);
}

static void step_generate(struct sim *m) {
  struct sched_plan *p = &m->sched.plan;
  sched_plan(&m->sched, m->now_ns);
  size_t rows = 0;
  if (p->n_rows == 0 && !m->own_memory) return; /* others have all the memory */
  assert_true(p->n_rows > 0 && p->n_rows <= m->sched.config.rows_max && p->n_out <= m->sched.config.out_rows_max);
  for (size_t i = 0; i < p->n; i++) {
    rows += p->items[i]->n_rows;
    compute(m, p->items[i]);
    count_work(m, p->items[i]);
  }
  assert_int_equal(rows, p->n_rows);
  m->last_ns = m->ns_fixed + m->ns_row * rows;
  m->now_ns += m->last_ns;
  sched_took(&m->sched, m->last_ns);
  for (size_t i = 0; i < p->n; i++) {
    struct sequence *s = p->items[i];
    sched_commit(&m->sched, s);
    if (s->finish == ENGINE_RUNNING) continue;
    sched_remove(&m->sched, s);
    end(m, s);
  }
}

static void step_embed(struct sim *m) {
  struct sched_plan *p = &m->sched.plan;
  sched_embed_plan(&m->sched, m->now_ns);
  assert_true(p->n > 0 && p->n_rows <= m->sched.config.rows_max);
  for (size_t i = 0; i < p->n; i++) {
    count_work(m, p->items[i]);
    sched_remove(&m->sched, p->items[i]);
    end(m, p->items[i]);
  }
}

bool sim_step(struct sim *m) {
  for (struct sequence *s; (s = sched_expire(&m->sched, m->now_ns));) {
    assert_true(s->request.deadline_ns && s->request.deadline_ns <= m->now_ns);
    m->n_expired++;
    end(m, s);
  }
  if (!sched_busy(&m->sched)) return false;
  m->n_steps++;
  if (m->sched.pages) step_generate(m);
  else step_embed(m);
  return true;
}

/* ---- invariants ---- */

static void check_sequence(const struct sim *m, const struct sequence *s, size_t *private, size_t *lacking) {
  assert_true(s->n_pages == sequence_pages_for(s->n_computed) || s->n_pages == sequence_pages_for(s->n_computed + 1));
  assert_true(s->n_computed < s->n_tokens && s->n_shared <= s->n_pages);
  for (size_t i = 0; i < s->n_pages; i++) {
    *private += i >= s->n_shared && s->pages[i];
    if (i < s->n_left) assert_true(!s->pages[i] && !s->nodes[i]);
    else if (i < s->n_shared) assert_true(s->nodes[i]->page == s->pages[i] && s->nodes[i]->refs > 0);
    else if (s->nodes[i]) assert_true(s->nodes[i]->owner == s && !s->nodes[i]->page);
  }
  if (s->n_computed) assert_true(*slot(s, s->n_computed - 1) == request_of(m, s->request.id)->chain[s->n_computed - 1]);
  *lacking += s->n_lacks;
  if (!m->sched.config.window) assert_int_equal(s->n_lacks, sequence_pages_for(s->n_tokens) - s->n_pages);
}

static void check_tree(const struct prefix *t, size_t held) {
  size_t refs = 0, pages = 0, unused = 0, nodes = 0;
  for (size_t b = 0; b < t->n_buckets; b++)
    for (const struct prefix_node *n = t->buckets[b]; n; n = n->hash_next) {
      nodes++;
      pages += n->page != NULL;
      unused += n->page && n->refs == 0;
      if (n->parent) refs += n->refs;
      assert_true(n->page || n->owner || n->n_children || n->refs); /* none is left over */
      assert_false(n->page && n->owner);
    }
  assert_int_equal(nodes, t->n_nodes);
  assert_int_equal(pages, t->n_pages);
  assert_int_equal(unused, t->n_unused);
  assert_int_equal(refs, held);
}

void sim_check(struct sim *m) {
  const struct sched *c = &m->sched;
  size_t private = 0, lacking = 0, shared = 0, running = 0;
  for (const struct sequence *s = c->running.first; s; s = s->next) {
    check_sequence(m, s, &private, &lacking);
    for (size_t i = 0; i < s->n_shared; i++) shared += s->pages[i] != NULL;
    running++;
  }
  assert_int_equal(running, c->running.n);
  assert_true(running <= c->config.running_max);
  assert_int_equal(c->n_alive, c->fair.n_waiting + running);
  assert_int_equal(c->n_alive, m->n_submitted - m->n_ended);
  assert_int_equal(lacking, c->reserved);
  assert_int_equal(c->pages->n_free + c->prefix.n_pages + private, c->pages->n_pages);
  assert_true(c->reserved <= c->pages->n_free + c->prefix.n_unused + /* a step later the youngest gives way */ running);
  assert_true(c->pages->n_spare <= c->pages->n_free);
  if (m->own_memory) assert_true(m->memory->bytes_held <= m->memory->bytes_max);
  check_tree(&c->prefix, shared);
}
