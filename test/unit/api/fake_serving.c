/* fake_serving: see fake_serving.h. SPDX-License-Identifier: Apache-2.0 */
#include "fake_serving.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/jsonw.h"
#include "base/mem.h"

struct generation {
  struct serving *s;
  struct generation *next;
  const struct endpoint *e;
  struct ids prompt;
  struct buf said;
  size_t at, max_tokens;
  bool ignore_eos, prompt_logprobs;
  int top_logprobs;
  struct buf stops[16];
  size_t n_stops;
  bool over, timed;
  void (*on_event)(void *arg, const struct serving_event *event);
  void *arg;
};

struct serving {
  struct fake_serving face;
  struct tokenizer *plain, *around;
  struct generation *first;
};

/* ---- a tokenizer of bytes ---- */

/* GPT-2's character for a byte. */
static uint32_t byte_char(int byte) {
  bool itself = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  if (itself) return (uint32_t)byte;
  uint32_t c = 256;
  for (int b = 0; b < byte; b++) c += !((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || (b >= 0xae && b <= 0xff));
  return c;
}

static void add_special(struct jsonw *w, const char *text, int id) {
  jsonw_object_begin(w);
  jsonw_key_int(w, "id", id);
  jsonw_key_cstr(w, "content", text);
  jsonw_key_bool(w, "single_word", false);
  jsonw_key_bool(w, "lstrip", false);
  jsonw_key_bool(w, "rstrip", false);
  jsonw_key_bool(w, "normalized", false);
  jsonw_key_bool(w, "special", true);
  jsonw_object_end(w);
}

static const char *const ways[] = {
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":false,\"use_regex\":false}",
    "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"[CLS]\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_"
    "id\":0}},"
    "{\"SpecialToken\":{\"id\":\"[SEP]\",\"type_id\":0}}],\"pair\":[],\"special_tokens\":{\"[CLS]\":{\"id\":\"[CLS]\",\"ids\":[256],"
    "\"tokens\":[\"[CLS]\"]},"
    "\"[SEP]\":{\"id\":\"[SEP]\",\"ids\":[257],\"tokens\":[\"[SEP]\"]}}}",
};

static struct tokenizer *make_tokenizer(bool around) {
  struct buf json = {0};
  struct jsonw w = {.out = &json};
  jsonw_object_begin(&w);
  jsonw_key(&w, "added_tokens");
  jsonw_array_begin(&w);
  add_special(&w, "[CLS]", FAKE_CLS);
  add_special(&w, "[SEP]", FAKE_SEP);
  add_special(&w, "<|end|>", FAKE_EOS);
  jsonw_array_end(&w);
  jsonw_key_null(&w, "normalizer");
  jsonw_key(&w, "pre_tokenizer");
  jsonw_raw(&w, slice_cstr(ways[0]));
  jsonw_key(&w, "post_processor");
  jsonw_raw(&w, slice_cstr(ways[around]));
  jsonw_key(&w, "decoder");
  jsonw_raw(&w, slice_cstr(ways[0]));
  jsonw_key(&w, "model");
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "type", "BPE");
  jsonw_key(&w, "vocab");
  jsonw_object_begin(&w);
  for (int b = 0; b < 256; b++) {
    struct buf c = {0};
    buf_add_utf8(&c, byte_char(b));
    jsonw_key_slice(&w, buf_view(&c));
    jsonw_int(&w, b);
    buf_free(&c);
  }
  jsonw_object_end(&w);
  jsonw_key(&w, "merges");
  jsonw_array_begin(&w);
  jsonw_array_end(&w);
  jsonw_object_end(&w);
  jsonw_object_end(&w);
  struct error err;
  struct tokenizer *t = tokenizer_open_json(buf_view(&json), SLICE(""), &err);
  if (!t) fprintf(stderr, "%s\n", err.message);
  assert(t);
  buf_free(&json);
  return t;
}

/* ---- a chat template ---- */

