/* index: see index.h. SPDX-License-Identifier: Apache-2.0 */
#include "file/index.h"

#include <stdlib.h>

#include "base/mem.h"

static int compare(struct slice a, struct slice b) {
  int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_name(const void *a, const void *b) {
  return compare((*(const struct file_tensor *const *)a)->name, (*(const struct file_tensor *const *)b)->name);
}

int index_make(struct index *x, const struct file_tensor *tensors, size_t n, const char *name, struct error *err) {
  *x = (struct index){.sorted = mem_alloc((n + 1) * sizeof *x->sorted), .n = n};
  for (size_t i = 0; i < n; i++) x->sorted[i] = &tensors[i];
  if (n) qsort(x->sorted, n, sizeof *x->sorted, by_name);
  for (size_t i = 1; i < n; i++)
    if (slice_eq(x->sorted[i - 1]->name, x->sorted[i]->name)) {
      error_set(err, ERROR_CORRUPT, "%s: the tensor %.*s is there twice.", name, SLICE_ARG(x->sorted[i]->name));
      index_free(x);
      return -1;
    }
  return 0;
}

void index_free(struct index *x) {
  free(x->sorted);
  *x = (struct index){0};
}

const struct file_tensor *index_find(const struct index *x, struct slice name) {
  size_t low = 0, high = x->n;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = compare(x->sorted[middle]->name, name);
    if (order == 0) return x->sorted[middle];
    if (order < 0) low = middle + 1;
    else high = middle;
  }
  return NULL;
}
