/* drafts: which model drafts for which (--draft MODEL=DRAFT). SPDX-License-Identifier: Apache-2.0
 *
 * The engine loads a draft model of its own with each model that has one; kept weights are mapped, so that one which is served too, or drafts
 * for several, is in memory once. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "serving/state.h"

void drafts_copy(struct drafts *d, const struct serving_draft *from, size_t n) {
  *d = (struct drafts){.items = mem_zalloc(n + 1, sizeof *d->items), .n = n};
  for (size_t i = 0; i < n; i++) d->items[i] = (struct serving_draft){mem_strdup(from[i].model), mem_strdup(from[i].draft)};
}

void drafts_free(struct drafts *d) {
  for (size_t i = 0; i < d->n; i++) {
    free((char *)d->items[i].model);
    free((char *)d->items[i].draft);
  }
  free(d->items);
  *d = (struct drafts){0};
}

/* The door is the first member. */
static const struct model *find(const struct serving *s, const char *name) {
  return (const struct model *)serving_endpoint(s, slice_cstr(name));
}

/* The one of the two models that the pair names; its text was read. */
static const struct model *find_readable(const struct serving *s, const struct serving_draft *d, const char *name, struct error *err) {
  const struct model *m = find(s, name);
  if (!m) {
    error_set(err, ERROR_NOT_FOUND, "--draft %.64s=%.64s: there is no model %.64s in the models folder.", d->model, d->draft, name);
    return NULL;
  }
  if (m->door.tokenizer && m->door.task != SERVING_EMBEDDINGS && !m->base) return m;
  error_set(err, ERROR_INVALID, "--draft %.64s=%.64s: %.64s %s.", d->model, d->draft, name,
            m->base                              ? "is an adapter; name its base"
            : m->door.task == SERVING_EMBEDDINGS ? "makes embeddings; only a model that generates has a draft model or is one"
                                                 : "cannot be read");
  return NULL;
}

static int check(const struct serving *s, const struct serving_draft *d, const struct model **ret_draft, struct error *err) {
  const struct model *model = find_readable(s, d, d->model, err), *draft = model ? find_readable(s, d, d->draft, err) : NULL;
  int32_t id;
  if (!draft) return -1;
  if (model == draft)
    return error_set(err, ERROR_INVALID, "--draft %.64s=%.64s: a model gains nothing by drafting for itself.", d->model, d->draft);
  if (!tokenizer_same_ids(model->door.tokenizer, draft->door.tokenizer, &id))
    return error_set(
        err, ERROR_INVALID,
        "--draft %.64s=%.64s: their vocabularies differ, first at token %d (they have %d and %d); a draft model must have the same.",
        d->model, d->draft, id, tokenizer_n_vocab(model->door.tokenizer), tokenizer_n_vocab(draft->door.tokenizer));
  *ret_draft = draft;
  return 0;
}

int drafts_check(const struct serving *s, struct error *err) {
  const struct model *draft;
  for (size_t i = 0; i < s->drafts.n; i++) {
    for (size_t k = 0; k < i; k++)
      if (strcmp(s->drafts.items[i].model, s->drafts.items[k].model) == 0)
        return error_set(err, ERROR_INVALID, "--draft names %.64s twice; a model has one draft model.", s->drafts.items[i].model);
    if (check(s, &s->drafts.items[i], &draft, err) < 0) return -1;
  }
  return 0;
}

const char *drafts_path(const struct serving *s, const struct model *m) {
  const struct model *draft = NULL;
  struct error err;
  for (size_t i = 0; i < s->drafts.n; i++) {
    if (strcmp(s->drafts.items[i].model, m->name) != 0) continue;
    if (check(s, &s->drafts.items[i], &draft, &err) == 0) return draft->path;
    log_line(LOG_WARN, "serving", "%s is served without a draft model. %s", m->name, err.message);
  }
  return NULL;
}
