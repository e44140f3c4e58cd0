/* sched: see sched.h. SPDX-License-Identifier: Apache-2.0 */
#include "engine/sched.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "engine/memory.h"

enum { PAGE = KV_PAGE_TOKENS, BUCKETS_AT_FIRST = 256, PROMPT_ROWS_MIN = 2 };

static bool expires_before(const struct heap_item *a, const struct heap_item *b) {
  return heap_of(a, struct sequence, expires)->request.deadline_ns < heap_of(b, struct sequence, expires)->request.deadline_ns;
}

void sched_init(struct sched *c, const struct sched_config *config, struct pages *pages) {
  *c = (struct sched){.config = *config, .pages = pages, .deadlines.before = expires_before, .n_buckets = BUCKETS_AT_FIRST};
  assert(config->running_max > 0 && config->running_max <= config->rows_max && config->running_max <= config->out_rows_max);
  size_t most = config->running_max > SCHED_TEXTS_MAX ? config->running_max : SCHED_TEXTS_MAX;
  c->buckets = mem_zalloc(c->n_buckets, sizeof(struct sequence *));
  c->plan.items = mem_zalloc(most, sizeof(struct sequence *));
  c->order = mem_zalloc(most, sizeof(struct sequence *));
  fair_init(&c->fair, config->weights);
  if (!pages) return;
  prefix_init(&c->prefix, pages);
  c->memory = pages->shared;
  memory_add(c->memory, c);
}

void sched_deinit(struct sched *c) {
  if (!c->buckets) return;
  for (size_t i = 0; i < c->n_buckets; i++)
    while (c->buckets[i]) {
      struct sequence *s = c->buckets[i];
      sched_remove(c, s);
      sequence_destroy(s);
    }
  if (c->pages) prefix_deinit(&c->prefix);
  if (c->memory) memory_remove(c->memory, c);
  fair_deinit(&c->fair);
  heap_deinit(&c->deadlines);
  free(c->buckets);
  free(c->plan.items);
  free(c->order);
  *c = (struct sched){0};
}

/* ---- by id ---- */

static struct sequence **bucket(const struct sched *c, uint64_t id) {
  return &c->buckets[(id * 0x9E3779B97F4A7C15u >> 32) & (c->n_buckets - 1)];
}

static void hash_in(struct sched *c, struct sequence *s) {
  struct sequence **first = bucket(c, s->request.id);
  s->hash_next = *first;
  *first = s;
}

static void grow(struct sched *c) {
  struct sequence **old = c->buckets;
  size_t n = c->n_buckets;
  c->n_buckets *= 2;
  c->buckets = mem_zalloc(c->n_buckets, sizeof(struct sequence *));
  for (size_t i = 0; i < n; i++)
    for (struct sequence *s = old[i], *next; s; s = next) {
      next = s->hash_next;
      hash_in(c, s);
    }
  free(old);
}

struct sequence *sched_find(const struct sched *c, uint64_t id) {
  struct sequence *s = *bucket(c, id);
  while (s && s->request.id != id) s = s->hash_next;
  return s;
}

struct sequence *sched_find_adapter(const struct sched *c, const struct adapter *a) {
  for (size_t i = 0; i < c->n_buckets; i++)
    for (struct sequence *s = c->buckets[i]; s; s = s->hash_next)
      if (s->request.adapter == a) return s;
  return NULL;
}

/* ---- coming and going ---- */

static void wait_from(struct sched *c, struct sequence *s, uint64_t now_ns) {
  s->place = SEQUENCE_WAITS;
  s->waits_ns = now_ns;
  if (s->request.deadline_ns) heap_push(&c->deadlines, &s->expires);
}

void sched_add(struct sched *c, struct sequence *s, uint64_t now_ns) {
  if (++c->n_alive > c->n_buckets) grow(c);
  hash_in(c, s);
  s->arrival = ++c->n_arrivals;
  wait_from(c, s, now_ns);
  fair_add(&c->fair, s);
}

