/* step_embed: one step of an embedding model: as many waiting texts, in order, as the rows of a pass hold. SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "engine/state.h"

void step_embed(struct engine *e) {
  size_t rows_max = model_rows_max(e->model), n = 0;
  e->offsets[0] = 0;
  for (struct sequence *s = e->waiting.first; s && e->offsets[n] + s->n_tokens <= rows_max; s = s->next) {
    memcpy(e->tokens + e->offsets[n], s->tokens, s->n_tokens * sizeof *s->tokens);
    e->offsets[n + 1] = e->offsets[n] + s->n_tokens;
    n++;
  }
  model_embed(e->model, e->tokens, e->offsets, n, e->logits);
  e->stats.embed_tokens += e->offsets[n];
  for (size_t i = 0; i < n; i++) {
    struct engine_event *event = engine__add_event(e);
    event->id = e->waiting.first->request.id;
    event->kind = ENGINE_EMBEDDING;
    event->finish = ENGINE_STOP;
    event->embedding = e->logits + i * e->info->n_embd;
    e->stats.finished++;
    engine__finish(e, &e->waiting, e->waiting.first);
  }
}
