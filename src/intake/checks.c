/* checks: see checks.h. SPDX-License-Identifier: Apache-2.0 */
#include "intake/checks.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "engine/pages.h"
#include "base/digest.h"

enum { FORWARD_ROWS_MAX = 256, VECTORS_BYTES_MAX = 64 << 20, TOKENIZER_BYTES_MAX = 256 << 20 };

/* ---- the list ---- */

void checks_add(struct intake_checks *c, const char *name, enum intake_result result, const char *format, ...) {
  c->items = mem_realloc(c->items, c->n + 1, sizeof *c->items);
  struct intake_check *check = &c->items[c->n++];
  *check = (struct intake_check){.name = name, .result = result};
  struct error cut;
  va_list args;
  va_start(args, format);
  error_vset(&cut, ERROR_INVALID, format, args); /* cuts at a character's edge */
  va_end(args);
  memcpy(check->detail, cut.message, sizeof check->detail);
  c->n_failed += result == INTAKE_FAILED;
}

void checks_add_error(struct intake_checks *c, const char *name, const struct error *err) {
  checks_add(c, name, INTAKE_FAILED, "%s", err->message);
}

void intake_checks_free(struct intake_checks *c) {
  free(c->items);
  *c = (struct intake_checks){0};
}

const char *intake_result_name(enum intake_result result) {
  return result == INTAKE_PASSED ? "passed" : result == INTAKE_SKIPPED ? "skipped" : "failed";
}

/* ---- fingerprints ---- */

static char *fingerprint(struct digest *d) {
  char hex[DIGEST_HEX];
  struct buf text = {0};
  digest_end(d, hex);
  buf_printf(&text, "sha256:%s", hex);
  return text.data;
}

/* Of a GGUF: every key of the tokenizer, with type and bytes, in the order of the file. */
static char *print_gguf_tokenizer(const struct gguf *g) {
  struct digest *d = digest_begin();
  for (size_t i = 0; i < gguf_n_values(g); i++) {
    const struct gguf_value *v = gguf_value_at(g, i);
    if (!slice_starts(v->key, SLICE("tokenizer.")) || slice_starts(v->key, SLICE("tokenizer.chat_template"))) continue;
    uint64_t head[4] = {v->key.len, (uint64_t)v->type, (uint64_t)v->element, v->bytes.len};
    digest_add(d, head, sizeof head);
    digest_add(d, v->key.data, v->key.len);
    digest_add(d, v->bytes.data, v->bytes.len);
  }
  return fingerprint(d);
}

/* Of a folder: names and bytes of the tokenizer's files. */
static char *print_dir_tokenizer(const char *dir) {
  static const char *const names[] = {"added_tokens.json", "merges.txt",      "special_tokens_map.json",
                                      "tokenizer.json",    "tokenizer.model", "tokenizer_config.json",
                                      "vocab.json",        "vocab.txt"};
  struct digest *d = digest_begin();
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    struct buf text = {0};
    char *path = fs_join(dir, names[i]);
    if (fs_exists(path) && fs_read(path, TOKENIZER_BYTES_MAX, &text, NULL) == 0) {
      uint64_t len = text.len;
      digest_add(d, names[i], strlen(names[i]) + 1);
      digest_add(d, &len, sizeof len);
      digest_add(d, text.data ? text.data : "", text.len);
    }
    buf_free(&text);
    free(path);
  }
  return fingerprint(d);
}

static void take_prints(const struct subject *s, struct manifest *m) {
  if (s->tokenizer) m->tokenizer = s->file->gguf ? print_gguf_tokenizer(s->file->gguf) : print_dir_tokenizer(s->file->path);
  if (!s->chat_template) return;
  struct slice source = chat_template_source(s->chat_template);
  struct digest *d = digest_begin();
  digest_add(d, source.data, source.len);
  m->chat_template = fingerprint(d);
}

/* ---- what needs no weights ---- */