/* Positions whose pages a sequence of n tokens holds at once. */
static size_t held(const struct sched *c, size_t n) { return c->config.window && n > c->config.held_max ? c->config.held_max : n; }

/* Counts anew what s still needs, after its tokens or pages changed. */
static void count_lacking(struct sched *c, struct sequence *s) {
  size_t left = s->n_left * PAGE, need = sequence_pages_for(left + held(c, s->n_tokens - left));
  size_t lacks = need > s->n_pages ? need - s->n_pages : 0;
  c->reserved += lacks - s->n_lacks;
  s->n_lacks = lacks;
}

/* Its pages go back; the last first, so that of what the tree keeps leaves go first. */
static void let_go(struct sched *c, struct sequence *s) {
  c->reserved -= s->n_lacks;
  while (s->n_pages > 0) {
    size_t i = --s->n_pages;
    if (i < s->n_shared) {
      if (s->pages[i]) prefix_release(&c->prefix, s->nodes[i]);
      continue;
    }
    if (s->nodes[i]) prefix_disclaim(&c->prefix, s->nodes[i]);
    if (s->pages[i]) pages_give(c->pages, s->pages[i]);
  }
  prefix_release_root(&c->prefix, s->root);
  s->root = NULL;
  s->n_shared = s->n_computed = s->n_left = s->n_lacks = s->model_draft.n_kv = 0;
}

static void leave_running(struct sched *c, struct sequence *s) {
  let_go(c, s);
  sequence_list_remove(&c->running, s);
}

static void leave_waiting(struct sched *c, struct sequence *s) {
  heap_remove(&c->deadlines, &s->expires);
  fair_take(&c->fair, s);
  if (c->blocked == s) c->blocked = NULL;
}

void sched_remove(struct sched *c, struct sequence *s) {
  struct sequence **at = bucket(c, s->request.id);
  while (*at != s) at = &(*at)->hash_next;
  *at = s->hash_next;
  c->n_alive--;
  if (s->place == SEQUENCE_RUNS) leave_running(c, s);
  else if (s->place == SEQUENCE_WAITS) leave_waiting(c, s);
  if (s->n_paid) fair_charge(&c->fair, s, -(double)(s->n_paid * SCHED_PROMPT_WORK));
  fair_leave(&c->fair, s);
}

struct sequence *sched_expire(struct sched *c, uint64_t now_ns) {
  struct heap_item *first = heap_first(&c->deadlines);
  struct sequence *s = first ? heap_of(first, struct sequence, expires) : NULL;
  if (!s || s->request.deadline_ns > now_ns) return NULL;
  c->stats.expired++;
  sched_remove(c, s);
  return s;
}

void sched__started(struct sched *c, struct sequence *s, uint64_t now_ns) {
  heap_remove(&c->deadlines, &s->expires);
  c->stats.started++;
  uint64_t waited_ns = now_ns > s->waits_ns ? now_ns - s->waits_ns : 0;
  c->stats.queue_ns_total += waited_ns;
  if (s->was_started) return;
  s->was_started = true;
  s->queue_ns = waited_ns;
  s->started_ns = now_ns;
}

static void preempt(struct sched *c, struct sequence *s, uint64_t now_ns) {
  leave_running(c, s);
  wait_from(c, s, now_ns);
  fair_add_again(&c->fair, s);
  c->stats.preemptions++;
}

/* A running sequence that gives way to others, and whose it is. */
struct victim {
  struct sched *sched;
  struct sequence *sequence;
};

static bool gives_way_before(const struct sequence *a, const struct sequence *b) {
  return a->request.class != b->request.class ? a->request.class < b->request.class : a->started > b->started;
}

