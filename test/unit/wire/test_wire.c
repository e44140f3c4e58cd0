/* Frames: what goes in comes out, and nothing that comes in can hurt. SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "wire/wire.h"

/* The one frame in bytes, decoded. */
static struct wire_message decode_one(const struct buf *bytes, struct arena *scratch) {
  struct wire_frame frame;
  struct wire_message m;
  struct error err = {0};
  size_t used = 0;
  assert_int_equal(wire_frame_get(buf_view(bytes), &frame, &used, &err), 1);
  assert_int_equal(used, bytes->len);
  if (wire_decode(&frame, scratch, &m, &err) < 0) fail_msg("%s", err.message);
  return m;
}

static const int32_t prompt[] = {1, 0, 49151, -7};
static const struct slice stops[] = {{"\n", 1}, {"END\0x", 5}};
static const int32_t stop_ids[] = {2, 49151, -1};
static const struct wire_bias biases[] = {{0, -100}, {49151, 0.5f}};
static const struct wire_submit submit_sample = {.id = 0xFEDCBA9876543210u,
                                                 .model = 3,
                                                 .class = 3,
                                                 .tenant = UINT64_MAX,
                                                 .principal = 1ull << 40,
                                                 .deadline_ns = 123456789012345,
                                                 .temperature = 0.75f,
                                                 .top_p = 0.9f,
                                                 .min_p = 0.05f,
                                                 .top_k = 40,
                                                 .repetition_penalty = 1.1f,
                                                 .presence_penalty = -2,
                                                 .frequency_penalty = 0.25f,
                                                 .seed = UINT64_MAX - 1,
                                                 .max_tokens = 17,
                                                 .min_tokens = 5,
                                                 .n_done = 2,
                                                 .top_logprobs = 20,
                                                 .ignore_eos = true,
                                                 .prompt_logprobs = true,
                                                 .prompt = prompt,
                                                 .n_prompt = 4,
                                                 .stops = stops,
                                                 .n_stops = 2,
                                                 .stop_ids = stop_ids,
                                                 .n_stop_ids = 3,
                                                 .biases = biases,
                                                 .n_biases = 2};

static void a_submission_arrives_as_it_was_sent(void **state) {
  (void)state;
  struct buf bytes = {0};
  struct arena scratch = {0};
  wire_put_submit(&bytes, &submit_sample);
  struct wire_submit m = decode_one(&bytes, &scratch).submit;
  assert_true(m.id == submit_sample.id && m.model == 3 && m.seed == submit_sample.seed);
  assert_true(m.class == 3 && m.tenant == UINT64_MAX && m.principal == 1ull << 40 && m.deadline_ns == 123456789012345);
  assert_true(m.temperature == 0.75f && m.top_p == 0.9f && m.top_k == 40);
  assert_true(m.max_tokens == 17 && m.n_done == 2 && m.top_logprobs == 20 && m.ignore_eos && m.prompt_logprobs);
  assert_true(m.min_p == 0.05f && m.repetition_penalty == 1.1f && m.presence_penalty == -2 && m.frequency_penalty == 0.25f);
  assert_int_equal(m.min_tokens, 5);
  assert_int_equal(m.n_prompt, 4);
  assert_memory_equal(m.prompt, prompt, sizeof prompt);
  assert_int_equal(m.n_stop_ids, 3);
  assert_memory_equal(m.stop_ids, stop_ids, sizeof stop_ids);
  assert_int_equal(m.n_biases, 2);
  assert_memory_equal(m.biases, biases, sizeof biases);
  assert_int_equal(m.n_stops, 2);
  assert_true(slice_eq(m.stops[0], stops[0]) && slice_eq(m.stops[1], stops[1]));
  buf_free(&bytes);
  arena_free(&scratch);
}

static void no_logprobs_differ_from_zero_alternatives(void **state) {
  (void)state;
  for (int k = -1; k <= 1; k++) {
    struct buf bytes = {0};
    struct arena scratch = {0};
    struct wire_submit m = submit_sample;
    m.top_logprobs = k;
    m.ignore_eos = m.prompt_logprobs = false;
    wire_put_submit(&bytes, &m);
    struct wire_submit got = decode_one(&bytes, &scratch).submit;
    assert_int_equal(got.top_logprobs, k);
    assert_false(got.ignore_eos || got.prompt_logprobs);
    buf_free(&bytes);
    arena_free(&scratch);
  }
}

