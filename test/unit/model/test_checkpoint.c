/* Tests of model/checkpoint: settings and tensors that cannot be loaded are refused by name. What is loaded right: test/vector/checkpoint.
 * SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/js.h"
#include "model/model.h"

/* A tensor of zero bytes. */
struct plain {
  const char *name, *dtype, *shape;
  size_t bytes;
};

struct opened {
  struct file_model file;
  struct buf bytes;
};

static struct opened make(const char *settings, const struct plain *tensors, size_t n) {
  struct opened o = {.file = {.container = FILE_SAFETENSORS, .path = "no-such-folder"}};
  struct buf text = {0}, data = {0};
  struct error err;
  buf_printf(&text, "{\"quantization_config\":%s}", settings);
  o.file.config = js_parse(buf_view(&text), &err);
  if (!o.file.config) fail_msg("%s", err.message);
  buf_clear(&text);
  for (size_t i = 0, at = 0; i < n; at += tensors[i++].bytes) {
    buf_printf(&text, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%zu,%zu]}", i ? "," : "{", tensors[i].name,
               tensors[i].dtype, tensors[i].shape, at, at + tensors[i].bytes);
    memset(buf_reserve(&data, tensors[i].bytes), 0, tensors[i].bytes);
    buf_advance(&data, tensors[i].bytes);
  }
  buf_add_cstr(&text, n ? "}" : "{}");
  uint64_t size = text.len;
  buf_add(&o.bytes, &size, 8);
  buf_add_slice(&o.bytes, buf_view(&text));
  buf_add_slice(&o.bytes, buf_view(&data));
  o.file.tensors = safetensors_open_bytes(buf_view(&o.bytes), "x", &err);
  if (!o.file.tensors) fail_msg("%s", err.message);
  buf_free(&text);
  buf_free(&data);
  return o;
}

static void done(struct opened *o) {
  safetensors_close(o->file.tensors);
  js_free(o->file.config);
  buf_free(&o->bytes);
}

static void expect_says(const struct error *err, const char *part) {
  if (!strstr(err->message, part)) fail_msg("\"%s\" does not say \"%s\"", err->message, part);
}

