/* ids: a list of token ids that grows; see text.h. SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/mem.h"
#include "text/text.h"

void ids_add(struct ids *ids, int32_t id) {
  if (ids->len == ids->cap) {
    ids->cap = ids->cap ? ids->cap * 2 : 32;
    ids->data = mem_realloc(ids->data, ids->cap, sizeof ids->data[0]);
  }
  ids->data[ids->len++] = id;
}

void ids_free(struct ids *ids) {
  free(ids->data);
  *ids = (struct ids){0};
}