static void check_tokenizer(struct subject *s, struct intake_checks *c) {
  struct error err = {0};
  s->tokenizer = tokenizer_open(s->file, &err);
  if (!s->tokenizer) {
    checks_add_error(c, "tokenizer", &err);
    return;
  }
  size_t tokens = (size_t)tokenizer_n_vocab(s->tokenizer);
  if (s->known && tokens > s->info.n_vocab)
    checks_add(c, "tokenizer", INTAKE_FAILED,
               "The tokenizer has %zu tokens, but the weights have rows for %zu only: they do not belong together.", tokens,
               s->info.n_vocab);
  else
    checks_add(c, "tokenizer", INTAKE_PASSED, "%s, %zu tokens%s.", tokenizer_kind(s->tokenizer), tokens,
               s->known && tokens < s->info.n_vocab ? "; the vocabulary of the weights is padded" : "");
}

static int render(const struct subject *s, const char *context_json, struct buf *out, struct error *err) {
  struct js *context = js_parse(slice_cstr(context_json), err);
  int result = context ? chat_template_render(s->chat_template, context, out, err) : -1;
  js_free(context);
  return result;
}

/* One question must render. That a template refuses a system turn is its right. */
static void check_template(struct subject *s, struct intake_checks *c) {
  static const char question[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}],\"add_generation_prompt\":true}";
  static const char talk[] =
      "{\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Hello\"},{\"role\":\"assistant\","
      "\"content\":\"Hi!\"},{\"role\":\"user\",\"content\":\"Bye\"}],\"add_generation_prompt\":true}";
  struct error err = {0}, refusal = {0};
  struct buf text = {0};
  struct ids ids = {0};
  s->chat_template = chat_template_open(s->file, s->tokenizer, &err);
  if (!s->chat_template && err.code == ERROR_NOT_FOUND) {
    checks_add(c, "chat template", INTAKE_SKIPPED, "The model has none; its endpoint completes texts.");
    return;
  }
  if (!s->chat_template || render(s, question, &text, &err) < 0 ||
      tokenizer_encode(s->tokenizer, buf_view(&text), TOKENIZER_MATCH_SPECIAL, &ids, &err) < 0) {
    error_prefix(&err, "The chat template");
    checks_add_error(c, "chat template", &err);
  } else if (ids.len == 0) {
    checks_add(c, "chat template", INTAKE_FAILED, "The chat template makes nothing of a conversation with one question.");
  } else {
    buf_clear(&text);
    bool talks = render(s, talk, &text, &refusal) == 0;
    checks_add(c, "chat template", INTAKE_PASSED, "A question renders to %zu tokens; a conversation with a system turn %s%.200s", ids.len,
               talks ? "renders too." : "is refused by it: ", talks ? "" : refusal.message);
  }
  ids_free(&ids);
  buf_free(&text);
}

static void check_stop_ids(const struct subject *s, struct intake_checks *c) {
  size_t n;
  const int32_t *ids = tokenizer_stop_ids(s->tokenizer, &n);
  if (!s->known || s->info.task != MODEL_GENERATE) return;
  for (size_t i = 0; i < n; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= s->info.n_vocab) {
      checks_add(c, "stop ids", INTAKE_FAILED, "The end-of-generation id %d is outside of the vocabulary of %zu tokens.", ids[i],
                 s->info.n_vocab);
      return;
    }
  if (n == 0 && s->chat_template)
    checks_add(c, "stop ids", INTAKE_FAILED,
               "No end-of-generation token is known, so no answer would end. Set eos_token_id in generation_config.json, or eos_token in "
               "tokenizer_config.json.");
  else if (n == 0) checks_add(c, "stop ids", INTAKE_SKIPPED, "None is known: a text ends only at max_tokens or the context.");
  else checks_add(c, "stop ids", INTAKE_PASSED, "%zu, the first %d.", n, ids[0]);
}

