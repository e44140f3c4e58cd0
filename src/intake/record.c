/* record: see record.h. SPDX-License-Identifier: Apache-2.0 */
#include "intake/record.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/digest.h"
#include "intake/known.h"

bool record_is_weights(const char *path) {
  return slice_ends(slice_cstr(path), SLICE(".safetensors")) || slice_ends(slice_cstr(path), SLICE(".gguf"));
}

void record_examine(const char *path, bool no_load, int threads, struct intake_checks *c, struct manifest *m) {
  struct subject s;
  size_t failed = c->n_failed;
  checks_open(&s, path, c, m);
  if (c->n_failed == failed && s.known && !no_load) checks_forward(&s, NULL, threads, c, m);
  else if (no_load) checks_add(c, "first forward", INTAKE_SKIPPED, "Left out, as --no-load says.");
  checks_close(&s);
}

static char *print_weights(const struct manifest *m) {
  struct digest *d = digest_begin();
  const struct manifest_file *only = NULL;
  size_t n = 0;
  for (size_t k = 0; k < m->n_files; k++) {
    if (!record_is_weights(m->files[k].path)) continue;
    only = &m->files[k];
    n++;
    digest_add(d, only->sha256, 64);
  }
  char hex[DIGEST_HEX];
  struct buf text = {0};
  digest_end(d, hex);
  if (n)
    buf_printf(&text, "sha256:%s", n == 1 ? only->sha256 : hex); /* of one file its own hash, of several that of their hashes by name */
  return text.data;
}

void record_time(struct manifest_file *f, const char *path) {
  struct stat st;
  if (stat(path, &st) < 0) return; /* the next look will say that it has changed */
  f->bytes = (uint64_t)st.st_size;
  f->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
}

static int compare_files(const void *a, const void *b) {
  return strcmp(((const struct manifest_file *)a)->path, ((const struct manifest_file *)b)->path);
}

void record_settle(struct manifest *m, const struct intake_checks *checks) {
  if (m->n_files) qsort(m->files, m->n_files, sizeof *m->files, compare_files);
  m->weights = print_weights(m);
  m->imported_s = clock_wall_s();
  for (size_t k = 0; k < checks->n; k++)
    manifest_add_check(m, checks->items[k].name, intake_result_name(checks->items[k].result), checks->items[k].detail);
  if (m->adapter || !known_model(m)) return;
  m->verdict = MANIFEST_VERIFIED;
  free(m->verified_by);
  m->verified_by = mem_strdup("catalogue");
}