/* The youngest of the lowest class: of c, or of all that share its memory. */
static struct victim victim(struct sched *c, bool of_all) {
  struct victim found = {0};
  for (struct sched *of = of_all ? c->memory->scheds : c; of; of = of_all ? of->peer : NULL)
    for (struct sequence *s = of->running.first; s; s = s->next)
      if (!found.sequence || gives_way_before(s, found.sequence)) found = (struct victim){of, s};
  return found;
}

static void preempt_one(struct sched *c, bool of_all, uint64_t now_ns) {
  struct victim v = victim(c, of_all);
  preempt(v.sched, v.sequence, now_ns);
}

/* ---- shared pages ---- */

/* Positions that may be taken from the tree: the last token's row must be computed for its logits, and so must rows whose logits are reported. */
static size_t share_max(const struct sequence *s) {
  size_t most = s->n_tokens - 1;
  if (!s->request.prompt_logprobs || s->n_reported >= s->n_prompt) return most;
  size_t reported = s->n_reported ? s->n_reported - 1 : 0;
  return reported < most ? reported : most;
}

/* What the tree has below the last shared page of s for the page it needs next; NULL also when that page cannot be shared. */
static struct prefix_node *next_node(const struct sched *c, const struct sequence *s) {
  size_t i = s->n_computed / PAGE;
  if (s->n_computed % PAGE || s->n_computed + PAGE > share_max(s) || s->n_shared != i) return NULL;
  struct prefix_node *parent = i ? s->nodes[i - 1] : s->root;
  return parent ? prefix_find(&c->prefix, parent, s->tokens + s->n_computed) : NULL;
}

static void push_page(struct sched *c, struct sequence *s, void *page, struct prefix_node *node) {
  if (s->n_pages == s->cap_pages) {
    s->cap_pages = s->cap_pages * 2 + 8;
    s->pages = mem_realloc(s->pages, s->cap_pages, sizeof *s->pages);
    s->nodes = mem_realloc(s->nodes, s->cap_pages, sizeof(struct prefix_node *));
  }
  s->pages[s->n_pages] = page;
  s->nodes[s->n_pages++] = node;
  count_lacking(c, s);
}

/* Positions of s exist now that did not before: what they cost was charged when it started; what was not computed is given back. */
static void advance(struct sched *c, struct sequence *s, size_t n, bool computed) {
  s->n_computed += n;
  if (s->n_computed <= s->n_worked) return;
  size_t fresh = s->n_computed - s->n_worked;
  s->n_worked = s->n_computed;
  if (!computed) c->stats.prefix_hit_tokens += fresh;
  if (fresh > s->n_paid) fresh = s->n_paid;
  s->n_paid -= fresh;
  if (!computed) fair_charge(&c->fair, s, -(double)(fresh * SCHED_PROMPT_WORK));
}

/* The next row, at position n_computed, sees the last `window` positions, itself among them: pages before those are never read again. */
static void leave_behind(struct sched *c, struct sequence *s) {
  size_t window = c->config.window;
  while (window && (s->n_left + 1) * PAGE + window <= s->n_computed + 1) {
    size_t i = s->n_left++;
    if (i < s->n_shared) prefix_release(&c->prefix, s->nodes[i]);
    else pages_give(c->pages, s->pages[i]);
    s->pages[i] = NULL;
    s->nodes[i] = NULL;
  }
  count_lacking(c, s);
}

static void share(struct sched *c, struct sequence *s) {
  for (struct prefix_node *node; (node = next_node(c, s)) && node->page;) {
    prefix_hold(&c->prefix, node);
    push_page(c, s, node->page, node);
    s->n_shared++;
    advance(c, s, PAGE, false);
    leave_behind(c, s);
  }
}

/* The next page of s is being computed by another sequence that runs. That one is in the middle of the page, or computes it in this very step;
 * so it does not wait for anyone itself, and this ends. */
static bool waits_for_page(const struct sched *c, const struct sequence *s) {
  struct prefix_node *node = next_node(c, s);
  return node && node->owner && node->owner != s;
}