struct js *checks_vectors(const char *path, struct intake_checks *c) {
  struct buf text = {0};
  struct error err = {0};
  struct js *vectors = NULL;
  int64_t version = 0;
  char *file = fs_is_dir(path) ? fs_join(path, "plinth-vectors.json") : NULL;
  if (file && fs_exists(file)) {
    if (fs_read(file, VECTORS_BYTES_MAX, &text, &err) == 0) vectors = js_parse(buf_view(&text), &err);
    if (vectors && (!js_int(js_get(vectors, "plinth_vectors"), &version) || version != 1))
      error_set(&err, ERROR_INVALID, "\"plinth_vectors\" must be 1.");
    if (err.code) {
      error_prefix(&err, "plinth-vectors.json");
      checks_add_error(c, "vectors", &err);
      js_free(vectors);
      vectors = NULL;
    }
  }
  buf_free(&text);
  free(file);
  return vectors;
}

void checks_open(struct subject *s, const char *path, struct intake_checks *c, struct manifest *m) {
  struct error err = {0};
  *s = (struct subject){.path = path};
  s->file = file_model_open(path, &err);
  if (!s->file) {
    checks_add_error(c, "files", &err);
    return;
  }
  s->known = model_inspect(s->file, &s->info, &err) == 0;
  if (s->known)
    checks_add(c, "architecture", INTAKE_PASSED, "%s, %zu layers of width %zu, window of %zu tokens.", s->info.architecture,
               s->info.n_layers, s->info.n_embd, s->info.context_tokens);
  else checks_add_error(c, "architecture", &err);
  check_tokenizer(s, c);
  if (s->tokenizer && !(s->known && s->info.task == MODEL_EMBED)) check_template(s, c);
  if (s->tokenizer) check_stop_ids(s, c);
  take_prints(s, m);
  s->vectors = checks_vectors(path, c);
}

void checks_close(struct subject *s) {
  js_free(s->vectors);
  chat_template_close(s->chat_template);
  tokenizer_close(s->tokenizer);
  file_model_close(s->file);
  *s = (struct subject){0};
}

/* ---- the model at work ---- */

void checks_run(struct runner *r, const int32_t *ids, size_t n) {
  const struct model_info *info = model_info(r->model);
  if (info->task == MODEL_EMBED) {
    size_t offset[2] = {0, n};
    model_embed(r->model, ids, offset, 1, r->out);
    return;
  }
  struct kv_segment segment = {.n_rows = n, .pages = r->pages};
  int32_t last = (int32_t)n - 1;
  struct model_batch batch = {.n_rows = n,
                              .tokens = ids,
                              .segments = &segment,
                              .n_segments = 1,
                              .out_rows = &last,
                              .n_out_rows = 1,
                              .logits = r->out,
                              .adapters = r->adapter ? &r->adapter : NULL};
  model_forward(r->model, &batch);
}

static int make_pages(struct runner *r, const struct kv_layout *kv) {
  size_t n = (r->rows_max + KV_PAGE_TOKENS - 1) / KV_PAGE_TOKENS;
  r->pages = mem_zalloc(n + 1, sizeof *r->pages);
  for (size_t i = 0; i < n; i++) r->pages[i] = mem_aligned(64, kv->page_bytes);
  return 0;
}

static void free_pages(struct runner *r) {
  for (size_t i = 0; r->pages && r->pages[i]; i++) free(r->pages[i]);
  free(r->pages);
}

static void first_forward(struct runner *r, struct intake_checks *c) {
  const struct model_info *info = model_info(r->model);
  struct ids ids = {0};
  struct error err = {0};
  if (tokenizer_encode(r->subject->tokenizer, SLICE("The river is wide."), TOKENIZER_ADD_SPECIAL, &ids, &err) < 0 || ids.len == 0) {
    checks_add(c, "first forward", INTAKE_FAILED, "The tokenizer makes no tokens of a simple sentence. %s", err.message);
    ids_free(&ids);
    return;
  }
  if (ids.len > r->rows_max) ids.len = r->rows_max;
  checks_run(r, ids.data, ids.len);
  size_t n = info->task == MODEL_EMBED ? info->n_embd : info->n_vocab, n_bad = 0;
  bool flat = true;
  for (size_t i = 0; i < n; i++) {
    n_bad += !isfinite(r->out[i]);
    flat &= r->out[i] == r->out[0];
  }
  if (n_bad)
    checks_add(c, "first forward", INTAKE_FAILED,
               "%zu of the %zu numbers that the model computes for a simple sentence are not finite: the weights are broken.", n_bad, n);
  else if (flat)
    checks_add(c, "first forward", INTAKE_FAILED,
               "The %zu numbers that the model computes for a simple sentence are all the same: the weights are empty.", n);
  else checks_add(c, "first forward", INTAKE_PASSED, "%zu tokens gave %zu finite numbers.", ids.len, n);
  ids_free(&ids);
}

