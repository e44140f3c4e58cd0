/* models: the endpoints, as far as the models' files tell: names, tokenizers, templates, windows. SPDX-License-Identifier: Apache-2.0
 *
 * Weights are the engine's; here only the text side is read, and closed again. What only a loaded model can tell (parameters, quantization)
 * comes later over the wire. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/utf8.h"
#include "file/file.h"
#include "serving/state.h"

static void set_text(char *to, size_t size, struct slice s) { snprintf(to, size, "%.*s", SLICE_ARG(s)); }

void models_fail(struct model *m, const char *sentence, size_t len) {
  set_text(m->failure, sizeof m->failure, slice_make(sentence, len));
  m->door.failure = m->failure;
  m->door.state = SERVING_FAILED;
}

/* Architectures that give embeddings and no tokens; the engine has the last word (models_take_figures). */
static bool is_encoder(struct slice architecture) {
  static const char *const names[] = {"bert",         "gte",     "new",         "nomic-bert", "nomic_bert",
                                      "jina-bert-v2", "roberta", "xlm-roberta", "distilbert", "mpnet"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (slice_eq(architecture, slice_cstr(names[i]))) return true;
  return false;
}

static void read_gguf(struct model *m, const struct gguf *g) {
  struct slice architecture = SLICE("");
  gguf_str(g, "general.architecture", &architecture);
  set_text(m->architecture, sizeof m->architecture, architecture);
  char key[128];
  uint64_t value;
  snprintf(key, sizeof key, "%s.context_length", m->architecture);
  if (gguf_u64(g, key, &value) && value <= INT32_MAX) m->door.context_tokens = value;
  snprintf(key, sizeof key, "%s.embedding_length", m->architecture);
  if (gguf_u64(g, key, &value) && value <= INT32_MAX) m->door.n_embd = value;
}

static size_t positive(const struct js *object, const char *key) {
  int64_t value;
  return js_int(js_get(object, key), &value) && value > 0 && value <= INT32_MAX ? (size_t)value : 0;
}

/* MPT and DBRX have names of their own for what others call by the first. */
static size_t positive_of(const struct js *object, const char *key, const char *other) {
  size_t value = positive(object, key);
  return value ? value : positive(object, other);
}

static int read_config(struct model *m, const struct file_model *file, struct error *err) {
  struct slice type;
  if (js_str(js_get(file->config, "model_type"), &type)) set_text(m->architecture, sizeof m->architecture, type);
  m->door.context_tokens = positive_of(file->config, "max_position_embeddings", "max_seq_len");
  m->door.n_embd = positive_of(file->config, "hidden_size", "d_model");
  struct js *sentence;
  if (file_model_json(file, "sentence_bert_config.json", &sentence, err) < 0) return -1;
  size_t window = positive(sentence, "max_seq_length");
  if (window && (!m->door.context_tokens || window < m->door.context_tokens)) m->door.context_tokens = window;
  js_free(sentence);
  return 0;
}

static int read_text(struct model *m, const struct file_model *file, const char *kept_dir, struct error *err) {
  if (file->container == FILE_GGUF) read_gguf(m, file->gguf);
  else if (read_config(m, file, err) < 0) return -1;
  m->tokenizer = tokenizer_open_kept(file, kept_dir, true, err);
  if (!m->tokenizer) return -1;
  m->door.tokenizer = m->tokenizer;
  if (is_encoder(slice_cstr(m->architecture))) {
    m->door.task = SERVING_EMBEDDINGS;
    return 0;
  }
  m->chat_template = chat_template_open(file, m->tokenizer, err);
  if (!m->chat_template && err->code != ERROR_NOT_FOUND) return error_prefix(err, "The chat template");
  m->door.chat_template = m->chat_template;
  m->door.task = m->chat_template ? SERVING_CHAT : SERVING_COMPLETIONS;
  return 0;
}

/* ---- adapters ---- */

static int read_adapter(struct model *m, const char *path, struct error *err) {
  struct file_adapter *file = file_adapter_open(path, err);
  if (file) m->base_name = mem_strdup(file->base);
  file_adapter_close(file);
  return file ? 0 : -1;
}

/* The adapter's own chat template, where it brings one; else the base's. */
static int adopt_texts(struct model *m, const struct model *base, struct error *err) {
  struct error none = {0};
  struct file_model *file = file_model_open_text(m->path, &none);
  if (file) m->chat_template = chat_template_open(file, base->tokenizer, err);
  bool broken = file && !m->chat_template && err->code != ERROR_NOT_FOUND;
  file_model_close(file);
  if (broken) return error_prefix(err, "The chat template");
  m->door.chat_template = m->chat_template ? m->chat_template : base->chat_template;
  m->door.tokenizer = base->tokenizer;
  m->door.task = m->door.chat_template ? SERVING_CHAT : SERVING_COMPLETIONS;
  m->door.context_tokens = base->door.context_tokens;
  m->door.n_embd = base->door.n_embd;
  set_text(m->architecture, sizeof m->architecture, slice_cstr(base->architecture));
  m->base = (struct model *)base;
  m->base->holds++;
  return 0;
}

static struct model *find_base(const struct models *all, const char *name) {
  for (size_t i = 0; i < all->n; i++)
    if (!all->listed[i]->base_name && strcasecmp(all->listed[i]->name, name) == 0) return all->listed[i];
  return NULL;
}

static int join_adapter(struct models *all, struct model *m, struct error *err) {
  const struct model *base = find_base(all, m->base_name);
  if (!base)
    return error_set(err, ERROR_NOT_FOUND,
                     "It is an adapter of the model %.100s, which is not there. Put the base beside it under that name.", m->base_name);
  if (base->unreadable || base->door.task == SERVING_EMBEDDINGS)
    return error_set(err, ERROR_UNAVAILABLE, "It is an adapter of %.100s, which %s.", base->name,
                     base->unreadable ? "cannot be read" : "gives embeddings: adapters of such models are not supported");
  return adopt_texts(m, base, err);
}

void models_join(struct models *all, struct model *m) {
  struct error err = {0};
  if (!m->base_name || m->unreadable || join_adapter(all, m, &err) == 0) return;
  m->unreadable = true;
  models_fail(m, err.message, strlen(err.message));
  log_line(LOG_ERROR, "serving", "The adapter %s cannot be served: %s", m->name, err.message);
}

bool models_has_base(const struct models *all, const struct model *adapter) {
  const struct model *base = find_base(all, adapter->base_name);
  return base && !base->unreadable && base->door.task != SERVING_EMBEDDINGS;
}

/* ---- opening ---- */

/* A folder that has nothing of a model is no model; one that lacks a part is a model that cannot be read. */
static bool holds_nothing(const char *path, const struct error *err) {
  if (err->code != ERROR_NOT_FOUND || !fs_is_dir(path)) return false;
  char *config = fs_join(path, "config.json");
  bool nothing = !fs_exists(config);
  free(config);
  return nothing;
}

/* What the import found. A manifest that cannot be read says nothing; the model is served all the same. */
static void read_origin(struct model *m) {
  struct error err = {0};
  int found = manifest_read(m->path, &m->manifest, &err);
  if (found < 0) log_line(LOG_WARN, "serving", "What the import of %s wrote down cannot be read: %s", m->name, err.message);
  if (found <= 0) return;
  const struct manifest *f = &m->manifest;
  const char *changed = manifest_changed(f, m->path);
  if (changed) log_line(LOG_WARN, "serving", "%s is not as it was imported: %s has changed.", m->name, changed);
  bool hub = f->source && strncmp(f->source, "hf:", 3) == 0; /* where it lay on this machine is nobody's business */
  m->origin = (struct endpoint_origin){.verdict = changed ? "changed" : manifest_verdict_name(f->verdict),
                                       .verified_by = changed ? NULL : f->verified_by,
                                       .source = hub         ? f->source
                                                 : f->source ? "path"
                                                             : NULL,
                                       .revision = f->revision,
                                       .commit = f->commit,
                                       .weights = f->weights,
                                       .tokenizer = f->tokenizer,
                                       .chat_template = f->chat_template,
                                       .imported_s = f->imported_s};
  m->door.origin = &m->origin;
}

/* 1: an endpoint, maybe a failed one; 0: nothing to serve. */
static int open_one(struct model *m, const struct serving_model *spec) {
  struct error err = {0};
  struct stat st;
  m->door = (struct endpoint){.name = m->name, .architecture = m->architecture, .quantization = m->quantization, .state = SERVING_LOADING};
  if (stat(spec->path, &st) == 0) m->door.created_s = st.st_mtime;
  read_origin(m);
  bool adapts = file_is_adapter(spec->path);
  struct file_model *file = adapts ? NULL : file_model_open_text(spec->path, &err);
  int result = adapts ? read_adapter(m, spec->path, &err) : file ? read_text(m, file, spec->kept_dir, &err) : -1;
  file_model_close(file);
  if (result == 0) return 1;
  if (!file && !adapts && holds_nothing(spec->path, &err)) {
    log_line(LOG_INFO, "serving", "%s is left out: %s", spec->name, err.message);
    return 0;
  }
  m->unreadable = true;
  models_fail(m, err.message, strlen(err.message));
  log_line(LOG_ERROR, "serving", "The model %s cannot be served: %s", spec->name, err.message);
  return 1;
}

static void close_one(struct model *m) {
  chat_template_close(m->chat_template);
  tokenizer_close(m->tokenizer);
  manifest_free(&m->manifest);
  free(m->base_name);
  free(m->name);
  free(m->path);
  free(m);
}

/* The strings of a door point into its own model, so a model keeps its place in memory. */
struct model *models_read(const struct serving_model *spec) {
  struct model *m = mem_zalloc(1, sizeof *m);
  m->name = mem_strdup(spec->name);
  m->path = mem_strdup(spec->path);
  m->stamp = spec->stamp;
  if (open_one(m, spec)) return m;
  close_one(m);
  return NULL;
}

struct model *models_find(const struct models *all, struct slice name) {
  for (size_t i = 0; i < all->n; i++)
    if (slice_eq(slice_cstr(all->listed[i]->name), name)) return all->listed[i];
  return NULL;
}

/* Names stand in URLs, in logs and on terminals. */
static bool is_name(const char *name) {
  if (!utf8_valid(slice_cstr(name)) || name[strspn(name, " ")] == '\0') return false;
  for (const unsigned char *p = (const unsigned char *)name; *p; p++)
    if (*p < 0x20 || *p == 0x7F || (p[0] == 0xC2 && p[1] >= 0x80 && p[1] < 0xA0)) return false;
  return true;
}

bool models_is_name(const struct serving_model *spec) { return is_name(spec->name) && strlen(spec->path) <= WIRE_TEXT_MAX; }

/* ---- the lists ---- */

bool models_enter(struct models *all, struct model *m) {
  size_t number = 0, at = all->n;
  while (number < WIRE_MODELS_MAX && all->slots[number]) number++;
  if (number == WIRE_MODELS_MAX || models_find(all, slice_cstr(m->name))) return false;
  m->door.index = (int)number;
  figures_init(&m->figures);
  all->slots[number] = m;
  all->in_order[all->n_in_order++] = m;
  for (; at > 0 && strcmp(all->listed[at - 1]->name, m->name) > 0; at--) all->listed[at] = all->listed[at - 1];
  all->listed[at] = m;
  all->n++;
  return true;
}

static void take_out(struct model **list, size_t *n, const struct model *m) {
  size_t kept = 0;
  for (size_t i = 0; i < *n; i++)
    if (list[i] != m) list[kept++] = list[i];
  *n = kept;
}

void models_unlist(struct models *all, struct model *m) { take_out(all->listed, &all->n, m); }

void models_free(struct models *all, struct model *m) {
  if (all->slots[m->door.index] == m) {
    all->slots[m->door.index] = NULL;
    take_out(all->in_order, &all->n_in_order, m);
  }
  if (m->base) m->base->holds--;
  close_one(m);
}

/* ---- the start ---- */

static int enter_all(struct models *all, const struct serving_model *specs, size_t n) {
  int n_readable = 0;
  for (size_t i = 0; i < n; i++) {
    struct model *m = models_is_name(&specs[i]) && !models_find(all, slice_cstr(specs[i].name)) ? models_read(&specs[i]) : NULL;
    if (m) models_enter(all, m);
    else if (!models_is_name(&specs[i]) || models_find(all, slice_cstr(specs[i].name)))
      log_line(LOG_WARN, "serving",
               "The model at %s is left out: its name is taken, too long, blank, not UTF-8 or holds a control character.", specs[i].path);
  }
  for (size_t i = 0; i < all->n; i++) models_join(all, all->listed[i]);
  for (size_t i = 0; i < all->n; i++)
    if (!all->listed[i]->base) models_load_last(all, all->listed[i]); /* its adapters behind it */
  for (size_t i = 0; i < all->n; i++) {
    all->listed[i]->counts = true;
    n_readable += !all->listed[i]->unreadable;
  }
  return n_readable;
}

void models_load_last(struct models *all, const struct model *m) {
  struct model *behind[WIRE_MODELS_MAX];
  size_t n = 0, n_behind = 0;
  for (size_t i = 0; i < all->n_in_order; i++) {
    struct model *one = all->in_order[i];
    if (one == m || one->base == m) behind[n_behind++] = one;
    else all->in_order[n++] = one;
  }
  for (int adapters = 0; adapters < 2; adapters++)
    for (size_t i = 0; i < n_behind; i++)
      if ((behind[i] != m) == adapters) all->in_order[n++] = behind[i];
}

int models_open(struct models *m, const struct serving_model *specs, size_t n, struct error *err) {
  if (n > WIRE_MODELS_MAX)
    return error_set(err, ERROR_TOO_LARGE, "There are %zu models; at most %d can be served at once.", n, WIRE_MODELS_MAX);
  if (enter_all(m, specs, n) > 0) return 0;
  const struct model *first = m->n ? m->listed[0] : NULL;
  if (!first) error_set(err, ERROR_NOT_FOUND, "There is no model to serve. Put a model's folder or .gguf file into the models folder.");
  else if (m->n == 1) error_set(err, ERROR_UNAVAILABLE, "The only model, %.64s, cannot be read: %.400s", first->name, first->failure);
  else error_set(err, ERROR_UNAVAILABLE, "None of the %zu models can be read; the first, %.64s: %.380s", m->n, first->name, first->failure);
  models_close(m);
  return -1;
}

void models_close(struct models *m) {
  for (int bases = 0; bases < 2; bases++)
    for (size_t i = 0; i < WIRE_MODELS_MAX; i++)
      if (m->slots[i] && (bases || m->slots[i]->base)) models_free(m, m->slots[i]);
  *m = (struct models){0};
}

void models_take_figures(struct model *m, const struct wire_model *figures) {
  struct endpoint *door = &m->door;
  m->n_vocab = figures->n_vocab;
  door->context_tokens = figures->context_tokens;
  door->whole_context_tokens = figures->whole_context_tokens;
  door->n_embd = figures->n_embd;
  door->n_parameters = figures->n_parameters;
  set_text(m->architecture, sizeof m->architecture, figures->architecture);
  set_text(m->quantization, sizeof m->quantization, figures->quantization);
  if (figures->embeds) door->task = SERVING_EMBEDDINGS;
  else door->task = door->chat_template ? SERVING_CHAT : SERVING_COMPLETIONS;
}