static void unknown_methods_and_values_are_refused_by_key_and_value(void **state) {
  (void)state;
  static const struct {
    const char *settings, *key, *value;
  } cases[] = {
      {"{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}", "quant_method", "bitsandbytes"},
      {"{\"quant_method\":\"aqlm\"}", "quant_method", "\"aqlm\""},
      {"{\"bits\":4}", "quant_method", "nothing"},
      {"[]", "quantization_config", "no object"},
      {"{\"quant_method\":\"gptq\",\"bits\":5}", "bits", "5"},
      {"{\"quant_method\":\"gptq\"}", "bits", "missing"},
      {"{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":0}", "group_size", "0"},
      {"{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"marlin\"}", "checkpoint_format", "\"marlin\""},
      {"{\"quant_method\":\"gptq\",\"bits\":4,\"dynamic\":{\"a\":{}}}", "dynamic", "one setting"},
      {"{\"quant_method\":\"awq\",\"bits\":4,\"version\":\"gemv\"}", "version", "\"gemv\""},
      {"{\"quant_method\":\"awq\",\"zero_point\":false}", "zero_point", "false"},
      {"{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", "weight_block_size", "two positive counts"},
      {"{\"quant_method\":\"compressed-tensors\",\"format\":\"nvfp4-pack-quantized\"}", "format", "nvfp4-pack-quantized"},
      {"{\"quant_method\":\"compressed-tensors\",\"format\":\"pack-quantized\"}", "config_groups", "no weights"},
      {"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}", "sparsity_config", "sparse-24"},
      {"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4}},\"b\":{\"weights\":{\"num_bits\":"
       "8}}}}",
       "config_groups", "different ways"},
      {"{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":{\"weights\":{\"num_bits\":4}}},\"transform_config\":{"
       "\"config_groups\":{\"R1\":{\"type\":\"hadamard\",\"apply\":[{\"location\":\"weight_output\"},{\"location\":\"input\"}]}}}}",
       "transform_config", "\"input\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct opened o = make(cases[i].settings, NULL, 0);
    struct error err = {0};
    assert_null(checkpoint_open(&o.file, &err));
    expect_says(&err, cases[i].key);
    expect_says(&err, cases[i].value);
    done(&o);
  }
}

static void expect_refused(const char *settings, const struct plain *tensors, size_t n, const char *part) {
  struct opened o = make(settings, tensors, n);
  struct error err = {0};
  struct pool *pool = pool_create(1, NULL);
  struct checkpoint *c = checkpoint_open(&o.file, &err);
  if (!c) fail_msg("%s", err.message);
  struct checkpoint_tensor t;
  assert_int_equal(checkpoint_read(c, "x.weight", pool, &t, &err), -1);
  expect_says(&err, part);
  checkpoint_close(c);
  pool_destroy(pool);
  done(&o);
}

static void tensors_that_do_not_fit_the_settings_are_named(void **state) {
  (void)state;
  const char *gptq = "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32}";
  struct plain good[] = {{"x.qweight", "I32", "[8,8]", 256},
                         {"x.qzeros", "I32", "[2,1]", 8},
                         {"x.scales", "F16", "[2,8]", 32},
                         {"x.g_idx", "I32", "[64]", 256}};
  expect_refused(gptq, good, 1, "x.qzeros is missing");
  expect_refused(gptq, good, 2, "x.scales is missing");
  struct plain bad[4];
  memcpy(bad, good, sizeof good);
  bad[2] = (struct plain){"x.scales", "F16", "[1,8]", 16};
  expect_refused(gptq, bad, 3, "x.scales must have the shape");
  bad[2] = (struct plain){"x.scales", "I16", "[2,8]", 32};
  expect_refused(gptq, bad, 3, "x.scales must be of the type");
  bad[1] = (struct plain){"x.qzeros", "I32", "[2,2]", 16};
  expect_refused(gptq, bad, 3, "x.qzeros must be of the type I32 with the shape [2, 1]");
  memcpy(bad, good, sizeof good);
  bad[3] = (struct plain){"x.g_idx", "I32", "[63]", 252};
  expect_refused(gptq, bad, 4, "x.g_idx must hold one");
  struct plain fp8[] = {{"x.weight", "F8_E4M3", "[8,8]", 64}, {"x.weight_scale_inv", "F32", "[3,2]", 24}};
  expect_refused("{\"quant_method\":\"fp8\",\"weight_block_size\":[4,4]}", fp8, 2, "one scale for each block");
  expect_refused("{\"quant_method\":\"fp8\"}", fp8, 2, "does not fit");
  expect_refused("{\"quant_method\":\"fp8\"}", fp8, 1, "weight_scale is missing");
}

static void what_is_not_quantized_is_read_as_it_is(void **state) {
  (void)state;
  struct plain tensors[] = {{"x.weight", "F16", "[4,8]", 64}, {"x.qzeros", "I32", "[2,1]", 8}};
  struct opened o = make("{\"quant_method\":\"gptq\",\"bits\":4}", tensors, 2);
  struct checkpoint *c = checkpoint_open(&o.file, NULL);
  struct checkpoint_tensor t;
  assert_int_equal(checkpoint_read(c, "x.weight", NULL, &t, NULL), 1);
  assert_true(t.view.dtype == DTYPE_F16 && !t.owned);
  assert_int_equal(checkpoint_read(c, "y.weight", NULL, &t, NULL), 0);
  assert_string_equal(checkpoint_method(c), "GPTQ");
  assert_int_equal(checkpoint_parameters(c, safetensors_tensor(o.file.tensors, "x.qzeros")), 0);
  checkpoint_close(c);
  done(&o);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unknown_methods_and_values_are_refused_by_key_and_value),
      cmocka_unit_test(tensors_that_do_not_fit_the_settings_are_named),
      cmocka_unit_test(what_is_not_quantized_is_read_as_it_is),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