/* Full pages of s that are computed now enter the tree. One whose tokens another sequence is computing too is tried again with the next. */
static void publish(struct sched *c, struct sequence *s) {
  for (size_t i; (i = s->n_shared) < s->n_computed / PAGE; s->n_shared++) {
    struct prefix_node *parent = i ? s->nodes[i - 1] : s->root;
    if (!parent || !s->pages[i]) return;
    struct prefix_node *node = prefix_put(&c->prefix, s->nodes[i], parent, s->tokens + i * PAGE, s->pages[i]);
    if (!node) return;
    s->nodes[i] = node;
    bool ours = s->pages[i] == node->page;
    s->pages[i] = node->page;
    if (ours) node->drafted = s->model_draft.n_kv >= (i + 1) * PAGE;
    else if (!node->drafted && s->model_draft.n_kv > i * PAGE) s->model_draft.n_kv = i * PAGE;
  }
}

/* ---- admission ---- */

/* Bytes that nobody holds and no running sequence is to get. */
static uint64_t available(const struct sched *c) {
  uint64_t promised = memory_promised(c->memory);
  return promised < c->memory->bytes_max ? c->memory->bytes_max - promised : 0;
}

/* The same of the model's own address range, in pages. */
static size_t in_range(const struct sched *c) {
  size_t pages = c->pages->n_free + c->prefix.n_unused;
  return pages > c->reserved ? pages - c->reserved : 0;
}

static bool lacks_memory(const struct sched *c) {
  return memory_promised(c->memory) > c->memory->bytes_max || c->reserved > c->pages->n_free + c->prefix.n_unused;
}

/* Pages that s needs besides those of the tree that others hold anyway. */
static size_t pages_to_start(const struct sched *c, const struct sequence *s) {
  size_t need = sequence_pages_for(held(c, s->n_tokens)), most = c->config.window ? 0 : share_max(s) / PAGE;
  struct prefix_node *node = prefix_root(&c->prefix, s->request.tenant, s->request.adapter);
  for (size_t i = 0; node && i < most; i++) {
    node = prefix_find(&c->prefix, node, s->tokens + i * PAGE);
    if (!node || !node->page) break;
    if (node->refs) need--;
  }
  return need;
}

/* One that finds no room in its turn sees that others pass, whatever their model. */
static void overtake(const struct sched *c) {
  for (const struct sched *peer = c->memory->scheds; peer; peer = peer->peer)
    if (peer != c && peer->blocked) peer->blocked->n_overtaken++;
}

/* Another model's sequence found no room, waits for longer than s, and was passed often enough. */
static bool is_held_back(const struct sched *c, const struct sequence *s) {
  for (const struct sched *peer = c->memory->scheds; peer; peer = peer->peer) {
    const struct sequence *first = peer != c ? peer->blocked : NULL;
    if (first && first->n_overtaken >= SCHED_OVERTAKEN_MAX && first->waits_ns < s->waits_ns) return true;
  }
  return false;
}

static void start(struct sched *c, struct sequence *s, uint64_t now_ns) {
  fair_take(&c->fair, s);
  sched__started(c, s, now_ns);
  overtake(c);
  s->place = SEQUENCE_RUNS;
  s->started = ++c->memory->n_starts;
  sequence_list_append(&c->running, s);
  s->root = prefix_hold_root(&c->prefix, s->request.tenant, s->request.adapter);
  count_lacking(c, s);
  if (s->n_worked == 0 && s->n_paid == 0) {
    s->n_paid = s->n_tokens;
    c->stats.prefix_query_tokens += s->n_tokens;
    fair_charge(&c->fair, s, (double)(s->n_paid * SCHED_PROMPT_WORK));
  }
  share(c, s);
}