static void a_step_carries_all_its_events_in_one_frame(void **state) {
  (void)state;
  struct buf bytes = {0};
  struct arena scratch = {0};
  const struct wire_logprob top[] = {{5, -0.25f}, {6, -1.5f}};
  const float embedding[] = {0.5f, -INFINITY, 3e-40f};
  struct wire_stats stats = {.waiting = 1,
                             .running = 2,
                             .pages_used = 3,
                             .pages_cached = 4,
                             .page_bytes = 5,
                             .step_tokens = 6,
                             .step_sequences = 7,
                             .kv_bytes = 1ull << 41};
  for (int i = 0; i < WIRE_COUNTS; i++) stats.counts[i] = 1ull << 40 | (unsigned)i;
  struct wire_step_writer w;
  wire_step_begin(&w, &bytes, 7, &stats);
  wire_step_add(&w, &(struct wire_event){.id = 1, .kind = WIRE_TOKEN, .token = 5, .logprob = -0.25f, .n_top = 2, .top = top});
  wire_step_add(&w, &(struct wire_event){.id = 2, .kind = WIRE_TOKEN, .token = 2, .is_eos = true, .finish = WIRE_STOPPED});
  wire_step_add(&w, &(struct wire_event){.id = 3, .kind = WIRE_PROMPT_TOKEN, .token = 9, .logprob = NAN});
  wire_step_add(&w, &(struct wire_event){.id = 4,
                                         .kind = WIRE_EMBEDDING,
                                         .finish = WIRE_LENGTH,
                                         .n_embd = 3,
                                         .embedding = embedding,
                                         .timed = true,
                                         .queue_us = 1ull << 50,
                                         .prefill_us = 17});
  wire_step_add(&w, &(struct wire_event){.id = 5, .kind = WIRE_END, .finish = WIRE_EXPIRED});
  wire_step_end(&w);
  struct wire_step m = decode_one(&bytes, &scratch).step;
  assert_int_equal(m.model, 7);
  assert_memory_equal(&m.stats, &stats, sizeof stats);
  assert_int_equal(m.n_events, 5);
  assert_true(m.events[3].timed && m.events[3].queue_us == 1ull << 50 && m.events[3].prefill_us == 17 && !m.events[0].timed);
  assert_true(m.events[4].id == 5 && m.events[4].kind == WIRE_END && m.events[4].finish == WIRE_EXPIRED);
  assert_true(m.events[0].n_top == 2 && m.events[0].top[1].id == 6 && m.events[0].top[1].logprob == -1.5f);
  assert_true(m.events[1].is_eos && m.events[1].finish == WIRE_STOPPED && !m.events[0].is_eos);
  assert_true(m.events[2].kind == WIRE_PROMPT_TOKEN && isnan(m.events[2].logprob));
  assert_memory_equal(m.events[3].embedding, embedding, sizeof embedding);
  buf_free(&bytes);
  arena_free(&scratch);
}

static void a_step_with_very_many_bytes_goes_out_in_frames_below_the_limit(void **state) {
  (void)state;
  enum { WIDTH = 8192, N = 1000 }; /* 32 MB */
  struct buf bytes = {0};
  float *embedding = mem_zalloc(WIDTH, sizeof *embedding);
  struct wire_step_writer w;
  wire_step_begin(&w, &bytes, 0, &(struct wire_stats){.step_tokens = N, .step_sequences = N});
  for (uint64_t i = 0; i < N; i++)
    wire_step_add(&w, &(struct wire_event){.id = i, .kind = WIRE_EMBEDDING, .n_embd = WIDTH, .embedding = embedding});
  wire_step_end(&w);
  struct slice left = buf_view(&bytes);
  uint64_t next = 0;
  while (left.len) {
    struct wire_frame frame;
    struct wire_message m;
    struct arena scratch = {0};
    size_t used;
    assert_int_equal(wire_frame_get(left, &frame, &used, NULL), 1);
    assert_true(frame.body.len < 2 * WIRE_STEP_BYTES_SOFT);
    assert_int_equal(wire_decode(&frame, &scratch, &m, NULL), 0);
    assert_int_equal(m.step.stats.step_tokens, next ? 0 : N); /* one step is counted once */
    for (size_t i = 0; i < m.step.n_events; i++) assert_int_equal(m.step.events[i].id, next++);
    arena_free(&scratch);
    left = slice_from(left, used);
  }
  assert_int_equal(next, N);
  free(embedding);
  buf_free(&bytes);
}

