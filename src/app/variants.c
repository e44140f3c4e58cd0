/* variants: see variants.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/variants.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/digest.h"
#include "base/fs.h"
#include "base/jsonw.h"
#include "base/log.h"

enum { RECORD_BYTES_MAX = 16 << 10, MACHINE_CHARS = 16 };

struct compute *variants_compute(enum compute_mode mode, struct pool *pool, const char *name, struct error *err) {
  unsigned isa = compute_isa_parse(name);
  struct compute *c = isa ? compute_create(mode, pool, isa, err) : NULL;
  if (!isa) error_set(err, ERROR_INVALID, "There are no kernels called \"%.32s\"; use one of %s.", name, VARIANTS_CHOICES);
  if (!c || strcmp(name, "auto") == 0 || strcmp(compute_isa_name(c), name) == 0) return c;
  error_set(err, ERROR_UNSUPPORTED, "This machine cannot run the %s kernels; the widest that it can run are called %s. Use --kernels auto.",
            name, compute_isa_name(c));
  compute_destroy(c);
  return NULL;
}

/* ---- what the machine is ---- */

static bool is_lasting(const char *line) { /* not the clock of the moment, nor the number of the core */
  static const char *const keys[] = {"vendor_id",  "cpu family", "model",    "stepping", "microcode",
                                     "cache size", "flags",      "Features", "CPU "};
  for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
    if (strncmp(line, keys[i], strlen(keys[i])) == 0) return true;
  return false;
}

/* The first processor stands for all. */
static void machine_of(const struct compute *c, char out[DIGEST_HEX]) {
  struct digest *d = digest_begin();
  char *line = NULL, threads[32];
  size_t size = 0;
  FILE *f = fopen("/proc/cpuinfo", "re");
  for (ssize_t n; f && (n = getline(&line, &size, f)) > 1;)
    if (is_lasting(line)) digest_add(d, line, (size_t)n);
  if (f) fclose(f);
  free(line);
  int n = snprintf(threads, sizeof threads, "%d threads", pool_threads(compute_pool(c)));
  digest_add(d, threads, (size_t)n);
  digest_end(d, out);
}

char *variants_path(const struct compute *c, const char *folder) {
  char machine[DIGEST_HEX], name[128];
  machine_of(c, machine);
  snprintf(name, sizeof name, "kernels-%.*s-%s.json", MACHINE_CHARS, machine, PLINTH_VERSION);
  return fs_join(folder, name);
}

/* ---- the record ---- */

static bool is_ours(const struct js *record, const struct compute *c) {
  char machine[DIGEST_HEX];
  struct slice said;
  machine_of(c, machine);
  return js_str(js_get(record, "machine"), &said) && slice_eq(said, slice_cstr(machine)) && js_str(js_get(record, "version"), &said) &&
         slice_eq(said, slice_cstr(PLINTH_VERSION)) && js_type(js_get(record, "kernels")) == JS_OBJECT;
}

static void take_over(struct compute *c, const struct js *kernels) {
  const char *family;
  for (size_t i = 0; (family = compute_choice_family(i)); i++) {
    struct slice said;
    char name[32];
    if (!js_str(js_get(kernels, family), &said) || said.len >= sizeof name) continue;
    memcpy(name, said.data, said.len);
    name[said.len] = '\0';
    compute_choice_set(c, family, name);
  }
}

bool variants_read(struct compute *c, const char *folder) {
  char *path = variants_path(c, folder);
  struct buf text = {0};
  struct error err;
  if (fs_read(path, RECORD_BYTES_MAX, &text, &err) == 0) {
    struct js *record = js_parse(buf_view(&text), &err);
    if (is_ours(record, c)) take_over(c, js_get(record, "kernels"));
    else log_line(LOG_INFO, "engine", "%s is no record of this machine and version; the kernels are measured again.", path);
    js_free(record);
  }
  buf_free(&text);
  free(path);
  return !compute_choice_is_open(c);
}

static void write_record(const struct compute *c, struct buf *out) {
  struct jsonw w = {.out = out};
  char machine[DIGEST_HEX];
  const char *family;
  machine_of(c, machine);
  jsonw_object_begin(&w);
  jsonw_key_cstr(&w, "machine", machine);
  jsonw_key_cstr(&w, "version", PLINTH_VERSION);
  jsonw_key(&w, "kernels");
  jsonw_object_begin(&w);
  for (size_t i = 0; (family = compute_choice_family(i)); i++) jsonw_key_cstr(&w, family, compute_choice_name(c, i));
  jsonw_object_end(&w);
  jsonw_object_end(&w);
  buf_add_byte(out, '\n');
}

void variants_settle(struct compute *c, const char *folder) {
  if (!compute_choice_is_open(c)) return;
  uint64_t begin_ns = clock_ns();
  compute_choice_measure(c);
  double ms = (double)(clock_ns() - begin_ns) * 1e-6;
  struct buf text = {0}, chosen = {0};
  struct error err;
  char *path = variants_path(c, folder);
  compute_choice_tell(c, &chosen);
  log_line(LOG_INFO, "engine", "Kernels by measurement (%.0f ms): %s.", ms, chosen.data);
  write_record(c, &text);
  if (fs_mkdirs(folder, 0700, &err) < 0 || fs_write_atomic(path, buf_view(&text), 0600, &err) < 0)
    log_line(LOG_WARN, "engine", "What was measured cannot be kept, so the next start measures again: %s", err.message);
  buf_free(&text);
  buf_free(&chosen);
  free(path);
}