/* Room for each running sequence to grow by a page, except those below a class: else what starts now would soon be preempted. */
static uint64_t bytes_to_grow(const struct sched *c, unsigned class) {
  uint64_t bytes = 0;
  for (const struct sched *of = c->memory->scheds; of; of = of->peer)
    for (const struct sequence *r = of->running.first; r; r = r->next)
      if (r->request.class >= class) bytes += of->pages->page_bytes;
  return bytes;
}

static bool has_room(const struct sched *c, const struct sequence *s) {
  if (c->running.n == c->config.running_max || is_held_back(c, s)) return false;
  size_t pages = pages_to_start(c, s);
  return pages + c->running.n <= in_range(c) && pages * (uint64_t)c->pages->page_bytes + bytes_to_grow(c, 0) <= available(c);
}

/* What sequences of a class below that of s hold and are to get: of c, or of all that share its memory. */
static uint64_t bytes_below(struct sched *c, const struct sequence *s, bool of_all, size_t *ret_n) {
  uint64_t bytes = 0;
  *ret_n = 0;
  for (const struct sched *of = of_all ? c->memory->scheds : c; of; of = of_all ? of->peer : NULL)
    for (const struct sequence *r = of->running.first; r; r = r->next)
      if (r->request.class < s->request.class) {
        bytes += (r->n_pages - r->n_left + r->n_lacks) * (uint64_t)of->pages->page_bytes;
        ++*ret_n;
      }
  return bytes;
}

/* A sequence that is first in its turn takes the place of the youngest of a class below its own, when that can be enough. */
static bool make_room(struct sched *c, const struct sequence *s, uint64_t now_ns) {
  if (has_room(c, s)) return true;
  bool of_all = c->running.n < c->config.running_max; /* a place in the step is only made by one of its own */
  size_t n_below;
  uint64_t bytes = available(c) + bytes_below(c, s, of_all, &n_below);
  uint64_t need = pages_to_start(c, s) * (uint64_t)c->pages->page_bytes + bytes_to_grow(c, s->request.class);
  if (n_below == 0 || is_held_back(c, s) || bytes < need) return false;
  for (; n_below > 0 && !has_room(c, s); n_below--) preempt_one(c, of_all, now_ns);
  return has_room(c, s);
}

/* One that finds no room lets a few of other principals pass, and no more: then all wait for it. */
static void admit(struct sched *c, uint64_t now_ns) {
  struct sequence *aside[SCHED_ASIDE_MAX], *s;
  size_t n_aside = 0;
  c->blocked = NULL;
  while ((s = fair_first(&c->fair))) {
    if (make_room(c, s, now_ns)) {
      start(c, s, now_ns);
      for (size_t i = 0; i < n_aside; i++) aside[i]->n_overtaken++;
      continue;
    }
    if (!c->blocked && c->running.n < c->config.running_max) c->blocked = s;
    if (c->running.n < c->config.running_max && s->n_overtaken < SCHED_OVERTAKEN_MAX && n_aside < SCHED_ASIDE_MAX) {
      fair_set_aside(&c->fair, s);
      aside[n_aside++] = s;
    } else {
      break;
    }
  }
  fair_put_back(&c->fair);
}

/* ---- rows ---- */

static void take_page(struct sched *c, struct sequence *s, struct prefix_node *claim) { push_page(c, s, memory_take(c->memory, c), claim); }

/* The page that s is about to begin, for others to wait for; NULL when not all its tokens are known, or another computes it. */
static struct prefix_node *claim(struct sched *c, struct sequence *s) {
  size_t i = s->n_pages;
  struct prefix_node *parent = i ? s->nodes[i - 1] : s->root;
  if ((i + 1) * PAGE > s->n_tokens || !parent) return NULL;
  return prefix_claim(&c->prefix, parent, s->tokens + i * PAGE, s);
}