int chat_template_render(const struct chat_template *c, const struct js *context, struct buf *out, struct error *err) {
  (void)c;
  const struct js *messages = js_get(context, "messages");
  for (size_t i = 0; i < js_len(messages); i++) {
    struct slice role, content;
    bool ok = js_str(js_get(js_at(messages, i), "role"), &role) && js_str(js_get(js_at(messages, i), "content"), &content);
    assert(ok);
    if (slice_eq(content, SLICE("refuse me"))) return error_set(err, ERROR_INVALID, "The template refuses this.");
    buf_printf(out, "<%.*s>%.*s|", SLICE_ARG(role), SLICE_ARG(content));
  }
  buf_add_cstr(out, "<assistant>");
  return 0;
}

struct serving;
static struct tokenizer *template_tokenizer;

int chat_template_encode(const struct chat_template *c, const struct js *context, unsigned flags, struct ids *out, struct error *err) {
  struct buf text = {0};
  if (flags) buf_printf(&text, "flags %u:", flags);
  int result = chat_template_render(c, context, &text, err);
  if (result == 0) result = tokenizer_encode(template_tokenizer, buf_view(&text), TOKENIZER_MATCH_SPECIAL, out, err);
  buf_free(&text);
  return result;
}

/* ---- endpoints ---- */

static unsigned held[4];

struct serving *fake_serving_create(struct loop *loop) {
  struct serving *s = mem_zalloc(1, sizeof *s);
  s->plain = make_tokenizer(false);
  s->around = make_tokenizer(true);
  template_tokenizer = s->plain;
  s->face.loop = loop;
  s->face.says = "Hello there.";
  s->face.alive = s->face.ready = true;
  const char *const names[] = {"chat", "base", "embed", "broken"};
  const enum serving_task tasks[] = {SERVING_CHAT, SERVING_COMPLETIONS, SERVING_EMBEDDINGS, SERVING_CHAT};
  for (int i = 0; i < 4; i++) {
    struct endpoint *e = &s->face.endpoints[i];
    bool embeds = tasks[i] == SERVING_EMBEDDINGS;
    *e = (struct endpoint){.name = names[i],
                           .task = tasks[i],
                           .state = SERVING_READY,
                           .architecture = "fake",
                           .quantization = "none",
                           .context_tokens = embeds ? FAKE_WINDOW : FAKE_CONTEXT,
                           .n_embd = 4,
                           .created_s = 1700000000,
                           .index = i,
                           .tokenizer = embeds ? s->around : s->plain};
    if (tasks[i] == SERVING_CHAT) e->chat_template = (const struct chat_template *)s;
  }
  s->face.endpoints[3].state = SERVING_FAILED;
  s->face.endpoints[3].tokenizer = NULL;
  s->face.endpoints[3].failure = "its file is truncated.";
  return s;
}

void fake_serving_destroy(struct serving *s) {
  for (int i = 0; i < 4; i++) assert(held[i] == 0); /* every call has let go */
  tokenizer_close(s->plain);
  tokenizer_close(s->around);
  free(s);
}

struct fake_serving *fake_serving(struct serving *s) { return &s->face; }
bool serving_auth_required(const struct serving *s) { return s->face.token != NULL; }
bool serving_authenticate(struct serving *s, struct slice token) { return !s->face.token || slice_eq(token, slice_cstr(s->face.token)); }
size_t serving_n_endpoints(const struct serving *s) {
  (void)s;
  return 4;
}
const struct endpoint *serving_endpoint_at(const struct serving *s, size_t i) { return &s->face.endpoints[i]; }

const struct endpoint *serving_endpoint(const struct serving *cs, struct slice name) {
  struct serving *s = (struct serving *)cs;
  for (size_t i = 0; i < 4; i++) {
    struct endpoint *e = &s->face.endpoints[i];
    if (!slice_eq(name, slice_cstr(e->name))) continue;
    size_t window = e->task == SERVING_EMBEDDINGS ? FAKE_WINDOW : FAKE_CONTEXT;
    if (s->face.late_figures > 0) window = --s->face.late_figures ? 0 : window;
    e->context_tokens = window;
    return e;
  }
  return NULL;
}

/* ---- what comes and goes ---- */

void serving_hold(const struct endpoint *e) { held[e->index]++; }
void serving_release(struct serving *s, const struct endpoint *e) {
  (void)s;
  assert(held[e->index] > 0);
  held[e->index]--;
}

int serving_load(struct serving *s, const struct endpoint *e, struct error *err) {
  if (e->index == 3) return error_set(err, ERROR_INVALID, "The model broken cannot be loaded.");
  s->face.endpoints[e->index].state = SERVING_LOADING;
  return 0;
}