static void every_other_message_arrives_as_it_was_sent(void **state) {
  (void)state;
  struct buf bytes = {0};
  struct arena scratch = {0};
  struct error why = {ERROR_NO_MEMORY, "Too little memory."};
  wire_put_load(&bytes, &(struct wire_load){.model = 1, .is_adapter = true, .base = 7, .path = SLICE("/m/x.gguf")});
  struct wire_message m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_LOAD && m.load.model == 1);
  assert_true(m.load.is_adapter && m.load.base == 7 && slice_eq(m.load.path, SLICE("/m/x.gguf")));
  buf_clear(&bytes);
  wire_put_load(&bytes, &(struct wire_load){.model = 2, .path = SLICE("/m/y"), .draft = SLICE("/m/z")});
  m = decode_one(&bytes, &scratch);
  assert_true(m.load.model == 2 && !m.load.is_adapter && slice_eq(m.load.path, SLICE("/m/y")) && slice_eq(m.load.draft, SLICE("/m/z")));
  buf_clear(&bytes);
  wire_put_cancel(&bytes, 99);
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_CANCEL && m.cancel.id == 99);
  buf_clear(&bytes);
  wire_put_stop(&bytes);
  assert_int_equal(decode_one(&bytes, &scratch).type, WIRE_STOP);
  buf_clear(&bytes);
  wire_put_unload(&bytes, 5);
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_UNLOAD && m.unload.model == 5);
  buf_clear(&bytes);
  wire_put_gone(&bytes, 6);
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_MODEL_GONE && m.gone.model == 6);
  buf_clear(&bytes);
  wire_put_failed(&bytes, 4, &why);
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_MODEL_FAILED && m.failed.model == 4 && m.failed.code == ERROR_NO_MEMORY);
  assert_true(slice_eq(m.failed.message, slice_cstr(why.message)));
  buf_clear(&bytes);
  wire_put_reject(&bytes, 77, &why);
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_REJECT && m.reject.id == 77 && m.reject.code == ERROR_NO_MEMORY);
  buf_clear(&bytes);
  wire_put_machine(&bytes, &(struct wire_machine){.read_bytes_s = 30000000000u, .operations_s = 900000000000u});
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_MACHINE && m.machine.read_bytes_s == 30000000000u && m.machine.operations_s == 900000000000u);
  buf_clear(&bytes);
  wire_put_ready(&bytes, &(struct wire_model){.model = 2,
                                              .embeds = true,
                                              .context_tokens = 256,
                                              .whole_context_tokens = 8192,
                                              .n_embd = 384,
                                              .n_vocab = 30522,
                                              .n_parameters = 22713216,
                                              .weight_bytes = 1,
                                              .kv_bytes = 2,
                                              .load_ms = 3,
                                              .architecture = SLICE("bert"),
                                              .quantization = SLICE("F32")});
  m = decode_one(&bytes, &scratch);
  assert_true(m.type == WIRE_MODEL_READY && m.ready.embeds && m.ready.context_tokens == 256 && m.ready.whole_context_tokens == 8192 &&
              m.ready.n_embd == 384);
  assert_true(m.ready.n_parameters == 22713216 && m.ready.load_ms == 3 && slice_eq(m.ready.quantization, SLICE("F32")));
  buf_free(&bytes);
  arena_free(&scratch);
}