/* s gets n more rows in this step. */
static void give_rows(struct sched *c, struct sequence *s, size_t n) {
  if (n == 0) return;
  struct sched_plan *p = &c->plan;
  if (s->n_rows == 0) p->items[p->n++] = s;
  for (size_t i = 0; i < n; i++) {
    size_t position = s->n_computed + s->n_rows + i;
    p->n_out += position + 1 >= s->n_tokens || sequence_reports(s, position);
  }
  s->n_rows += n;
  p->n_rows += n;
  size_t need = sequence_pages_for(s->n_computed + s->n_rows);
  while (s->n_pages < need) take_page(c, s, claim(c, s));
}

/* How many of the next n rows of s can be taken while at most out_free rows have logits. */
static size_t rows_with_output(const struct sequence *s, size_t n, size_t out_free) {
  size_t used = 0;
  for (size_t i = 0; i < n; i++) {
    size_t position = s->n_computed + s->n_rows + i;
    used += position + 1 == s->n_tokens || sequence_reports(s, position);
    if (used > out_free) return i;
  }
  return n;
}

static bool decodes(const struct sequence *s) { return s->n_computed + 1 == s->n_tokens; }

/* Pages that can be had without evicting anything and that nobody is to get. */
static size_t unclaimed(const struct sched *c) {
  uint64_t claimed = memory_promised(c->memory);
  for (const struct sched *of = c->memory->scheds; of; of = of->peer) claimed += of->prefix.n_unused * (uint64_t)of->pages->page_bytes;
  uint64_t pages = claimed < c->memory->bytes_max ? (c->memory->bytes_max - claimed) / c->pages->page_bytes : 0;
  size_t own = c->pages->n_free > c->reserved ? c->pages->n_free - c->reserved : 0;
  return pages < own ? (size_t)pages : own;
}

/* Positions behind the last token for which there are pages without taking one from anybody: a draft may only use those. */
static size_t free_positions(const struct sched *c, const struct sequence *s) {
  return sequence_pages_for(s->n_tokens) * PAGE - s->n_tokens + unclaimed(c) * PAGE;
}

/* The time of a row over the time that a token takes: what a draft's token must earn. */
static double row_cost(const struct sched *c, size_t n_decoding) {
  if (c->config.speculation == ENGINE_SPECULATE_ALWAYS) return -1;
  double row = cost_row_ns(&c->cost), step = cost_decode_ns(&c->cost, n_decoding);
  return row > 0 && step > 0 ? row * (double)n_decoding / step : 1;
}

/* Rows that a draft of s may have. */
static size_t draft_rows_max(const struct sched *c, const struct sequence *s, size_t rows_free) {
  size_t left = s->n_tokens_max - s->n_tokens, most = left > 1 ? left - 1 : 0, room = free_positions(c, s);
  if (most > room) most = room;
  return most < rows_free ? most : rows_free;
}

static void add_draft(struct sched *c, struct sequence *s, enum engine_draft_kind kind, const int32_t *tokens, size_t n) {
  s->n_draft = n;
  s->draft = tokens;
  s->draft_kind = kind;
  if (n == 0) return;
  give_rows(c, s, n);
  c->stats.drafts[kind].n++;
  c->stats.drafts[kind].drafted += n;
}

/* The text's own guess for s, and how many of its tokens are worth a row. */
static size_t look_up(struct sequence *s, size_t most, double cost) {
  s->speculation.expected = 0;
  if (cost >= 1) most = 0;
  if (most == 0) s->speculation.n_guess = 0;
  return most ? speculate_draft(&s->speculation, s->tokens, s->n_tokens, most, cost) : 0;
}

/* ALWAYS takes each in its turn. */
static size_t ask_model(struct sched *c, struct sequence *s, size_t most, size_t n_decoding, size_t n_text, double cost) {
  if (!c->config.guess || n_decoding > SCHED_DRAFTED_MAX) return 0;
  if (c->config.speculation == ENGINE_SPECULATE_ALWAYS && n_text && s->n_tokens % 3 == 0) return 0;
  double text_speed = n_text ? (1 + s->speculation.expected) / (1 + (double)n_text * cost) : 1;
  return sched__model_draft(c, s, most, n_decoding, text_speed);
}