int serving_unload(struct serving *s, const struct endpoint *e, struct error *err) {
  (void)err;
  s->face.endpoints[e->index].state = SERVING_STOPPED;
  return 0;
}

const char *serving_task_name(enum serving_task task) {
  return task == SERVING_CHAT ? "llm/v1/chat" : task == SERVING_COMPLETIONS ? "llm/v1/completions" : "llm/v1/embeddings";
}
bool serving_ready(const struct serving *s) { return s->face.ready; }
bool serving_engine_alive(const struct serving *s) { return s->face.alive; }
void serving_stats(const struct serving *s, struct serving_stats *out) {
  *out = (struct serving_stats){.engine_alive = s->face.alive,
                                .read_bytes_s = (uint64_t)20e9,
                                .operations_s = (uint64_t)900e9,
                                .kv_bytes = 4096,
                                .generations = s->face.n_alive};
}

void serving_model_stats(const struct serving *s, const struct endpoint *e, struct serving_model_stats *out) {
  static const double bounds[] = {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384};
  static struct histogram steps;
  histogram_init(&steps, bounds, sizeof bounds / sizeof *bounds);
  for (size_t i = 0; i < s->face.n_steps; i++) histogram_add(&steps, 3);
  *out = (struct serving_model_stats){.steps = e->index == 0 ? s->face.n_steps : 0,
                                      .running = e->index == 0 ? 3 : 0,
                                      .waiting = 5,
                                      .waiting_here = 2,
                                      .pages_used = 3,
                                      .page_bytes = 1024,
                                      .kv_usage = 0.75,
                                      .prefix_query_tokens = 100,
                                      .prefix_hit_tokens = 25,
                                      .text_drafts = {10, 40, 30},
                                      .model_drafts = {1, 4, 2},
                                      .decode_bytes_s = 5e9,
                                      .shares_engine = e->index == 3,
                                      .step_tokens = &steps,
                                      .step_sequences = &steps};
}

/* ---- work: done at once, told on the next turn ---- */

void serving_work(struct serving *s, void (*work)(void *arg), void (*done)(void *arg), void *arg) {
  work(arg);
  loop_post(s->face.loop, done, arg);
}

/* ---- generations ---- */

int serving_check(struct serving *s, const struct endpoint *e, struct error *err) {
  (void)e;
  if (s->face.refuses.code == ERROR_NONE) return 0;
  *err = s->face.refuses;
  return -1;
}

struct generation *serving_generate(struct serving *s, const struct serving_request *r,
                                    void (*on_event)(void *arg, const struct serving_event *event), void *arg, struct error *err) {
  struct fake_serving *f = &s->face;
  if (f->refuses.code != ERROR_NONE && !(f->drains && r->goes_on)) {
    *err = f->refuses;
    return NULL;
  }
  if (f->n_asked < 256) f->seeds[f->n_asked] = r->seed;
  f->n_asked++;
  f->last = *r;
  f->bias = r->n_biases ? r->biases[0] : (struct serving_bias){0};
  f->stop_id = r->n_stop_ids ? r->stop_ids[0] : -1;
  if (++f->n_alive > f->n_alive_max) f->n_alive_max = f->n_alive;
  struct generation *g = mem_zalloc(1, sizeof *g);
  *g = (struct generation){.s = s,
                           .e = r->endpoint,
                           .ignore_eos = r->ignore_eos,
                           .prompt_logprobs = r->prompt_logprobs,
                           .top_logprobs = r->top_logprobs,
                           .on_event = on_event,
                           .arg = arg,
                           .n_stops = r->n_stops};
  for (size_t i = 0; i < r->n_prompt; i++) ids_add(&g->prompt, r->prompt[i]);
  for (size_t i = 0; i < r->n_stops; i++) buf_add_slice(&g->stops[i], r->stops[i]);
  g->max_tokens = r->max_tokens ? r->max_tokens : r->endpoint->context_tokens - r->n_prompt;
  struct generation **end = &s->first;
  while (*end) end = &(*end)->next;
  *end = g;
  return g;
}

static void end_of(struct generation *g) {
  g->over = true;
  g->s->face.n_alive--;
}