/* All bytes of each message type, one frame after the other. */
static void put_samples(struct buf *out) {
  struct error why = {ERROR_INVALID, "No."};
  const struct wire_logprob top[] = {{5, -0.25f}};
  const float embedding[] = {1, 2};
  struct wire_step_writer w;
  wire_put_load(out, &(struct wire_load){.model = 1, .path = SLICE("/m"), .draft = SLICE("/d")});
  wire_put_submit(out, &submit_sample);
  wire_put_cancel(out, 1);
  wire_put_stop(out);
  wire_put_unload(out, 1);
  wire_put_gone(out, 1);
  wire_put_ready(out, &(struct wire_model){.context_tokens = 1,
                                           .whole_context_tokens = 1,
                                           .n_embd = 1,
                                           .n_vocab = 1,
                                           .architecture = SLICE("a"),
                                           .quantization = SLICE("q")});
  wire_put_failed(out, 1, &why);
  wire_put_reject(out, 1, &why);
  wire_put_machine(out, &(struct wire_machine){1, 2});
  wire_step_begin(&w, out, 0, &(struct wire_stats){0});
  wire_step_add(&w, &(struct wire_event){.id = 1, .token = 5, .n_top = 1, .top = top});
  wire_step_add(&w, &(struct wire_event){
                        .id = 4, .kind = WIRE_EMBEDDING, .finish = WIRE_STOPPED, .n_embd = 2, .embedding = embedding, .timed = true});
  wire_step_end(&w);
}

static void a_body_cut_short_or_grown_is_refused_wherever_it_is_cut(void **state) {
  (void)state;
  struct buf bytes = {0};
  put_samples(&bytes);
  for (struct slice left = buf_view(&bytes); left.len;) {
    struct wire_frame frame;
    size_t used;
    assert_int_equal(wire_frame_get(left, &frame, &used, NULL), 1);
    for (size_t len = 0; len <= frame.body.len + 1; len++) {
      char *copy = malloc(len + !len); /* exact, so that a sanitizer sees any read behind it */
      memset(copy, 0, len);
      memcpy(copy, frame.body.data, len < frame.body.len ? len : frame.body.len);
      struct wire_frame cut = {frame.type, slice_make(copy, len)};
      struct wire_message m;
      struct arena scratch = {0};
      struct error err = {0};
      int result = wire_decode(&cut, &scratch, &m, &err);
      if (len == frame.body.len) assert_int_equal(result, 0);
      else assert_true(result == -1 && err.code == ERROR_CORRUPT);
      arena_free(&scratch);
      free(copy);
    }
    left = slice_from(left, used);
  }
  buf_free(&bytes);
}

static void a_flipped_bit_gives_a_message_or_an_error(void **state) {
  (void)state;
  struct buf bytes = {0};
  put_samples(&bytes);
  for (size_t bit = 0; bit < bytes.len * 8; bit++) {
    bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
    for (struct slice left = buf_view(&bytes); left.len;) {
      struct wire_frame frame;
      struct wire_message m;
      struct arena scratch = {0};
      struct error err = {0};
      size_t used = 0;
      if (wire_frame_get(left, &frame, &used, &err) != 1) break;
      if (wire_decode(&frame, &scratch, &m, &err) < 0) assert_int_equal(err.code, ERROR_CORRUPT);
      arena_free(&scratch);
      left = slice_from(left, used);
    }
    bytes.data[bit / 8] ^= (char)(1 << (bit % 8));
  }
  buf_free(&bytes);
}

static void a_frame_of_another_version_or_above_the_limit_is_refused_from_its_header(void **state) {
  (void)state;
  struct wire_frame frame;
  struct error err = {0};
  size_t used;
  assert_int_equal(wire_frame_get(slice_make("\0\0\0\0\4\1\0\0", 8), &frame, &used, &err), -1);
  assert_non_null(strstr(err.message, "version 1"));
  assert_int_equal(wire_frame_get(slice_make("\0\0\0\0\4\5\0\1", 8), &frame, &used, &err), -1);
  assert_int_equal(wire_frame_get(slice_make("\1\0\0\2\4\5\0\0", 8), &frame, &used, &err), -1);
  assert_non_null(strstr(err.message, "33554433"));
  assert_int_equal(wire_frame_get(slice_make("\1\0\0\0\4\5\0", 7), &frame, &used, &err), 0);
  assert_int_equal(wire_frame_get(slice_make("\1\0\0\0\4\5\0\0", 8), &frame, &used, &err), 0);
}

