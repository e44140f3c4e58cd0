/* test_dtype_vectors: every block type against the `gguf` package (make.py), bit for bit; packing loses nothing. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/js.h"
#include "base/mem.h"
#include "tensor/tensor.h"

static const char *vectors;

/* One line of the file. */
struct sample {
  enum dtype dtype;
  unsigned char *blocks;
  float *values;
  size_t n;
};

static unsigned char *unhex(struct slice text) {
  unsigned char *out = mem_alloc(text.len / 2 + 1);
  for (size_t i = 0; i < text.len / 2; i++) {
    char pair[3] = {text.data[2 * i], text.data[2 * i + 1], 0};
    out[i] = (unsigned char)strtoul(pair, NULL, 16);
  }
  return out;
}

static struct sample read_sample(const struct js *line) {
  struct sample s = {0};
  struct slice type = {0}, blocks = {0}, values = {0};
  assert_true(js_str(js_get(line, "type"), &type) && js_str(js_get(line, "blocks"), &blocks) && js_str(js_get(line, "values"), &values));
  while (s.dtype < DTYPE_COUNT && !slice_eq(type, slice_cstr(dtype_info(s.dtype)->name))) s.dtype++;
  assert_true(s.dtype < DTYPE_COUNT);
  s.n = values.len / 8;
  assert_int_equal(s.n, blocks.len / 2 / dtype_info(s.dtype)->block_bytes * dtype_info(s.dtype)->block_elements);
  s.blocks = unhex(blocks);
  s.values = (float *)unhex(values);
  return s;
}

static void expect_same(const struct sample *s, const float *got, const char *by) {
  for (size_t i = 0; i < s->n; i++) {
    if (isnan(got[i]) && isnan(s->values[i])) continue;
    if (memcmp(&got[i], &s->values[i], sizeof *got) == 0) continue;
    fail_msg("%s by %s: element %zu is %a, not %a", dtype_info(s->dtype)->name, by, i, (double)got[i], (double)s->values[i]);
  }
}

static void each_sample(void (*check)(const struct sample *s)) {
  struct buf text = {0};
  struct error err;
  char *path = fs_join(vectors, "blocks.jsonl");
  if (fs_read(path, 1 << 24, &text, &err) < 0) fail_msg("%s", err.message);
  size_t n = 0;
  for (struct slice rest = buf_view(&text); rest.len; n++) {
    const char *end = memchr(rest.data, '\n', rest.len);
    assert_non_null(end);
    struct js *line = js_parse(slice_make(rest.data, (size_t)(end - rest.data)), &err);
    assert_non_null(line);
    struct sample s = read_sample(line);
    check(&s);
    free(s.blocks);
    free(s.values);
    js_free(line);
    rest = slice_from(rest, (size_t)(end + 1 - rest.data));
  }
  assert_int_equal(n, 21);
  free(path);
  buf_free(&text);
}

static void convert(const struct sample *s) {
  float *got = mem_alloc(s->n * sizeof *got);
  assert_true(dtype_to_f32(s->dtype, s->blocks, got, s->n));
  expect_same(s, got, "dtype_to_f32");
  free(got);
}

static void pack(const struct sample *s) {
  struct error err;
  struct pool *pool = pool_create(1, &err);
  for (int mode = 0; mode < COMPUTE_MODES; mode++) {
    struct compute *c = compute_create((enum compute_mode)mode, pool, COMPUTE_ISA_ALL, &err);
    struct weight_source source = {.dtype = s->dtype, .data = s->blocks, .n_out = 1, .n_in = s->n};
    struct weight *w = weight_pack(c, &source, &err);
    source.exact = w && weight_act_form(w) == ACT_I14; /* a type that the mode rounds */
    if (source.exact) {
      weight_free(w);
      w = weight_pack(c, &source, &err);
    }
    if (!w) fail_msg("%s", err.message);
    float *got = mem_alloc(s->n * sizeof *got);
    weight_row(w, 0, got);
    expect_same(s, got, compute_mode_name((enum compute_mode)mode));
    free(got);
    weight_free(w);
    compute_destroy(c);
  }
  pool_destroy(pool);
}

static void blocks_convert_as_the_published_package_does_with_odd_scales_too(void **state) { (void)state, each_sample(convert); }
static void packed_weights_give_back_the_same_values(void **state) { (void)state, each_sample(pack); }

int main(int argc, char **argv) {
  vectors = argc > 1 ? argv[1] : "test/vector/dtype";
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(blocks_convert_as_the_published_package_does_with_odd_scales_too),
      cmocka_unit_test(packed_weights_give_back_the_same_values),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