void serving_cancel(struct generation *g) {
  assert(!g->over);
  end_of(g);
  g->s->face.n_cancelled++;
}

static bool stops(struct generation *g) {
  for (size_t i = 0; i < g->n_stops && !g->s->face.blind; i++)
    if (memmem(g->said.data, g->said.len, g->stops[i].data, g->stops[i].len)) return true;
  return false;
}

/* Each waited for 2 s and was computed in half a second. */
static void tell_times(struct generation *g, struct serving_event *event) {
  event->timed = !g->timed;
  g->timed = true;
  event->queue_ns = 2000000000;
  event->prefill_ns = 500000000;
}

static void embed(struct generation *g) {
  float v[4] = {(float)g->prompt.len, (float)g->prompt.data[0], (float)g->prompt.data[g->prompt.len - 1], 0};
  for (size_t i = 0; i < g->prompt.len; i++) v[3] += (float)g->prompt.data[i];
  struct serving_event event = {.kind = SERVING_EMBEDDING, .finish = SERVING_STOP, .embedding = v};
  tell_times(g, &event);
  end_of(g);
  g->on_event(g->arg, &event);
}

static void add_logprobs(struct generation *g, struct serving_event *event, struct serving_logprob top[20]) {
  event->logprob = -0.25f;
  if (g->top_logprobs <= 0) return;
  for (int k = 0; k < g->top_logprobs; k++) top[k] = (struct serving_logprob){'a' + k, -1.0f - (float)k};
  event->n_top = g->top_logprobs;
  event->top = top;
}

static void tell_prompt(struct generation *g) {
  struct serving_logprob top[20];
  for (size_t i = 0; i < g->prompt.len && !g->over; i++) {
    struct serving_event event = {.kind = SERVING_PROMPT_TOKEN, .token = g->prompt.data[i]};
    add_logprobs(g, &event, top);
    if (i == 0) {
      event.logprob = NAN;
      event.n_top = 0;
    }
    g->on_event(g->arg, &event);
  }
}

static void say(struct generation *g) {
  if (g->at == 0 && g->prompt_logprobs) tell_prompt(g);
  if (g->over) return;
  struct serving_logprob top[20];
  size_t n = strlen(g->s->face.says);
  bool eos = g->at % (n + 1) == n;
  struct serving_event event = {.kind = SERVING_TOKEN, .token = eos ? FAKE_EOS : (unsigned char)g->s->face.says[g->at % (n + 1)]};
  event.is_eos = eos && !g->ignore_eos;
  tell_times(g, &event);
  if (g->top_logprobs >= 0) add_logprobs(g, &event, top);
  if (!eos) buf_add_byte(&g->said, (unsigned char)event.token);
  g->at++;
  if (event.is_eos || (!eos && stops(g))) event.finish = SERVING_STOP;
  else if (g->at == g->max_tokens) event.finish = SERVING_LENGTH;
  if (event.finish != SERVING_RUNNING) end_of(g);
  g->on_event(g->arg, &event);
}

static void end(struct generation *g, const struct error *why) {
  struct serving_event event = {.kind = SERVING_ERROR, .error = why};
  end_of(g);
  g->on_event(g->arg, &event);
}

static void sweep(struct serving *s) {
  for (struct generation **at = &s->first; *at;) {
    struct generation *g = *at;
    if (!g->over) {
      at = &g->next;
      continue;
    }
    *at = g->next;
    ids_free(&g->prompt);
    buf_free(&g->said);
    for (size_t i = 0; i < g->n_stops; i++) buf_free(&g->stops[i]);
    free(g);
  }
}

bool fake_serving_step(struct serving *s) {
  sweep(s);
  if (!s->first) return false;
  s->face.n_steps++;
  bool dies = s->face.dies_after > 0 && --s->face.dies_after == 0;
  struct generation *last = s->first;
  while (last->next) last = last->next;
  for (struct generation *g = s->first; g; g = g->next) {
    if (!g->over && dies) end(g, &s->face.dies_with);
    else if (!g->over && g->e->task == SERVING_EMBEDDINGS) embed(g);
    else if (!g->over) say(g);
    if (g == last) break; /* those that were asked for meanwhile wait for the next step */
  }
  sweep(s);
  return true;
}