static void expect_refused(const struct wire_submit *m, const char *words) {
  struct buf bytes = {0};
  struct arena scratch = {0};
  struct wire_frame frame;
  struct wire_message got;
  struct error err = {0};
  size_t used;
  wire_put_submit(&bytes, m);
  assert_int_equal(wire_frame_get(buf_view(&bytes), &frame, &used, NULL), 1);
  assert_int_equal(wire_decode(&frame, &scratch, &got, &err), -1);
  if (!strstr(err.message, words)) fail_msg("\"%s\" does not say \"%s\"", err.message, words);
  buf_free(&bytes);
  arena_free(&scratch);
}

static void sampling_that_the_engine_could_not_use_is_refused(void **state) {
  (void)state;
  struct wire_submit m = submit_sample;
  const struct {
    float *at;
    const char *name;
    float bad[4];
  } cases[] = {{&m.temperature, "temperature", {-1, NAN, INFINITY, -INFINITY}},
               {&m.top_p, "top_p", {0, -0.5f, 1.5f, NAN}},
               {&m.min_p, "min_p", {-0.1f, 1.1f, NAN, INFINITY}},
               {&m.repetition_penalty, "repetition penalty", {0, -1, NAN, INFINITY}},
               {&m.presence_penalty, "presence penalty", {NAN, INFINITY, -INFINITY, NAN}},
               {&m.frequency_penalty, "frequency penalty", {NAN, INFINITY, -INFINITY, NAN}}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    float good = *cases[i].at;
    for (int k = 0; k < 4; k++) {
      *cases[i].at = cases[i].bad[k];
      expect_refused(&m, cases[i].name);
    }
    *cases[i].at = good;
  }
  const struct wire_bias odd[] = {{1, 1}, {2, NAN}};
  m.biases = odd;
  expect_refused(&m, "bias");
}

/* The counts stand behind flags, at these offsets of the body. */
static void lists_above_their_limits_are_refused(void **state) {
  (void)state;
  enum { STOPS_AT = 90, STOP_IDS_AT = 92, BIASES_AT = 94 };
  static const struct {
    size_t at, max;
    const char *name;
  } cases[] = {
      {STOPS_AT, WIRE_STOPS_MAX, "stop strings"}, {STOP_IDS_AT, WIRE_STOP_IDS_MAX, "stop ids"}, {BIASES_AT, WIRE_BIASES_MAX, "biases"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct buf bytes = {0};
    struct arena scratch = {0};
    struct wire_frame frame;
    struct wire_message m;
    struct error err = {0};
    size_t used;
    wire_put_submit(&bytes, &submit_sample);
    bytes.data[WIRE_HEADER_BYTES + cases[i].at] = (char)((cases[i].max + 1) & 255);
    bytes.data[WIRE_HEADER_BYTES + cases[i].at + 1] = (char)((cases[i].max + 1) >> 8);
    assert_int_equal(wire_frame_get(buf_view(&bytes), &frame, &used, NULL), 1);
    assert_int_equal(wire_decode(&frame, &scratch, &m, &err), -1);
    if (!strstr(err.message, cases[i].name)) fail_msg("%s", err.message);
    buf_free(&bytes);
    arena_free(&scratch);
  }
}

static void an_error_without_a_code_still_arrives_as_an_error(void **state) {
  (void)state;
  struct buf bytes = {0};
  struct arena scratch = {0};
  wire_put_reject(&bytes, 1, &(struct error){0});
  assert_int_equal(decode_one(&bytes, &scratch).reject.code, ERROR_INTERNAL);
  buf_free(&bytes);
  arena_free(&scratch);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_submission_arrives_as_it_was_sent),
      cmocka_unit_test(no_logprobs_differ_from_zero_alternatives),
      cmocka_unit_test(a_step_carries_all_its_events_in_one_frame),
      cmocka_unit_test(a_step_with_very_many_bytes_goes_out_in_frames_below_the_limit),
      cmocka_unit_test(every_other_message_arrives_as_it_was_sent),
      cmocka_unit_test(a_body_cut_short_or_grown_is_refused_wherever_it_is_cut),
      cmocka_unit_test(a_flipped_bit_gives_a_message_or_an_error),
      cmocka_unit_test(a_frame_of_another_version_or_above_the_limit_is_refused_from_its_header),
      cmocka_unit_test(sampling_that_the_engine_could_not_use_is_refused),
      cmocka_unit_test(lists_above_their_limits_are_refused),
      cmocka_unit_test(an_error_without_a_code_still_arrives_as_an_error),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