/* Pages of what the draft model is to compute. */
static void take_draft_pages(struct sched *c, struct sequence *s, size_t n) {
  while (s->n_pages < sequence_pages_for(s->n_tokens + n)) take_page(c, s, claim(c, s));
}

/* Drafts of the n sequences that decode, with at most `extra` rows. */
static void plan_drafts(struct sched *c, size_t n, size_t extra) {
  struct draft_ask asks[SCHED_DRAFTED_MAX];
  if (sched__is_plain(c, n)) extra = 0;
  size_t n_asks = 0;
  double cost = row_cost(c, n);
  for (size_t i = 0; i < n; i++) {
    struct sequence *s = c->plan.items[i];
    size_t most = draft_rows_max(c, s, extra), n_text = look_up(s, most, cost), n_model = ask_model(c, s, most, n, n_text, cost);
    if (n_model) {
      take_draft_pages(c, s, n_model);
      s->model_draft.tried_at = s->n_tokens;
      asks[n_asks++] = (struct draft_ask){.sequence = s, .n = n_model, .rows_max = sched__catch_up_rows(c, n)};
    } else {
      add_draft(c, s, ENGINE_DRAFT_TEXT, s->speculation.guess, n_text);
    }
    extra -= n_model ? n_model : n_text;
  }
  if (n_asks) c->config.guess(c->config.guess_ctx, asks, n_asks);
  for (size_t i = 0; i < n_asks; i++) add_draft(c, asks[i].sequence, ENGINE_DRAFT_MODEL, asks[i].sequence->model_draft.guess, asks[i].n);
}

static void plan_decode(struct sched *c) {
  struct sched_plan *p = &c->plan;
  for (struct sequence *s = c->running.first; s; s = s->next)
    if (decodes(s)) give_rows(c, s, 1);
  c->stats.decode_tokens += p->n_rows;
  size_t most = c->config.rows_max < c->config.out_rows_max ? c->config.rows_max : c->config.out_rows_max;
  if (c->config.speculation != ENGINE_SPECULATE_OFF && p->n > 0) plan_drafts(c, p->n, most - c->running.n);
  p->n_decode = p->n_rows;
}

static size_t rows_left(const struct sequence *s) {
  size_t known = s->n_computed + s->n_rows;
  return s->n_draft || known >= s->n_tokens ? 0 : s->n_tokens - known;
}

static void give_prompt_rows(struct sched *c, struct sequence *s, size_t most) {
  size_t n = rows_left(s);
  if (n > most) n = most;
  if (n == 0 || (s->n_rows == 0 && waits_for_page(c, s))) return;
  give_rows(c, s, rows_with_output(s, n, c->config.out_rows_max - c->plan.n_out));
}

static int by_rows_left(const void *a, const void *b) {
  const struct sequence *x = *(struct sequence *const *)a, *y = *(struct sequence *const *)b;
  size_t m = rows_left(x), n = rows_left(y);
  return m != n ? (m > n) - (m < n) : (x->arrival > y->arrival) - (x->arrival < y->arrival);
}

/* The prompt rows of a step: as many as keep it short for those that decode. */
static size_t prompt_rows_max(const struct sched *c) {
  const struct sched_plan *p = &c->plan;
  size_t room = c->config.rows_max - p->n_rows;
  if (p->n_decode == 0) return room;
  if (cost_is_stale(&c->cost)) return 0; /* one step in many, to learn what streams would have without prompts */
  size_t most = cost_prompt_rows(&c->cost, p->n_decode, c->config.slowdown);
  if (most < PROMPT_ROWS_MIN) most = PROMPT_ROWS_MIN;
  if (most > c->config.prefill_rows_max) most = c->config.prefill_rows_max;
  return most < room ? most : room;
}