static void judge(const struct subject *s, const struct vectors_cover *cover, struct intake_checks *c, struct manifest *m) {
  bool whole = cover->n_ids && cover->n_numbers && (cover->n_rendered || !s->chat_template);
  checks_add(c, "vectors", INTAKE_PASSED,
             "%zu texts tokenized, %zu conversations rendered, %zu results of the model equal to the reference%s.", cover->n_ids,
             cover->n_rendered, cover->n_numbers, whole ? "" : "; for the verdict \"verified\" there must be some of each");
  if (!whole) return;
  m->verdict = MANIFEST_VERIFIED;
  m->verified_by = mem_strdup("vectors");
}

static void run_loaded(const struct subject *s, struct runner *r, struct intake_checks *c, struct manifest *m) {
  struct vectors_cover cover = {0};
  size_t failed = c->n_failed;
  first_forward(r, c);
  if (!s->vectors || c->n_failed > failed) return;
  vectors_try(s, NULL, &cover, c);
  vectors_try(s, r, &cover, c);
  if (c->n_failed == failed) judge(s, &cover, c, m);
}

static struct adapter *load_adapter(const char *path, const struct model *model, struct error *err) {
  struct file_adapter *file = file_adapter_open(path, err);
  struct adapter *a = file ? adapter_load(file, model, NULL, err) : NULL;
  file_adapter_close(file);
  return a;
}

void checks_forward(const struct subject *s, const char *adapter, int threads, struct intake_checks *c, struct manifest *m) {
  struct error err = {0};
  /* Vectors are compared in fp32; without them the fast mode tries what will be served. */
  enum compute_mode mode = s->vectors ? COMPUTE_F32 : COMPUTE_FAST;
  struct model_options options = {.rows_max = FORWARD_ROWS_MAX, .out_rows_max = 1};
  struct runner r = {.subject = s};
  struct pool *pool = pool_create(threads, &err);
  struct compute *compute = pool ? compute_create(mode, pool, COMPUTE_ISA_ALL, &err) : NULL;
  r.model = compute ? model_load(s->file, compute, &options, &err) : NULL;
  bool good = r.model != NULL;
  if (good && adapter) good = (r.adapter = load_adapter(adapter, r.model, &err)) != NULL;
  if (!good && err.code == ERROR_NO_MEMORY) {
    checks_add(c, "memory", INTAKE_FAILED, "%.380s Or pass --no-load to import it for another machine, without a first forward.",
               err.message);
  } else if (!good) {
    checks_add_error(c, adapter && r.model ? "adapter" : "weights", &err);
  } else {
    r.rows_max = s->info.context_tokens < FORWARD_ROWS_MAX ? s->info.context_tokens : FORWARD_ROWS_MAX;
    struct kv_layout kv = s->info.task == MODEL_GENERATE ? model_kv_layout(r.model) : (struct kv_layout){0};
    if (kv.page_bytes) make_pages(&r, &kv);
    r.out = mem_aligned(64, (s->info.n_vocab > s->info.n_embd ? s->info.n_vocab : s->info.n_embd) * sizeof(float) + 64);
    checks_add(c, adapter ? "adapter" : "weights", INTAKE_PASSED, "Every tensor has the shape that the %s demands.",
               adapter ? "base model" : "configuration");
    run_loaded(s, &r, c, m);
  }
  free(r.out);
  free_pages(&r);
  adapter_free(r.adapter);
  model_free(r.model);
  compute_destroy(compute);
  pool_destroy(pool);
}
