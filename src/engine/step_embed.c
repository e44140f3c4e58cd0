/* step_embed: one pass of an embedding model. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/state.h"

void step_embed(struct engine *e) {
  sched_embed_plan(&e->sched, engine__clock_ns(e));
  const struct sched_plan *p = &e->sched.plan;
  if (p->n == 0) return;
  e->offsets[0] = 0;
  for (size_t i = 0; i < p->n; i++) {
    const struct sequence *s = p->items[i];
    memcpy(e->tokens + e->offsets[i], s->tokens, s->n_tokens * sizeof *s->tokens);
    e->offsets[i + 1] = e->offsets[i] + s->n_tokens;
  }
  uint64_t begin_ns = engine__clock_ns(e);
  model_embed(e->model, e->tokens, e->offsets, p->n, e->logits);
  engine__count_pass(e, begin_ns, false, 0, model_operations(e->model, p->n_rows, 0));
  for (size_t i = 0; i < p->n; i++) {
    struct engine_event *event = engine__add_event(e);
    event->id = p->items[i]->request.id;
    event->kind = ENGINE_EMBEDDING;
    event->finish = ENGINE_STOP;
    event->embedding = e->logits + i * e->info->n_embd;
    engine__time(e, p->items[i], event);
    engine__finish(e, p->items[i]);
  }
}