/* Half of the rows for those that came first, so that a long prompt goes on whatever comes; the rest for those that lack least, so that a short
 * one is not held up by it; and what is left again in order. */
static void plan_prompts(struct sched *c) {
  struct sched_plan *p = &c->plan;
  size_t limit = p->n_rows + prompt_rows_max(c), half = p->n_rows + (limit - p->n_rows + 1) / 2, n = 0;
  for (struct sequence *s = c->running.first; s; s = s->next)
    if (rows_left(s)) c->order[n++] = s;
  for (size_t i = 0; i < n && p->n_rows < half; i++) give_prompt_rows(c, c->order[i], half - p->n_rows);
  if (n > 1) qsort(c->order, n, sizeof(struct sequence *), by_rows_left);
  for (size_t i = 0; i < n && p->n_rows < limit; i++) give_prompt_rows(c, c->order[i], limit - p->n_rows);
  p->n_prompt = p->n_rows - p->n_decode;
  c->stats.prefill_tokens += p->n_prompt;
}

void sched_plan(struct sched *c, uint64_t now_ns) {
  struct sched_plan *p = &c->plan;
  *p = (struct sched_plan){.items = p->items};
  if (now_ns > c->memory->now_ns) c->memory->now_ns = now_ns;
  while (lacks_memory(c)) preempt_one(c, memory_promised(c->memory) > c->memory->bytes_max, now_ns);
  admit(c, now_ns);
  for (struct sequence *s = c->running.first; s; s = s->next) {
    s->n_rows = s->n_draft = s->n_new = 0;
    s->finish = ENGINE_RUNNING;
    share(c, s);
  }
  plan_decode(c);
  plan_prompts(c);
}

/* ---- afterwards ---- */

/* Pages that only a draft needed. */
static void trim(struct sched *c, struct sequence *s) {
  while (s->n_pages > sequence_pages_for(s->n_tokens)) pages_give(c->pages, s->pages[--s->n_pages]);
}

/* Of what the draft model computed, what it computed of tokens that came. */
static void keep_right(struct sched *c, struct sequence *s, size_t n_right, size_t n_before) {
  if (s->n_draft == 0 || s->draft_kind != ENGINE_DRAFT_MODEL) return;
  if (s->model_draft.n_kv > n_before + n_right) s->model_draft.n_kv = n_before + n_right;
  sched__learn_draft(c, s, s->tokens + n_before, s->n_new);
}

void sched_commit(struct sched *c, struct sequence *s) {
  size_t wrong = s->n_draft ? s->n_draft + 1 - s->n_new : 0, n_before = s->n_tokens - s->n_new;
  if (s->n_new && c->config.speculation != ENGINE_SPECULATE_OFF) speculate_learn(&s->speculation, s->tokens + n_before, s->n_new);
  if (s->n_draft) c->stats.drafts[s->draft_kind].accepted += s->n_draft - wrong;
  keep_right(c, s, s->n_draft - wrong, n_before);
  c->stats.decode_tokens += s->n_draft - wrong;
  trim(c, s);
  advance(c, s, s->n_rows - wrong, true);
  if (s->n_new) fair_charge(&c->fair, s, (double)(s->n_new * SCHED_OUTPUT_WORK));
  publish(c, s);
  leave_behind(c, s);
}

void sched_took(struct sched *c, uint64_t ns) {
  const struct sched_plan *p = &c->plan;
  cost_observe(&c->cost, p->n_decode, p->n_prompt, ns);
  if (c->config.guess && p->n_prompt == 0) sched__learn_cost(c, p->n, p->n_decode - p->n, ns);
}

void sched_flush(struct sched *c) {
  for (void *page; c->pages && (page = prefix_evict(&c->prefix));) pages_give(c->pages, page);
}

bool sched_busy(const struct sched *c) { return c->n_alive > 0; }
